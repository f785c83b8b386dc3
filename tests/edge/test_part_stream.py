"""Several ranges of large content as a stream: what is sent, what is asked for, what is given up."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.edge.content import READ_AHEAD
from cdn.edge.part_stream import PartStream
from cdn.errors import Unavailable
from cdn.http.multipart import ByteRangesLayout, byteranges_layout
from cdn.http.range import ByteRange, select_ranges
from cdn.sites.manifest import CHUNK_BYTES

CONTENT = random.Random(3).randbytes(5 * CHUNK_BYTES + 17)


class Chunks:
    """A chunk source that remembers what it was asked for; `gate` must be open for a chunk to come."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.cancelled: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken: int | None = None

    def at(self, number: int) -> memoryview:
        return memoryview(CONTENT)[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]

    async def __call__(self, number: int) -> memoryview:
        self.asked.append(number)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        if number == self.broken:
            raise Unavailable("the store is down")
        return self.at(number)


def laid_out(*places: tuple[int, int]) -> ByteRangesLayout:
    return byteranges_layout([ByteRange(*place) for place in places], len(CONTENT), "video/mp4", "b" * 32)


def stream_of(chunks: Chunks, layout: ByteRangesLayout) -> PartStream:
    return PartStream(chunks, layout, chunks.at(layout.parts[0].byte_range.start // CHUNK_BYTES))


async def sent_by(stream: PartStream) -> bytes:
    return b"".join([bytes(piece) async for piece in stream])


async def test_ranges_in_one_chunk_ask_for_nothing_more() -> None:
    chunks, layout = Chunks(), laid_out((5, 10), (1000, 2000), (3000, CHUNK_BYTES))
    stream = stream_of(chunks, layout)
    assert stream.size_bytes == layout.size_bytes
    assert stream.trailers == ()
    assert await sent_by(stream) == layout.content_of(CONTENT)
    assert chunks.asked == []
    await stream.aclose()


async def test_each_chunk_in_a_row_is_asked_for_once() -> None:
    chunks = Chunks()
    layout = laid_out((0, 5), (CHUNK_BYTES - 1, CHUNK_BYTES + 1), (CHUNK_BYTES + 500, 3 * CHUNK_BYTES), (5, 7))
    stream = stream_of(chunks, layout)
    assert await sent_by(stream) == layout.content_of(CONTENT)
    assert chunks.asked == [1, 2, 0]
    await stream.aclose()


async def test_chunks_are_asked_for_ahead_and_no_further() -> None:
    chunks = Chunks()
    chunks.gate.clear()
    stream = stream_of(chunks, laid_out((0, 5), (CHUNK_BYTES, len(CONTENT))))
    pieces = aiter(stream)
    await anext(pieces)
    assert bytes(await anext(pieces)) == CONTENT[:5]
    await anext(pieces)
    waiting = asyncio.ensure_future(anext(pieces))
    for _ in range(5):
        await asyncio.sleep(0)
    assert chunks.asked == list(range(1, 1 + READ_AHEAD))
    chunks.gate.set()
    await waiting
    assert len(chunks.asked) <= 2 + READ_AHEAD
    await pieces.aclose()  # type: ignore[attr-defined]
    await stream.aclose()


async def test_closing_gives_up_what_was_asked_for() -> None:
    chunks = Chunks()
    stream = stream_of(chunks, laid_out((0, 5), (CHUNK_BYTES, len(CONTENT))))
    chunks.gate.clear()
    pieces = aiter(stream)
    await anext(pieces)
    await anext(pieces)
    for _ in range(5):
        await asyncio.sleep(0)
    await pieces.aclose()  # type: ignore[attr-defined]
    await stream.aclose()
    assert chunks.cancelled == chunks.asked == [1, 2]


async def test_closing_without_reading() -> None:
    chunks = Chunks()
    await stream_of(chunks, laid_out((0, 5), (CHUNK_BYTES, len(CONTENT)))).aclose()
    assert chunks.asked == []


async def test_a_source_that_fails_breaks_the_stream() -> None:
    """So the connection is reset and nobody takes the content for whole."""
    chunks = Chunks()
    chunks.broken = 2
    stream = stream_of(chunks, laid_out((0, 5), (CHUNK_BYTES, len(CONTENT))))
    with pytest.raises(Unavailable, match="down"):
        await sent_by(stream)
    await stream.aclose()


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(-300, 5 * CHUNK_BYTES + 100), st.sampled_from([1, 80, 4000, CHUNK_BYTES])),
        min_size=2,
        max_size=8,
    )
)
def test_the_stream_gives_what_the_layout_says(asked: list[tuple[int, int]]) -> None:
    field = "bytes=" + ",".join(f"{max(0, at)}-{max(0, at) + size - 1}" for at, size in asked)
    ranges = select_ranges(field, len(CONTENT))
    if isinstance(ranges, tuple):
        layout = byteranges_layout(ranges, len(CONTENT), None, "b" * 32)

        async def read() -> bytes:
            stream = stream_of(Chunks(), layout)
            try:
                return await sent_by(stream)
            finally:
                await stream.aclose()

        content = asyncio.run(read())
        assert content == layout.content_of(CONTENT)
        assert len(content) == layout.size_bytes
