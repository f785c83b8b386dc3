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
        self._waiting_bytes = 0

    def has_room(self, size_bytes: int) -> bool:
        return self._waiting_bytes + size_bytes <= MAX_WAITING_BYTES

    def submit(self, code: Callable[[bytes], bytes], content: bytes) -> Future[bytes]:
        """Room is given back when the thread is done with it, or whoever asked has left before it began."""
        job = _Job(code, content)
        size_bytes = len(content)
        self._count(size_bytes)

        def let_go(done: Future[bytes]) -> None:
            job.content = b""
            self._count(-size_bytes)

        future = self._executor.submit(job.run)
        future.add_done_callback(let_go)
        return future

    def _count(self, size_bytes: int) -> None:
        with self._lock:
            self._waiting_bytes += size_bytes


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


def may_start(size_bytes: int) -> bool:
    """Whether there is room for content of that size now. When not, send the identity form and ask another time."""
    return _lane(size_bytes).has_room(size_bytes)


async def encode(content: bytes, coding: str) -> bytes | None:
    """The content in that coding (one of CODINGS), encoded in a thread.

    None: it did not get smaller, so the identity form is what to send from now on; or there is no room, which
    `may_start` tells before. Raises KeyError for another coding.
    """
    code = _CODERS[coding]
    size_bytes = len(content)
    lane = _lane(size_bytes)
    if not lane.has_room(size_bytes):
        return None
    future = lane.submit(code, content)
    del content  # this frame outlives a caller who leaves, until the turn of what it asked for comes
    coded = await asyncio.wrap_future(future)
    return coded if len(coded) < size_bytes else None


def _lane(size_bytes: int) -> _Lane:
    return _SMALL if size_bytes <= SMALL_BYTES else _LARGE
