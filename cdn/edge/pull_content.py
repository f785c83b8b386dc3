"""Content on its way in from an upstream, kept while it comes, so that clients follow at their own pace.

While it is being stored nobody waits for anybody: what a slow client has not read yet lies on disk. Content that is
only passed on is kept in a small window, and the upstream is read no faster than the slowest of its readers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from cdn.edge.arrival_budget import ArrivalBudget
from cdn.edge.disk_new_content import NewContent
from cdn.edge.stored import Content, StoreOutcome
from cdn.errors import Unavailable
from cdn.http.fields import FieldLines
from cdn.sites.manifest import CHUNK_BYTES

WINDOW_CHUNKS = 2
"""Whole chunks of one response kept in memory: what most readers are at; 2 MiB, and the chunk that is being filled."""

TIGHT_WINDOW_BYTES = 64 * 1024
"""So far may the upstream be ahead of the slowest client of content that is not stored, when memory is scarce."""

STEP_BYTES = 256 * 1024
"""At most so much is copied for a reader at once."""


class ContentLost(Unavailable):
    """The part that a slow reader has come to was evicted from the disk meanwhile; its connection is reset."""


class ArrivingContent:
    """The content of one response, as far as it is here.

    `size_bytes` is what the upstream announced. One task feeds it: `take`, then `finish` or `fail`. With `sink` its
    chunks go to disk too, until that refuses or `max_stored_bytes` is exceeded. `holders` are those who may still come
    to read: while there are any, nothing they need is dropped. `on_unwanted` is called when nobody holds content that
    is neither whole nor being stored, perhaps more than once. While the node's `budget` is tight only what nobody else
    has is kept: what is on disk is read from there. `close` it when nobody reads any more.
    """

    def __init__(
        self,
        size_bytes: int | None,
        sink: NewContent | None,
        max_stored_bytes: int,
        on_unwanted: Callable[[], object] | None = None,
        budget: ArrivalBudget | None = None,
    ) -> None:
        self.size_bytes = size_bytes
        self.received_bytes = 0
        self.is_whole = False
        self.is_storing = sink is not None
        self.trailers: FieldLines = ()
        self._sink = sink
        self._max_stored_bytes = max_stored_bytes
        self._on_unwanted = on_unwanted
        self._budget = budget or ArrivalBudget()
        self._counted_bytes = 0
        self._is_closed = False
        self._failure: BaseException | None = None
        self._chunks: dict[int, bytes] = {}
        self._sealed = 0
        self._written = 0
        self._is_cut = False
        self._tail = bytearray()
        self._readers: dict[ArrivingStream, int] = {}
        self._waiting_to_come = 0
        self._changed: list[asyncio.Future[None]] = []
        self._room: asyncio.Future[None] | None = None

    # The receiving side

    async def take(self, part: bytes) -> None:
        """The next part came. Returns when more may come."""
        self._tail += part
        self.received_bytes += len(part)
        if self.is_storing and self.received_bytes > self._max_stored_bytes:
            self.is_storing = False
        self._count()
        self._wake()
        while len(self._tail) >= CHUNK_BYTES:
            await self._seal(CHUNK_BYTES)
        if not self.is_storing:
            await self._wait_for_readers()
            self._note_unwanted()

    async def finish(self, trailers: FieldLines = ()) -> None:
        """It is whole; the last chunk is written."""
        if self._tail:
            await self._seal(len(self._tail))
        if self.is_storing and self._sealed > 1:
            self._chunks.clear()  # all of it is on disk, and a slow client may take its time
        self._count()
        self.trailers = trailers
        self.is_whole = True
        self._wake()

    def fail(self, failure: BaseException) -> None:
        """It will never be whole: readers come to the end of what is here and then see `failure`."""
        self.is_storing = False
        self._failure = failure
        self._wake()

    @property
    def whole_in_memory(self) -> bytes | None:
        """All of it, when it is whole and at most one chunk."""
        if not self.is_whole or self._sealed > 1:
            return None
        return self._chunks.get(0) if self._sealed else b""

    def close(self) -> None:
        """Nobody reads it any more: nothing of it counts."""
        self._is_closed = True
        self._count()

    async def _seal(self, size_bytes: int) -> None:
        number = self._sealed
        chunk = bytes(memoryview(self._tail)[:size_bytes])
        # Until it is written it stays readable in the tail.
        if self.is_storing and self._sink is not None:
            self.is_storing = await self._sink.write(number, chunk) is StoreOutcome.STORED
            self._written += self.is_storing
        self._chunks[number] = chunk
        self._sealed += 1
        del self._tail[:size_bytes]
        self._drop_passed()

    def _drop_passed(self) -> None:
        oldest_needed = self._sealed - (0 if self._budget.is_tight else WINDOW_CHUNKS)
        if not self.is_storing:  # what is not on disk has to wait here for the slowest
            oldest_needed = min(oldest_needed, self._slowest() // CHUNK_BYTES)
        for number in [number for number in self._chunks if number < oldest_needed]:
            del self._chunks[number]
            self._is_cut |= number >= self._written
        self._count()

    def _count(self) -> None:
        held_bytes = 0 if self._is_closed else len(self._tail) + sum(map(len, self._chunks.values()))
        self._budget.change(held_bytes - self._counted_bytes)
        self._counted_bytes = held_bytes

    async def left(self) -> None:
        """Return when nobody reads, or may yet come to read."""
        while self.holders:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    # Readers

    @property
    def holders(self) -> int:
        """How many read, or may yet come to read."""
        return len(self._readers) + self._waiting_to_come

    @property
    def may_be_joined(self) -> bool:
        """Whether one who comes now would be given it from the first byte on."""
        return not self._is_cut and self._failure is None

    def hold(self) -> None:
        """Somebody will come to read: follow with `reader` or `let_go`."""
        self._waiting_to_come += 1

    def let_go(self) -> None:
        """One who held does not come."""
        self._waiting_to_come -= 1
        self._left()

    def reader(self, start: int = 0, stop: int | None = None) -> ArrivingStream:
        """A stream over [start, stop) for one who held."""
        self._waiting_to_come -= 1
        stream = ArrivingStream(self, start, stop)
        self._readers[stream] = start
        return stream

    async def read(self, stream: ArrivingStream, offset: int) -> Content:
        """Some bytes at `offset`, waiting for them; empty at the end. Raises what the upstream failed with."""
        self._readers[stream] = offset
        self._note_progress()
        while True:
            sealed_bytes = self._sealed * CHUNK_BYTES
            if offset < min(sealed_bytes, self.received_bytes):
                return await self._read_sealed(offset)
            if offset < self.received_bytes:
                start = offset - sealed_bytes
                return bytes(memoryview(self._tail)[start : start + STEP_BYTES])
            if self._failure is not None:
                raise self._failure
            if self.is_whole:
                return b""
            changed = asyncio.get_running_loop().create_future()
            self._changed.append(changed)
            await changed

    def leave(self, stream: ArrivingStream) -> None:
        """A reader needs no more."""
        if self._readers.pop(stream, None) is not None:
            self._left()

    async def _read_sealed(self, offset: int) -> Content:
        number = offset // CHUNK_BYTES
        chunk: Content | None = self._chunks.get(number)
        if chunk is None and self._sink is not None:
            chunk = await self._sink.read(number)
        if chunk is None:
            raise ContentLost(f"bytes from {offset} on are not here any more: ask again")
        return memoryview(chunk)[offset - number * CHUNK_BYTES :]

    def _slowest(self) -> int:
        if self._waiting_to_come:
            return 0
        return min(self._readers.values(), default=self.received_bytes)

    async def _wait_for_readers(self) -> None:
        while self.holders and self.received_bytes - self._slowest() > self._window_bytes():
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        self._drop_passed()

    def _window_bytes(self) -> int:
        return TIGHT_WINDOW_BYTES if self._budget.is_tight else WINDOW_CHUNKS * CHUNK_BYTES

    def _left(self) -> None:
        self._note_progress()
        self._note_unwanted()

    def _note_unwanted(self) -> None:
        if not self.holders and not self.is_storing and not self.is_whole and self._on_unwanted is not None:
            self._on_unwanted()

    def _note_progress(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _wake(self) -> None:
        changed, self._changed = self._changed, []
        for each in changed:
            if not each.done():
                each.set_result(None)


class ArrivingStream:
    """One client's way through arriving content; a ContentStream."""

    def __init__(self, content: ArrivingContent, start: int, stop: int | None) -> None:
        self._content = content
        self._start = start
        self._stop = content.size_bytes if stop is None else stop

    @property
    def size_bytes(self) -> int | None:
        return None if self._stop is None else self._stop - self._start

    @property
    def trailers(self) -> FieldLines:
        return self._content.trailers

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        offset = self._start
        while self._stop is None or offset < self._stop:
            part = await self._content.read(self, offset)
            if not part:
                return
            if self._stop is not None and offset + len(part) > self._stop:
                part = memoryview(part)[: self._stop - offset]
            yield part
            offset += len(part)

    async def aclose(self) -> None:
        """The client is served, or gone."""
        self._content.leave(self)
