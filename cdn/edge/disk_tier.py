"""The disk tier: stored responses that survive a restart, bounded in bytes; the least recently used goes first.

The event loop never waits for the disk: looking up, opening, checking and writing happen in a few threads, the index
has a writer of its own, and what was used lately is known without asking.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from cdn.edge import disk_rows as rows
from cdn.edge.collapse import Shared
from cdn.edge.disk_facts import DiskFacts, TierCounters
from cdn.edge.disk_files import NO_ROOM, ChunkName, ContentFolder, ReadFault
from cdn.edge.disk_holds import HeldFiles, Hold
from cdn.edge.disk_index import LOW_WATER, DiskIndex, IndexUnavailable
from cdn.edge.disk_known import KnownResponses
from cdn.edge.disk_new_content import NewContent, Writing
from cdn.edge.disk_pulled import PulledResponses
from cdn.edge.disk_reader import ChunkReader
from cdn.edge.disk_reconcile import Reconciled, reconcile
from cdn.edge.disk_rows import Gone
from cdn.edge.disk_scrub import Scrubbed, scrub
from cdn.edge.disk_use import AccessTimes
from cdn.edge.disk_writes import DropChunk, Horizon, PutChunk, Relieve, Remove, Sync, Validated
from cdn.edge.stored import Content, PulledHead, StoredKey, StoredResponse, StoreOutcome
from cdn.fleet.position import Position

THREADS = 4
"""Threads for lookups, reads and writes: a slow disk holds these up, never the event loop."""

MAX_MAPS = 512
"""Maps kept open, at one descriptor and at most 1 MiB of address space each; fewer where descriptors are scarce."""

RECONCILE_PAUSE_S = 0.1
"""Between two steps of the comparison after a start: about 13 s for all folders, at a small part of one core."""

WRITING_SHARE = 4
"""All content that is being written may take a quarter of the tier: a rush of new content leaves most of what is there.
As much may be taken by content that has left, while somebody still reads it."""

SWEEP_BATCH = 256
"""Responses looked at in one step of a sweep; other work runs between two steps."""


class DiskTier:
    """Chunks of stored responses in files, found through an index.

    Files of bundles: `find`; when that gives nothing usable, `admit` a new response; then for each chunk `read_chunk`,
    and on None fetch it and `put_chunk`. Such a response is there as long as at least one of its chunks is stored.

    Responses of pull sites: `find_all` that are stored under a primary key; when none of them will do, `new_content`,
    which comes in as a whole; then `read_chunk`, where None means that the response is gone.

    Floors are not known here. Callers ask them before they use what `find` returns, and hand in what follows from them.
    """

    def __init__(self, folder: Path, max_bytes: int, *, clock: Callable[[], float], max_maps: int) -> None:
        self.counters = TierCounters()
        self._max_bytes = max_bytes
        self._opened_at = time.time()
        self._files = ContentFolder(folder)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="disk-tier")
        self._held = HeldFiles(self._files, max_bytes // WRITING_SHARE)
        self._index = DiskIndex(folder / "index.sqlite", self._files, self._held, max_bytes, self._pool)
        self._known = KnownResponses()
        self._reader = ChunkReader(self._files, self._pool, max_maps)
        self._use = AccessTimes(self._index, clock, max_bytes)
        self._pulled = PulledResponses(self._index, self._held, self._pool)
        self._writing = Writing(
            index=self._index,
            files=self._files,
            held=self._held,
            pool=self._pool,
            reader=self._reader,
            use=self._use,
            counters=self.counters,
            max_bytes=max_bytes // WRITING_SHARE,
        )
        self._lookups: Shared[StoredKey, None] = Shared()
        self._removals = 0
        self._background: list[asyncio.Task[None]] = []
        self._sweep_turn = asyncio.Lock()
        self._is_closed = False

    @classmethod
    async def open(
        cls,
        folder: Path,
        max_bytes: int,
        *,
        clock: Callable[[], float] = time.time,
        max_maps: int = MAX_MAPS,
        reconciles: bool = True,
    ) -> DiskTier:
        """Open the tier in `folder`, empty or as a process left it, however that ended.

        Takes the same short time whatever is stored; differences between files and index are found and removed in the
        background (unless `reconciles` is false). `clock` gives wall time in seconds, for the order of use.
        Raises IndexUnavailable.
        """
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        bounded_maps = max_maps if descriptors == resource.RLIM_INFINITY else min(max_maps, max(16, descriptors // 8))
        tier = cls(folder, max_bytes, clock=clock, max_maps=bounded_maps)
        try:
            await asyncio.to_thread(tier._prepare, asyncio.get_running_loop())
        except BaseException:
            tier._pool.shutdown()
            raise
        tier._index.on_gone = tier._drop_gone
        tier._index.on_entered = tier._pulled.entered
        tier._index.on_reset = tier._reset
        tier._background.append(asyncio.create_task(tier._use.write_now_and_then(), name="disk access times"))
        if reconciles:
            tier._background.append(asyncio.create_task(tier._reconcile_once(), name="disk reconcile"))
        return tier

    def _prepare(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._files.prepare()
        except OSError as exc:
            raise IndexUnavailable(f"the disk tier's folder cannot be used: {exc}; name another or free it") from exc
        self._index.start(loop)

    # Responses

    async def find(self, key: StoredKey) -> StoredResponse | None:
        """The response stored under `key`, None when there is none (or the index cannot be read now)."""
        try:
            while key not in self._known:
                await self._lookups.join(key, lambda: self._look_up(key))
        except IndexUnavailable:
            return None
        return self._known.get(key)

    async def _look_up(self, key: StoredKey) -> None:
        def query(connection: sqlite3.Connection) -> StoredResponse | None:
            row = connection.execute(rows.SELECT_BY_FINGERPRINT, (key.fingerprint(),)).fetchone()
            return None if row is None else rows.read_stored(row)

        while key not in self._known:
            removals = self._removals
            stored = await self._index.read(query)
            # What a sweep took away while this was read must not come back.
            if removals == self._removals and key not in self._known:
                self._known.put(key, stored)

    async def admit(self, stored: StoredResponse, hard: int) -> StoredResponse:
        """The response to fetch chunks for: the one under the key if it may still be used, else `stored`, made new.

        `hard` is the hard floor that applies now to the names and tags of `stored`. What lies below it, or was admitted
        in another epoch, or has another content or other names or tags is given up: its chunks are never met again
        under the new response (DESIGN I1). Nothing is written before the first chunk.
        """
        await self.find(stored.key)
        current = self._known.get(stored.key)
        if (
            current is not None
            and current.entry == stored.entry
            and (current.names, current.tags) == (stored.names, stored.tags)
            and current.admitted.epoch == stored.admitted.epoch
            and not current.is_below(hard, stored.admitted.epoch)
        ):
            return current
        fresh = replace(stored, incarnation=self._index.next_incarnation())
        self._known.put(stored.key, fresh)
        return fresh

    async def revalidated(
        self, stored: StoredResponse, admitted: Position, at: float, hard: int
    ) -> StoredResponse | None:
        """Admit `stored` again, after upstream confirmed it: `admitted` is the position when upstream was asked.

        `hard` is the hard floor that applies now: what lies below it is not admitted again, whatever upstream says.
        None then, and when the key has been admitted anew or dropped meanwhile. `at` is wall time in seconds.
        """
        current = await self.find(stored.key)
        if current is None or current.incarnation != stored.incarnation or current.is_below(hard, admitted.epoch):
            return None
        if current.admitted.covers(admitted):
            admitted = current.admitted
        again = replace(current, admitted=admitted, validated_at=max(at, current.validated_at))
        self._known.put(stored.key, again)
        self._index.submit(Validated(again.incarnation, again.admitted, again.validated_at))
        return again

    # Responses of pull sites

    async def find_all(self, site_id: str, path: str) -> tuple[StoredResponse, ...]:
        """The pulled responses stored under a primary key, the newest incarnation first; () when there are none.

        Asks no thread for keys that were asked lately, also those without any. () too when the index cannot be read.
        """
        return await self._pulled.find_all(site_id, path)

    def new_content(self, key: StoredKey) -> NewContent:
        """Content to be stored under `key` while it comes in; see NewContent, and abandon it unless it is entered.

        Its incarnation is taken now: call this before upstream is asked.
        """
        return NewContent(self._writing, key)

    async def update_head(  # noqa: PLR0917 - a response's new state, part by part
        self,
        stored: StoredResponse,
        pulled: PulledHead,
        names: tuple[str, ...],
        tags: tuple[str, ...],
        admitted: Position,
        validated_at: float,
        hard: int,
    ) -> StoredResponse | None:
        """Admit a pulled response again, as a 304 or a HEAD left it, asked for at `admitted`.

        `hard` is the hard floor that applies now: what lies below it is not admitted again, whatever upstream says.
        None then, and when the response has left the tier meanwhile, or its head has become longer than can be kept.
        `validated_at` is when that was received, as `ResidenceClock.wall` gives it: an answer from before the one that
        is stored changes nothing.
        """
        return await self._pulled.update_head(stored, pulled, names, tags, admitted, validated_at, hard)

    def drop(self, stored: StoredResponse) -> None:
        """Forget a pulled response: at once for `find_all`, soon on the disk."""
        self._pulled.drop(stored)

    def hold(self, stored: StoredResponse) -> Hold:
        """Keep the content of a pulled response readable until the hold is closed, whatever becomes of the response.

        For readers that take their time: `read_chunk` goes on giving what it gave before. Of what left the tier while
        it was held, the tier keeps a quarter of its size at the most.
        """
        return self._writing.hold(stored.incarnation)

    def incarnation_now(self) -> int:
        """A mark: everything admitted so far has this incarnation or a lower one, everything later a higher one."""
        return self._index.incarnation

    # Chunks

    async def read_chunk(self, stored: StoredResponse, number: int) -> Content | None:
        """A chunk's content: mapped when large; None when it is not stored.

        It is checked against its digest when this process has not done so before; a damaged one is removed and counted.
        """
        chunk = (stored.incarnation, number)
        self._use.touch_chunk(chunk if stored.pulled is None else (stored.incarnation, 0))
        mapped = self._reader.maps.get(chunk)
        if mapped is not None:
            return mapped
        if stored.file_count == 0:
            return b""
        name = ChunkName(stored.key.fingerprint(), *chunk)
        start, stop = stored.entry.chunk_span(number)
        digest = stored.entry.chunk_digest(number)
        return await self._reader.read(
            name, stop - start, digest, lambda fault: self._note_fault(fault, stored, number)
        )

    def mapped_chunk(self, stored: StoredResponse, number: int) -> memoryview | None:
        """What `read_chunk` would give without waiting, of a large representation."""
        chunk = (stored.incarnation, number)
        mapped = self._reader.maps.get(chunk)
        if mapped is not None:
            self._use.touch_chunk(chunk if stored.pulled is None else (stored.incarnation, 0))
        return mapped

    def is_at_hand(self, stored: StoredResponse, number: int) -> bool:
        """Whether a chunk was stored or checked a short while ago, so that `read_chunk` will most probably give it."""
        return (stored.incarnation, number) in self._reader.verified or stored.file_count == 0

    def _note_fault(self, fault: ReadFault, stored: StoredResponse, number: int) -> None:
        match fault:
            case ReadFault.MISSING:
                # Of a bundle, mostly a chunk that was never stored and may be on its way in by now: nothing to undo.
                self.counters.missing += 1
                if stored.pulled is not None:
                    self._pulled.drop(stored)
            case ReadFault.DAMAGED:
                self.counters.damaged += 1
                name = ChunkName(stored.key.fingerprint(), stored.incarnation, number)
                self._reader.forget(name)
                if stored.pulled is not None:
                    self._pulled.drop(stored)
                else:
                    self._index.submit(DropChunk(name))
            case ReadFault.UNREADABLE:
                self.counters.unreadable += 1

    async def put_chunk(
        self,
        stored: StoredResponse,
        number: int,
        content: Content,
        *,
        may_store: Callable[[Position], bool] = lambda admitted: True,
    ) -> StoreOutcome:
        """Store a chunk of a response that `admit` gave. The caller has checked the content against its digest.

        `may_store` says whether floors allow what was admitted at a position, and whether that is of the present epoch;
        it is asked before the file is written and again when it is entered into the index. Never raises for a full or
        failing disk: that is an outcome.
        """
        outcome = await self._put_chunk(stored, number, content, may_store)
        self.counters.note_put(outcome)
        return outcome

    async def _put_chunk(
        self, stored: StoredResponse, number: int, content: Content, may_store: Callable[[Position], bool]
    ) -> StoreOutcome:
        if rows.chunk_cost(len(content)) + rows.ROW_BYTES > self._max_bytes * LOW_WATER:
            return StoreOutcome.TOO_LARGE
        if self._index.is_busy:
            return StoreOutcome.BUSY
        refusal = self._refusal(stored, may_store)
        if refusal is not None:
            return refusal
        name = ChunkName(stored.key.fingerprint(), stored.incarnation, number)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._pool, self._files.write, name, content)
        except OSError as exc:
            self.counters.full += 1
            if exc.errno in NO_ROOM:
                self._index.submit(Relieve())
            return StoreOutcome.FULL
        refusal = self._refusal(stored, may_store)
        if refusal is not None:
            await loop.run_in_executor(self._pool, self._files.remove, name)
            return refusal
        self._use.write_when_nearly_full()
        self._reader.verified.add((name.incarnation, name.number))
        self._index.submit(PutChunk(stored, name, len(content), self._use.now_ms()))
        return StoreOutcome.STORED

    def _refusal(self, stored: StoredResponse, may_store: Callable[[Position], bool]) -> StoreOutcome | None:
        current = self._known.get(stored.key)
        if current is not None and current.incarnation > stored.incarnation:
            return StoreOutcome.SUPERSEDED
        is_current = current is not None and current.incarnation == stored.incarnation
        if not may_store(current.admitted if is_current and current is not None else stored.admitted):
            return StoreOutcome.DETACHED
        return None

    # Order of use

    def touch(self, key: StoredKey) -> None:
        """Note that a small response was used without this tier being asked, so that it is not evicted first."""
        self._use.touch_key(key)

    # Reclaiming

    async def sweep(
        self, site_id: str, through: Position, is_unusable: Callable[[StoredResponse], bool], *, pause_s: float = 0.0
    ) -> int:
        """Remove every response of a site that `is_unusable`; durably. How many were removed.

        `through` is where the node stands as the sweep begins. From then on nothing of the site that was admitted
        before it enters the tier any more unless it is there already: with that, no response that the sweep's floors
        forbid is left when it returns, and the floors may be forgotten.

        Raises IndexUnavailable when the index cannot be read or written; then the floors have to stay.
        """
        async with self._sweep_turn:
            await self._settle(Horizon(site_id, through))
            removed = 0
            after = 0
            while page := await self._index.read(_page_query(site_id, after)):
                unusable = tuple(stored.incarnation for stored in page if is_unusable(stored))
                if unusable:
                    await self._settle(Remove(unusable))
                    removed += len(unusable)
                after = page[-1].incarnation
                await asyncio.sleep(pause_s)
            await self._settle(Sync())
            self._removals += 1
            self._known.drop_where(site_id, is_unusable)
            self._pulled.forget_site(site_id)
            self.counters.swept += removed
            return removed

    async def sites(self) -> list[str]:
        """The ids of sites of which something is stored. Raises IndexUnavailable."""

        def query(connection: sqlite3.Connection) -> list[str]:
            return [str(row[0]) for row in connection.execute("SELECT DISTINCT site_id FROM stored")]

        return await self._index.read(query)

    async def remove_site(self, site_id: str, through: Position) -> int:
        """Remove everything of a site that was removed at `through`. Raises IndexUnavailable."""
        return await self.sweep(site_id, through, lambda stored: True)

    async def _settle(self, write: Horizon | Remove | Sync) -> None:
        if not await self._index.settle(write):
            raise IndexUnavailable("the disk tier's index takes no writes now (disk full or failing); try again")

    def _drop_gone(self, gone: list[Gone]) -> None:
        self._removals += 1
        self._known.drop_gone(gone)
        self._pulled.drop_gone(gone)
        for each in gone:
            for name in each.chunks:
                self._reader.forget(name)

    def _reset(self) -> None:
        self._removals += 1
        self._known.clear()
        self._pulled.clear()
        self._reader.maps.clear()

    async def reconcile(self, pause_s: float = 0.0) -> Reconciled:
        """Remove files that the index does not know and rows whose files are missing, folder by folder."""
        return await reconcile(self._index, self._files, self._opened_at, pause_s)

    async def scrub(self, rate_bytes_per_s: float) -> Scrubbed:
        """Check every chunk that is stored, slowly; a damaged one is removed and counted. Raises IndexUnavailable."""
        return await scrub(self._index, self._files, self._note_fault, rate_bytes_per_s=rate_bytes_per_s)

    async def _reconcile_once(self) -> None:
        with contextlib.suppress(IndexUnavailable):
            await self.reconcile(pause_s=RECONCILE_PAUSE_S)

    # Life

    def facts(self) -> DiskFacts:
        """What the tier holds now."""
        totals = self._index.totals
        return DiskFacts(
            totals.responses,
            totals.chunks,
            totals.cost_bytes,
            self._writing.in_flight_bytes,
            self._held.deferred_bytes,
            self._max_bytes,
            self._index.queued,
            self.counters,
            self._index.counters,
        )

    async def flush(self) -> bool:
        """Wait until everything submitted so far is committed and durable; False when it could not be."""
        self._use.write()
        return await self._index.settle(Sync())

    async def aclose(self) -> None:
        """Write what waits and close; a second time does nothing. Maps that are still being sent from stay valid."""
        if self._is_closed:
            return
        self._is_closed = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._lookups.aclose()
        await self._pulled.aclose()
        await self._writing.aclose()
        await self._reader.aclose()
        self._use.write()
        await asyncio.to_thread(self._pool.shutdown)
        await self._index.aclose()


def _page_query(site_id: str, after: int) -> Callable[[sqlite3.Connection], list[StoredResponse]]:
    def query(connection: sqlite3.Connection) -> list[StoredResponse]:
        page = connection.execute(rows.SELECT_BY_SITE, (site_id, after, SWEEP_BATCH))
        return [rows.read_stored(row) for row in page]

    return query
