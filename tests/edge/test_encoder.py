"""Content encoded in threads: other decoders read it back, nothing grows, memory is bounded."""

from __future__ import annotations

import asyncio
import gc
import gzip
import hashlib
import random
import sys
import threading
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cdn.edge import encoder
from cdn.edge.encoder import MAX_WAITING_BYTES, SMALL_BYTES, claim, encode, may_start
from cdn.http.content_coding import CODINGS, MAX_CODED_BYTES

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda coded: zstandard.ZstdDecompressor().decompress(coded),
    "br": lambda coded: bytes(brotli.decompress(coded)),
    "gzip": gzip.decompress,
}
TEXT = b"".join(b"<li><a href=/berth/%d>Berth %d, %d m</a></li>\n" % (at, at, at * 7 % 31) for at in range(400))


@pytest.mark.parametrize("coding", CODINGS)
async def test_decoders_read_it_back(coding: str) -> None:
    coded = await encode(TEXT, coding)
    assert coded is not None
    assert len(coded) < len(TEXT) / 3
    assert DECODERS[coding](coded) == TEXT


@given(st.lists(st.sampled_from([b"a", b"<p>", b"\x00\xff", b"harbour "]), max_size=300), st.sampled_from(CODINGS))
def test_any_content_comes_back(pieces: list[bytes], coding: str) -> None:
    content = b"".join(pieces)
    coded = asyncio.run(encode(content, coding))
    if coded is not None:
        assert len(coded) < len(content)
        assert DECODERS[coding](coded) == content


@pytest.mark.parametrize("coding", CODINGS)
async def test_what_does_not_get_smaller_is_not_coded(coding: str) -> None:
    assert await encode(random.Random(7).randbytes(5000), coding) is None
    assert await encode(b"", coding) is None


async def test_an_unknown_coding_is_the_callers_mistake() -> None:
    with pytest.raises(KeyError):
        await encode(TEXT, "deflate")


@pytest.mark.parametrize("coding", CODINGS)
async def test_the_same_content_gives_the_same_octets(coding: str) -> None:
    """Strong entity tags of coded forms, and ranges of them, hold on every node only because of this."""
    first, second = await encode(TEXT, coding), await encode(TEXT, coding)
    assert first == second


async def test_gzip_tells_no_time() -> None:
    """RFC 1952 section 2.3.1: four octets of time, 0 for none; else the next second would give other octets."""
    coded = await encode(TEXT, "gzip")
    assert coded is not None
    assert coded[4:8] == bytes(4)


@pytest.mark.parametrize(
    ("coding", "digest"),
    [("zstd", "5f1a68c2c28b4357c727e47c91c88ab8"), ("br", "866749ebcf07cd6de0d69bb6608b601c")],
)
async def test_octets_of_this_release(coding: str, digest: str) -> None:
    """When a library or level changes what is made of the same content, nodes of two releases disagree under one
    entity tag: then the ending that `coded_head` gives the tag must change too, and this digest with it."""
    coded = await encode(TEXT, coding)
    assert coded is not None
    assert hashlib.sha256(coded).hexdigest()[:32] == digest


async def test_zstd_keeps_to_a_window_that_browsers_accept() -> None:
    """RFC 9659: at most 8 MiB."""
    content = random.Random(7).randbytes(4096) * (MAX_CODED_BYTES // 4096)
    coded = await encode(content, "zstd")
    assert coded is not None
    parameters = zstandard.get_frame_parameters(coded)
    assert parameters.window_size <= 8 * 1024 * 1024
    assert parameters.content_size == len(content)


class Gate:
    """A coder that waits until it may go on, and tells which contents it was given."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.sizes: list[int] = []

    def __call__(self, content: bytes) -> bytes:
        self.entered.set()
        assert self.open.wait(30)
        self.sizes.append(len(content))
        return content[:1]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setitem(encoder._CODERS, "br", gate)
    return gate


async def test_small_content_never_stands_behind_large(gate: Gate) -> None:
    large = asyncio.ensure_future(encode(bytes(SMALL_BYTES + 1), "br"))
    await asyncio.sleep(0)
    assert await encode(TEXT, "zstd") is not None
    assert not large.done()
    gate.open.set()
    assert await large == b"\x00"


async def test_what_waits_is_bounded(gate: Gate) -> None:
    content = bytes(MAX_CODED_BYTES)
    waiting = [asyncio.ensure_future(encode(content, "br")) for _ in range(MAX_WAITING_BYTES // MAX_CODED_BYTES)]
    await asyncio.sleep(0)
    assert not may_start(MAX_CODED_BYTES)
    assert may_start(SMALL_BYTES)
    assert await encode(content, "br") is None
    gate.open.set()
    assert await asyncio.gather(*waiting) == [b"\x00"] * len(waiting)
    assert may_start(MAX_CODED_BYTES)
    assert len(gate.sizes) == len(waiting)


async def test_whoever_leaves_gives_the_room_back(gate: Gate) -> None:
    content = bytes(MAX_CODED_BYTES)
    waiting = [asyncio.ensure_future(encode(content, "br")) for _ in range(MAX_WAITING_BYTES // MAX_CODED_BYTES)]
    await asyncio.sleep(0)
    for task in waiting[1:]:
        task.cancel()
    await asyncio.gather(*waiting[1:], return_exceptions=True)
    assert may_start(MAX_CODED_BYTES)
    gate.open.set()
    assert await waiting[0] == b"\x00"
    assert gate.sizes == [MAX_CODED_BYTES]


async def test_room_is_claimed_before_content_is_read(gate: Gate) -> None:
    claims = [claim(MAX_CODED_BYTES) for _ in range(1 + MAX_WAITING_BYTES // MAX_CODED_BYTES)]
    assert claims.pop() is None
    first, *others = claims
    assert not may_start(MAX_CODED_BYTES)
    for one in others:
        assert one is not None
        with one:
            pass
    assert may_start(MAX_CODED_BYTES)
    assert first is not None
    with first:
        gate.open.set()
        assert await first.encode(TEXT, "br") == TEXT[:1]
        with pytest.raises(ValueError, match="room for 0"):
            await first.encode(TEXT, "br")
    assert may_start(MAX_WAITING_BYTES)


async def test_no_more_than_was_claimed_is_encoded() -> None:
    room = claim(len(TEXT) - 1)
    assert room is not None
    with room, pytest.raises(ValueError, match="room for"):
        await room.encode(TEXT, "gzip")
    assert may_start(MAX_WAITING_BYTES)


async def test_room_of_a_caller_who_left_stays_taken_while_the_thread_works(gate: Gate) -> None:
    async def work() -> None:
        room = claim(MAX_WAITING_BYTES)
        assert room is not None
        with room:
            await room.encode(TEXT, "br")

    working = asyncio.ensure_future(work())
    assert await asyncio.to_thread(gate.entered.wait, 30)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert not may_start(MAX_WAITING_BYTES)
    gate.open.set()
    while not may_start(MAX_WAITING_BYTES):
        await asyncio.sleep(0)


async def test_content_whose_caller_left_is_not_held(gate: Gate) -> None:
    """Its turn comes later, its bytes are free at once."""

    first = asyncio.ensure_future(encode(TEXT, "br"))
    await asyncio.sleep(0)
    content = bytes(SMALL_BYTES)
    held = sys.getrefcount(content)
    leaving = asyncio.ensure_future(encode(content, "br"))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    del leaving
    gc.collect()
    held_after = sys.getrefcount(content)
    assert held_after == held
    gate.open.set()
    assert await first == TEXT[:1]


async def test_a_coder_that_fails_fails_for_the_caller_and_gives_the_room_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(content: bytes) -> bytes:
        raise MemoryError("no room for the tables")

    monkeypatch.setitem(encoder._CODERS, "br", fail)
    for _ in range(2 * MAX_WAITING_BYTES // MAX_CODED_BYTES):
        with pytest.raises(MemoryError):
            await encode(bytes(MAX_CODED_BYTES), "br")
