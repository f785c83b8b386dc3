"""Content on its way in: who waits for whom, what is kept for whom, and when it ends."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cdn.edge.arrival_budget import ArrivalBudget
from cdn.edge.disk_tier import DiskTier
from cdn.edge.pull_content import (
    STEP_BYTES,
    TIGHT_WINDOW_BYTES,
    WINDOW_CHUNKS,
    ArrivingContent,
    ArrivingStream,
    ContentLost,
)
from cdn.edge.stored import StoredKey
from cdn.errors import Unavailable
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.pull_stage import soon, until

OpenTier = Callable[..., Awaitable[DiskTier]]

KEY = StoredKey("s1", "http  /a", "00")
LARGE = 1 << 40


def chunk(number: int) -> bytes:
    return bytes([number % 251]) * CHUNK_BYTES


class Source:
    """Feeds content as an upstream would, as fast as it is let."""

    def __init__(self, content: ArrivingContent, chunks: int) -> None:
        self.content = content
        self.given = 0
        self.task = asyncio.create_task(self._feed(chunks))

    async def _feed(self, chunks: int) -> None:
        for number in range(chunks):
            await self.content.take(chunk(number))
            self.given = number + 1
        await self.content.finish((("etag", "late"),))


async def read_all(stream: ArrivingStream) -> bytes:
    try:
        return b"".join([bytes(part) async for part in stream])
    finally:
        await stream.aclose()


async def read_some(stream: ArrivingStream, size_bytes: int) -> Any:
    """A client that reads so much and then stands still; the iterator, to read on."""
    parts = aiter(stream)
    read_bytes = 0
    while read_bytes < size_bytes:
        read_bytes += len(await soon(parts.__anext__()))  # type: ignore[arg-type]
    return parts


def most_in_memory(content: ArrivingContent) -> int:
    return len(content._chunks) * CHUNK_BYTES + len(content._tail)


# What is stored


async def test_a_slow_reader_of_what_is_stored_holds_nobody_up(open_tier: OpenTier) -> None:
    tier = await open_tier()
    content = ArrivingContent(None, tier.new_content(KEY), LARGE)
    for _ in range(2):
        content.hold()
    slow, fast = content.reader(), content.reader()
    standing = await started(content, slow)
    source = Source(content, 8)
    assert await soon(read_all(fast)) == b"".join(map(chunk, range(8)))
    await soon(source.task)
    assert most_in_memory(content) <= WINDOW_CHUNKS * CHUNK_BYTES, "what the slow one needs lies on disk"
    rest = b"".join([bytes(part) async for part in standing])
    assert rest == b"".join(map(chunk, range(8)))
    assert slow.trailers == (("etag", "late"),)


async def started(content: ArrivingContent, stream: ArrivingStream) -> Any:
    """A reader that stands at its first byte."""
    content._readers[stream] = 0
    return aiter(stream)


async def test_readers_that_come_at_any_time_get_all(open_tier: OpenTier) -> None:
    tier = await open_tier()
    content = ArrivingContent(3 * CHUNK_BYTES + 5, tier.new_content(KEY), LARGE)
    whole = b"".join(map(chunk, range(3))) + b"12345"
    readers = []
    for at in range(0, len(whole), CHUNK_BYTES // 2):
        content.hold()
        readers.append(asyncio.create_task(read_all(content.reader())))
        await content.take(whole[at : at + CHUNK_BYTES // 2])
    await content.finish()
    content.hold()
    readers.append(asyncio.create_task(read_all(content.reader())))
    for reader in readers:
        assert await soon(reader) == whole
    assert content.holders == 0


@pytest.mark.parametrize("start", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 3])
@pytest.mark.parametrize("length", [1, CHUNK_BYTES, CHUNK_BYTES + 1])
async def test_a_reader_of_a_range_gets_just_that(open_tier: OpenTier, start: int, length: int) -> None:
    tier = await open_tier()
    whole = b"".join(map(chunk, range(4)))
    content = ArrivingContent(len(whole), tier.new_content(KEY), LARGE)
    content.hold()
    stream = content.reader(start, start + length)
    assert stream.size_bytes == length
    reader = asyncio.create_task(read_all(stream))
    await soon(Source(content, 4).task)
    assert await soon(reader) == whole[start : start + length]


async def test_what_is_sent_is_never_more_than_was_copied_at_once() -> None:
    content = ArrivingContent(None, None, 0)
    content.hold()
    stream = content.reader()
    await content.take(b"x" * (CHUNK_BYTES - 1))
    parts = aiter(stream)
    assert len(await parts.__anext__()) == STEP_BYTES
    await stream.aclose()


async def test_small_content_is_at_hand_whole() -> None:
    for whole in (b"", b"abc", b"x" * CHUNK_BYTES):
        content = ArrivingContent(None, None, 0)
        assert content.whole_in_memory is None
        if whole:
            await content.take(whole)
        await content.finish()
        assert content.whole_in_memory == whole
    content = ArrivingContent(None, None, 0)
    await content.take(b"x" * (CHUNK_BYTES + 1))
    await content.finish()
    assert content.whole_in_memory is None


# What is passed on


async def test_what_is_passed_on_waits_for_the_slowest_and_takes_a_bounded_window() -> None:
    content = ArrivingContent(None, None, 0)
    for _ in range(2):
        content.hold()
    slow, fast = content.reader(), content.reader()
    source = Source(content, 10)
    slow_parts = await read_some(slow, 1)
    fast_task = asyncio.create_task(read_all(fast))
    await until(lambda: source.given >= WINDOW_CHUNKS)
    most = 0
    whole = b"".join(map(chunk, range(10)))
    read_bytes = 0
    async for part in slow_parts:
        read_bytes += len(part)
        most = max(most, most_in_memory(content))
        assert content.received_bytes - read_bytes <= (WINDOW_CHUNKS + 2) * CHUNK_BYTES
    await slow.aclose()
    assert await soon(fast_task) == whole
    assert most <= (WINDOW_CHUNKS + 2) * CHUNK_BYTES
    await soon(source.task)


async def test_one_who_may_still_come_is_waited_for() -> None:
    content = ArrivingContent(None, None, 0)
    content.hold()
    source = Source(content, 6)
    await until(lambda: source.given == WINDOW_CHUNKS)
    for _ in range(20):
        await asyncio.sleep(0)
    assert source.given == WINDOW_CHUNKS
    assert await soon(read_all(content.reader())) == b"".join(map(chunk, range(6)))
    await soon(source.task)


async def test_a_reader_that_leaves_lets_the_others_go_on() -> None:
    content = ArrivingContent(None, None, 0)
    for _ in range(2):
        content.hold()
    gone, fast = content.reader(), content.reader()
    source = Source(content, 6)
    reading = asyncio.create_task(read_all(fast))
    await until(lambda: source.given == WINDOW_CHUNKS)
    await gone.aclose()
    assert await soon(reading) == b"".join(map(chunk, range(6)))
    await soon(source.task)


# When storing stops


def refuse_from(tier: DiskTier, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk has no room from this chunk on."""
    write = tier._files.write

    def full(name: Any, chunk: Any) -> Any:
        if name.number >= number:
            raise OSError(errno.ENOSPC, "no room")
        return write(name, chunk)

    monkeypatch.setattr(tier._files, "write", full)


@pytest.mark.parametrize("stops_by", ["disk", "limit"])
@pytest.mark.parametrize("full_at", [0, 1, 3])
async def test_a_slow_reader_gets_all_even_when_storing_stops_behind_its_back(
    open_tier: OpenTier, monkeypatch: pytest.MonkeyPatch, full_at: int, stops_by: str
) -> None:
    tier = await open_tier()
    limit_bytes = LARGE
    if stops_by == "disk":
        refuse_from(tier, full_at, monkeypatch)
    else:
        limit_bytes = full_at * CHUNK_BYTES
    sink = tier.new_content(KEY)
    content = ArrivingContent(None, sink, limit_bytes)
    for _ in range(2):
        content.hold()
    slow, fast = content.reader(), content.reader()
    standing = await started(content, slow)
    reading = asyncio.create_task(read_all(fast))
    source = Source(content, 9)
    await until(lambda: not content.is_storing and source.given >= full_at)
    assert most_in_memory(content) <= (WINDOW_CHUNKS + 2) * CHUNK_BYTES
    whole = b"".join(map(chunk, range(9)))
    seen = b""
    async for part in standing:
        seen += bytes(part)
        assert most_in_memory(content) <= (WINDOW_CHUNKS + 2) * CHUNK_BYTES
    assert seen == whole
    await slow.aclose()
    assert await soon(reading) == whole
    await soon(source.task)
    assert not content.is_storing
    assert sink.size_bytes == full_at * CHUNK_BYTES
    await soon(content.left())
    await sink.abandon()
    assert tier.facts().writing_bytes == 0


@pytest.mark.parametrize("is_stored", [True, False])
async def test_content_can_be_joined_for_as_long_as_its_beginning_is_here(
    open_tier: OpenTier, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    """One who comes to what has lost its beginning would have to be cut off: such content is not joined."""
    tier = await open_tier()
    refuse_from(tier, 1, monkeypatch)
    content = ArrivingContent(None, tier.new_content(KEY) if is_stored else None, LARGE)
    content.hold()
    stream = content.reader()
    parts = aiter(stream)
    source = Source(content, 9)
    read_bytes = 0
    joined = 0
    async for part in parts:
        read_bytes += len(part)
        if content.may_be_joined:
            joined += 1
            content.hold()
            late = content.reader()
            assert bytes(await soon(aiter(late).__anext__()))[:1] == chunk(0)[:1]  # type: ignore[arg-type]
            await late.aclose()
    assert joined
    assert not content.may_be_joined
    await soon(source.task)


async def test_stored_content_can_always_be_joined(open_tier: OpenTier) -> None:
    tier = await open_tier()
    content = ArrivingContent(None, tier.new_content(KEY), LARGE)
    await soon(Source(content, 6).task)
    assert content.may_be_joined
    content.hold()
    assert await soon(read_all(content.reader())) == b"".join(map(chunk, range(6)))


# The end


async def test_readers_come_to_the_end_of_what_is_here_before_they_see_the_failure() -> None:
    content = ArrivingContent(None, None, 0)
    content.hold()
    stream = content.reader()
    await content.take(b"abc")
    content.fail(Unavailable("broken off"))
    parts = aiter(stream)
    assert bytes(await parts.__anext__()) == b"abc"
    with pytest.raises(Unavailable, match="broken off"):
        await parts.__anext__()


async def test_a_reader_that_waits_sees_the_failure_at_once() -> None:
    content = ArrivingContent(None, None, 0)
    content.hold()
    reading = asyncio.create_task(read_all(content.reader()))
    await until(lambda: content._changed)
    content.fail(Unavailable("broken off"))
    with pytest.raises(Unavailable, match="broken off"):
        await soon(reading)
    assert content.holders == 0


async def test_what_was_evicted_under_a_reader_breaks_its_stream_off(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier()
    sink = tier.new_content(KEY)
    content = ArrivingContent(None, sink, LARGE)
    await soon(Source(content, 5).task)
    content.hold()
    stream = content.reader()
    await sink.abandon()
    with pytest.raises(ContentLost):
        await soon(read_all(stream))


@pytest.mark.parametrize("is_stored", [True, False])
async def test_who_wants_it_no_more_ends_what_is_only_passed_on(open_tier: OpenTier, is_stored: bool) -> None:
    tier = await open_tier()
    told: list[str] = []
    sink = tier.new_content(KEY) if is_stored else None
    content = ArrivingContent(None, sink, LARGE, on_unwanted=lambda: told.append("unwanted"))
    for _ in range(2):
        content.hold()
    stream = content.reader()
    await content.take(b"abc")
    await stream.aclose()
    await stream.aclose()
    assert told == []
    content.let_go()
    assert told == ([] if is_stored else ["unwanted"])
    if is_stored:
        await content.finish()
        assert told == []


async def test_what_nobody_holds_ends_when_it_is_not_stored_any_more(open_tier: OpenTier) -> None:
    """Its only client left while it was stored; then it proved too large, or the disk full: nobody gains by more."""
    tier = await open_tier()
    told: list[str] = []
    content = ArrivingContent(None, tier.new_content(KEY), CHUNK_BYTES, on_unwanted=lambda: told.append("unwanted"))
    content.hold()
    content.let_go()
    await content.take(b"x" * CHUNK_BYTES)
    assert told == []
    await content.take(b"x")
    assert told


async def test_what_nobody_ever_held_ends_when_it_is_not_stored() -> None:
    told: list[str] = []
    content = ArrivingContent(None, None, 0, on_unwanted=lambda: told.append("unwanted"))
    await content.take(b"x")
    assert told


async def test_left_is_when_the_last_has_left() -> None:
    content = ArrivingContent(None, None, 0)
    for _ in range(3):
        content.hold()
    await content.take(b"abc")
    await content.finish()
    left = asyncio.create_task(content.left())
    assert await soon(read_all(content.reader())) == b"abc"
    stream = content.reader()
    content.let_go()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not left.done()
    await stream.aclose()
    await soon(left)


async def test_when_memory_is_scarce_only_what_nobody_else_has_is_kept(open_tier: OpenTier) -> None:
    tier = await open_tier()
    budget = ArrivalBudget(CHUNK_BYTES)
    stored = ArrivingContent(None, tier.new_content(KEY), LARGE, budget=budget)
    stored.hold()
    slow = stored.reader()
    whole = bytes(range(256)) * (5 * CHUNK_BYTES // 256)
    for at in range(0, len(whole), CHUNK_BYTES // 2):
        await stored.take(whole[at : at + CHUNK_BYTES // 2])
        assert budget.held_bytes <= 2 * CHUNK_BYTES
    await stored.finish()
    assert b"".join([bytes(part) async for part in slow]) == whole
    await slow.aclose()
    stored.close()
    assert budget.held_bytes == 0


async def test_what_is_only_passed_on_waits_for_its_reader_sooner_when_memory_is_scarce() -> None:
    passed = ArrivingContent(None, None, 0, budget=ArrivalBudget(0))
    passed.hold()
    reader = passed.reader()
    await passed.take(b"x" * TIGHT_WINDOW_BYTES)
    feeding = asyncio.create_task(passed.take(b"y"))
    await asyncio.sleep(0)
    assert not feeding.done()
    reading = asyncio.create_task(read_all(reader))
    await feeding
    await passed.finish()
    assert await reading == b"x" * TIGHT_WINDOW_BYTES + b"y"
