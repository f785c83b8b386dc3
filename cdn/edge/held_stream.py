"""Content of a pulled response that is kept readable as long as it is being sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cdn.edge.content import ChunkStream, Slice
from cdn.edge.disk_holds import Hold
from cdn.edge.part_stream import PartStream
from cdn.http.fields import FieldLines


class HeldStream:
    """A ContentStream over chunks that a hold keeps: what is replaced, purged or evicted meanwhile is sent to its end,
    for those who began to read it."""

    def __init__(self, stream: ChunkStream | PartStream, hold: Hold) -> None:
        self._stream = stream
        self._hold = hold

    @property
    def size_bytes(self) -> int | None:
        return self._stream.size_bytes

    @property
    def trailers(self) -> FieldLines:
        return self._stream.trailers

    def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        return aiter(self._stream)

    def slices(self) -> AsyncIterator[Slice]:
        """Chunks, and where to cut them."""
        return self._stream.slices()

    async def aclose(self) -> None:
        """Let go of the content."""
        try:
            await self._stream.aclose()
        finally:
            self._hold.close()
