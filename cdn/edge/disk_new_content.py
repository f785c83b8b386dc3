"""Content that is stored while it comes in: chunk files first, then all of it enters the index in one transaction.

Until then nothing but this process knows of the files; what a kill leaves of them is found and removed after the start.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from cdn.edge.disk_facts import TierCounters
from cdn.edge.disk_files import NO_ROOM, ChunkName, ContentFolder, held_bytes
from cdn.edge.disk_holds import HeldFiles, Hold
from cdn.edge.disk_index import DiskIndex
from cdn.edge.disk_pulled_head import pack_head
from cdn.edge.disk_reader import ChunkReader
from cdn.edge.disk_use import AccessTimes
from cdn.edge.disk_writes import EnterContent, Relieve
from cdn.edge.stored import Content, StoredKey, StoredResponse, StoreOutcome
from cdn.fleet.position import Position
from cdn.sites.manifest import CHUNK_BYTES, FileEntry

SITE_SHARE = 0.75
"""The part of the room for running writes that one site may take, so that some is left for the others (DESIGN I10)."""

T = TypeVar("T")


class Writing:
    """All running writes of a tier: what they share, and the bound on what they take together."""

    def __init__(
        self,
        *,
        index: DiskIndex,
        files: ContentFolder,
        held: HeldFiles,
        pool: ThreadPoolExecutor,
        reader: ChunkReader,
        use: AccessTimes,
        counters: TierCounters,
        max_bytes: int,
    ) -> None:
        self.index = index
        self.files = files
        self.held = held
        self.pool = pool
        self.reader = reader
        self.use = use
        self.counters = counters
        self._max_bytes = max_bytes
        self._bytes = 0
        self._by_site: dict[str, int] = {}
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def in_flight_bytes(self) -> int:
        """What running writes take now, in blocks."""
        return self._bytes

    def take(self, site_id: str, held: int, taken: int) -> StoreOutcome:
        """Take room for `held` more bytes of content that has `taken` so far; STORED when there was some."""
        of_site = self._by_site.get(site_id, 0) + held
        max_of_site = self._max_bytes * SITE_SHARE
        if taken + held > max_of_site:
            return StoreOutcome.TOO_LARGE
        if of_site > max_of_site or self._bytes + held > self._max_bytes:
            return StoreOutcome.FULL
        self._by_site[site_id] = of_site
        self._bytes += held
        self.use.write_when_nearly_full()
        self.index.reserve(held)
        return StoreOutcome.STORED

    def give_back(self, site_id: str, held: int, *, is_entered: bool) -> None:
        """Content has been entered, and counts there, or is gone."""
        left = self._by_site.pop(site_id, 0) - held
        if left > 0:
            self._by_site[site_id] = left
        self._bytes -= held
        if not is_entered:
            self.index.release(held)

    def hold(self, incarnation: int) -> Hold:
        """Keep the files of a response, or of content on its way in, until the hold is closed."""
        self.held.hold(incarnation)
        return Hold(lambda: self._let_go(incarnation))

    def _let_go(self, incarnation: int) -> None:
        for name in self.held.let_go(incarnation):
            self.reader.forget(name)
            # A tier that is closed leaves them to the next start.
            with contextlib.suppress(RuntimeError):
                self.pool.submit(self.held.remove, name)

    async def finish(self, step: Coroutine[object, object, T]) -> T:
        """Run a step to its end even when whoever waits for it is cancelled."""
        task = asyncio.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Wait for steps under way. Contents that are not entered are left to the next start."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


class NewContent:
    """One response's content on its way in.

    `write` its chunks in order, each of CHUNK_BYTES but the last; what is written can be `read` at once. Then `enter`
    it. Unless that gave STORED, `abandon` it when nobody reads it any more: until then it stays readable, and counts.
    Once it is entered, `abandon` does nothing, so that it fits a `finally`; a `hold` keeps it readable even when it is
    replaced or evicted. A cancelled caller leaves no step half done.

    Content of 0 bytes is entered without a write. `incarnation` was taken when this was made.
    """

    def __init__(self, writing: Writing, key: StoredKey) -> None:
        self._writing = writing
        self.key = key
        self.incarnation = writing.index.next_incarnation()
        self._fingerprint = key.fingerprint()
        self._edition = writing.index.edition
        self._turn = asyncio.Lock()
        self._chunk_digests: list[str] = []
        self._size_bytes = 0
        self._held_bytes = 0
        self._whole = hashlib.sha256()
        self._fault: StoreOutcome | None = None
        self._is_over = False

    @property
    def size_bytes(self) -> int:
        """What is written so far."""
        return self._size_bytes

    @property
    def entry(self) -> FileEntry:
        """What is written so far as an entry: after the last write, the one that `enter` stores."""
        digests = tuple(self._chunk_digests) if len(self._chunk_digests) > 1 else ()
        return FileEntry(self._whole.hexdigest(), self._size_bytes, digests)

    async def write(self, number: int, chunk: Content) -> StoreOutcome:
        """Write chunk `number`; anything but STORED is final: this content cannot be stored any more.

        FULL when the disk or the room for running writes is, TOO_LARGE when this content takes too much of that room
        alone. Never raises for a full or failing disk.
        """
        return await self._writing.finish(self._write(number, chunk))

    async def _write(self, number: int, chunk: Content) -> StoreOutcome:
        async with self._turn:
            if self._fault is not None or self._is_over:
                return self._fault or StoreOutcome.SUPERSEDED
            if len(chunk) == 0:
                return StoreOutcome.STORED
            assert len(chunk) <= CHUNK_BYTES, f"a chunk has at most {CHUNK_BYTES} bytes, not {len(chunk)}"
            assert number * CHUNK_BYTES == self._size_bytes, f"chunk {number} does not follow {self._size_bytes} bytes"
            held = held_bytes(len(chunk))
            room = self._writing.take(self.key.site_id, held, self._held_bytes)
            if room is not StoreOutcome.STORED:
                return self._fail(room)
            self._held_bytes += held
            loop = asyncio.get_running_loop()
            try:
                digest = await loop.run_in_executor(self._writing.pool, self._store, number, chunk)
            except OSError as exc:
                self._writing.counters.full += 1
                if exc.errno in NO_ROOM:
                    self._writing.index.submit(Relieve())
                return self._fail(StoreOutcome.FULL)
            self._chunk_digests.append(digest)
            self._size_bytes += len(chunk)
            return StoreOutcome.STORED

    def _store(self, number: int, chunk: Content) -> str:
        self._writing.files.write(self._name(number), chunk)
        if number == 0:
            self._whole = hashlib.sha256(chunk)
            return self._whole.hexdigest()
        self._whole.update(chunk)
        return hashlib.sha256(chunk).hexdigest()

    def _fail(self, fault: StoreOutcome) -> StoreOutcome:
        self._fault = fault
        return fault

    async def read(self, number: int) -> Content | None:
        """A chunk that is written, also after `enter`; None when it is not, or not any more."""
        if number >= len(self._chunk_digests):
            return None
        size_bytes = min(CHUNK_BYTES, self._size_bytes - number * CHUNK_BYTES)
        digest = self._chunk_digests[number]
        return await self._writing.reader.read(self._name(number), size_bytes, digest, lambda fault: None)

    async def enter(
        self, stored: StoredResponse, may_store: Callable[[Position], bool] = lambda admitted: True
    ) -> StoreOutcome:
        """Enter the content with its response into the index: STORED when `find_all` gives it from now on.

        Of `stored`, which has to carry a pulled head, the key, the entry and the incarnation are filled in here:
        `stored_with` says what will be found. An earlier response under the key is replaced. Any other outcome is
        final: the content will not be found, and is to be abandoned.

        `may_store` is asked as in `DiskTier.put_chunk`; content that was admitted before a sweep began is refused as
        well (DETACHED), and so is what was replaced by a later one already (SUPERSEDED).
        """
        outcome = await self._writing.finish(self._enter(stored, may_store))
        self._writing.counters.note_entered(outcome)
        return outcome

    def stored_with(self, stored: StoredResponse) -> StoredResponse:
        """`stored` with this content's key, entry and incarnation."""
        return replace(stored, key=self.key, entry=self.entry, incarnation=self.incarnation)

    async def _enter(self, offered: StoredResponse, may_store: Callable[[Position], bool]) -> StoreOutcome:
        async with self._turn:
            stored = self.stored_with(offered)
            assert not self._is_over, "content is entered or abandoned once"
            refusal = self._refusal(stored, may_store)
            if refusal is not None:
                return self._fail(refusal)
            verified = self._writing.reader.verified
            for number in range(len(self._chunk_digests)):
                verified.add((self.incarnation, number))
            enter = EnterContent(stored, self._writing.use.now_ms(), self._edition, self._held_bytes)
            outcome = await self._writing.index.hand_over(enter)
            if outcome is not StoreOutcome.STORED:
                return self._fail(outcome)
            self._is_over = True
            self._give_back(is_entered=True)
            return outcome

    def _refusal(self, stored: StoredResponse, may_store: Callable[[Position], bool]) -> StoreOutcome | None:
        if self._fault is not None:
            return self._fault
        if stored.pulled is None or pack_head(stored.pulled) is None:
            return StoreOutcome.TOO_LARGE
        if self._writing.index.is_busy:
            return StoreOutcome.BUSY
        return None if may_store(stored.admitted) else StoreOutcome.DETACHED

    def hold(self) -> Hold:
        """Keep what is written readable until the hold is closed; see DiskTier.hold."""
        return self._writing.hold(self.incarnation)

    async def abandon(self) -> None:
        """Remove what was written. Does nothing once the content is entered or abandoned."""
        await self._writing.finish(self._abandon())

    async def _abandon(self) -> None:
        async with self._turn:
            if not self._is_over:
                await self._remove()

    async def _remove(self) -> None:
        self._is_over = True
        names = [self._name(number) for number in range(len(self._chunk_digests))]
        self._forget()
        loop = asyncio.get_running_loop()
        for name in names:
            await loop.run_in_executor(self._writing.pool, self._writing.held.remove, name)
        self._give_back(is_entered=False)

    def _forget(self) -> None:
        for number in range(len(self._chunk_digests)):
            self._writing.reader.forget(self._name(number))
        self._chunk_digests.clear()

    def _give_back(self, *, is_entered: bool) -> None:
        held, self._held_bytes = self._held_bytes, 0
        self._writing.give_back(self.key.site_id, held, is_entered=is_entered)

    def _name(self, number: int) -> ChunkName:
        return ChunkName(self._fingerprint, self.incarnation, number)
