"""Content of several ranges of a large representation: part heads and slices of chunks in turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from itertools import groupby, islice

from cdn.edge.content import READ_AHEAD, ChunkSource, Slice
from cdn.http.fields import FieldLines
from cdn.http.multipart import ByteRangesLayout
from cdn.http.range import ByteRange
from cdn.sites.manifest import CHUNK_BYTES


class PartStream:
    """The multipart/byteranges content that a layout describes; a ContentStream.

    The chunk in which the first range begins is handed in: it was there before the response began. A chunk that
    several ranges touch one after the other is asked for once. Holds three chunks at the most.
    """

    def __init__(self, source: ChunkSource, layout: ByteRangesLayout, first: bytes | memoryview) -> None:
        self._source = source
        self._layout = layout
        self._chunk: bytes | memoryview = first
        numbers = (number for part in layout.parts for number in _numbers_of(part.byte_range))
        self._wanted = islice((number for number, _ in groupby(numbers)), 1, None)
        self._ahead: deque[asyncio.Future[bytes | memoryview]] = deque()

    @property
    def size_bytes(self) -> int:
        return self._layout.size_bytes

    @property
    def trailers(self) -> FieldLines:
        return ()

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        async for content, start, stop in self.slices():
            yield memoryview(content)[start:stop]

    async def slices(self) -> AsyncIterator[Slice]:
        """The same, each as content and where to cut it."""
        at_hand = self._layout.parts[0].byte_range.start // CHUNK_BYTES
        for part in self._layout.parts:
            start, stop = part.byte_range.start, part.byte_range.stop
            yield part.head, 0, len(part.head)
            for number in _numbers_of(part.byte_range):
                self._ask_ahead()
                if number != at_hand:
                    self._chunk = await self._ahead.popleft()
                    at_hand = number
                    self._ask_ahead()
                offset = number * CHUNK_BYTES
                yield self._chunk, max(0, start - offset), min(stop - offset, len(self._chunk))
        yield self._layout.closing, 0, len(self._layout.closing)

    async def aclose(self) -> None:
        """Give up what was asked for ahead; a fetch that others share goes on without this stream."""
        while self._ahead:
            asking = self._ahead.popleft()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        self._chunk = b""

    def _ask_ahead(self) -> None:
        for number in islice(self._wanted, READ_AHEAD - len(self._ahead)):
            self._ahead.append(asyncio.ensure_future(self._source(number)))


def _numbers_of(byte_range: ByteRange) -> range:
    """The chunks it touches."""
    return range(byte_range.start // CHUNK_BYTES, (byte_range.stop - 1) // CHUNK_BYTES + 1)
