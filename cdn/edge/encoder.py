"""Content encoded once, in threads of its own, to be stored beside its identity form.

Deterministic: the same content gives the same octets as long as the libraries stay the same, so a strong entity tag
of the coded form holds on every node of a release.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import brotli
import zstandard

SMALL_BYTES = 1024 * 1024
"""Up to here a visitor may wait for it: some 30 ms at the most. Larger content has a thread of its own, so that no
visitor stands behind it."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Content that waits for a thread or is in one, per thread: it is held in memory meanwhile."""

ZSTD_LEVEL: Final = 9
BROTLI_QUALITY: Final = 5
GZIP_LEVEL: Final = 6
"""Chosen by measuring: see docs/decisions/007. One step more costs much more time than it saves octets."""


@dataclass(slots=True)
class _Job:
    """Content that waits for its turn. One that was given up holds nothing, though its turn still comes."""

    code: Callable[[bytes], bytes]
    content: bytes

    def run(self) -> bytes:
        return self.code(self.content)


class _Lane:
    """One thread, started when first needed, and a bound for what waits for it."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._claimed_bytes = 0

    def has_room(self, size_bytes: int) -> bool:
        return self._claimed_bytes + size_bytes <= MAX_WAITING_BYTES

    def take(self, size_bytes: int) -> None:
        with self._lock:
            self._claimed_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        with self._lock:
            self._claimed_bytes -= size_bytes

    def submit(self, job: _Job, size_bytes: int) -> Future[bytes]:
        """Room is given back when the thread is done with it, or whoever asked has left before it began."""

        def let_go(done: Future[bytes]) -> None:
            job.content = b""
            self.give_back(size_bytes)

        future = self._executor.submit(job.run)
        future.add_done_callback(let_go)
        return future


def _zstd(content: bytes) -> bytes:
    """Level 9 keeps to a window of 4 MiB; RFC 9659 allows 8."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(content)


def _br(content: bytes) -> bytes:
    return bytes(brotli.compress(content, quality=BROTLI_QUALITY))


def _gzip(content: bytes) -> bytes:
    """Without a time in its head, which would make every encoding another one."""
    return gzip.compress(content, GZIP_LEVEL, mtime=0)


_CODERS: dict[str, Callable[[bytes], bytes]] = {"zstd": _zstd, "br": _br, "gzip": _gzip}
_SMALL = _Lane("encode-small")
_LARGE = _Lane("encode-large")


class Claim:
    """Room for content of some size, taken before the content is read: so what is held for encoding stays bounded.

    For one encoding. A context manager: room that was not used is given back at the end.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._lane = _lane(size_bytes)
        self._lane.take(size_bytes)
        self._is_held = True

    async def encode(self, content: bytes, coding: str) -> bytes | None:
        """The content in that coding (one of CODINGS), encoded in a thread; None: it did not get smaller.

        Raises KeyError for another coding and ValueError for more content than was claimed.
        """
        code = _CODERS[coding]
        size_bytes = len(content)
        if not self._is_held or size_bytes > self._size_bytes:
            raise ValueError(f"{size_bytes} bytes to encode, but room for {self._size_bytes * self._is_held} is held")
        self._is_held = False
        future = self._lane.submit(_Job(code, content), self._size_bytes)
        del content  # this frame outlives a caller who leaves, until the turn of what it asked for comes
        coded = await asyncio.wrap_future(future)
        return coded if len(coded) < size_bytes else None

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._is_held:
            self._is_held = False
            self._lane.give_back(self._size_bytes)


def claim(size_bytes: int) -> Claim | None:
    """Room to encode content of that size. None: there is none now; send the identity form and ask another time."""
    return Claim(size_bytes) if may_start(size_bytes) else None


def may_start(size_bytes: int) -> bool:
    """Whether there is room for content of that size now."""
    return _lane(size_bytes).has_room(size_bytes)


async def encode(content: bytes, coding: str) -> bytes | None:
    """Content that is at hand anyway, in that coding. None: it did not get smaller, or there is no room for it.

    Raises KeyError for a coding that is not one of CODINGS.
    """
    room = claim(len(content))
    if room is None:
        return None
    with room:
        encoding = room.encode(content, coding)
        del content
        return await encoding


def _lane(size_bytes: int) -> _Lane:
    return _SMALL if size_bytes <= SMALL_BYTES else _LARGE
