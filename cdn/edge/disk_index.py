"""The disk tier's index: SQLite with one writer thread that commits in batches, and a few reader threads.

Nothing here runs on the event loop except handing over and taking back. Commits are not synced (a crash of the machine
may take back the last ones, which only means fetching again), except where a sweep has to be durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, assert_never

from cdn.edge import disk_rows as rows
from cdn.edge.disk_eviction import LOW_WATER, Eviction
from cdn.edge.disk_files import ChunkName, ContentFolder
from cdn.edge.disk_holds import HeldFiles
from cdn.edge.disk_index_file import (
    CACHE_KIB,
    START_SHIFT,
    IndexCounters,
    IndexFile,
    IndexUnavailable,
    connect,
    is_damage,
)
from cdn.edge.disk_rows import Gone, Totals
from cdn.edge.disk_writes import (
    Damaged,
    DropChunk,
    EnterContent,
    Horizon,
    Horizons,
    MakeRoom,
    PutChunk,
    Relieve,
    Remove,
    Sync,
    Touch,
    UpdateHead,
    Validated,
    Write,
)
from cdn.edge.stored import StoredResponse, StoreOutcome

__all__ = ["LOW_WATER", "START_SHIFT", "DiskIndex", "IndexCounters", "IndexUnavailable"]

MAX_QUEUED_WRITES = 8192
"""Writes waiting for the writer: above it new chunks are not stored, since a cache may forget but not fall behind."""

MAX_BATCH = 512
"""Writes committed together: enough to make a commit cheap, few enough to keep one below some 20 ms."""

EVICTIONS_PER_COMMIT = 8
"""Batches evicted before a commit is reported: more than a commit can add, so the tier always comes back to its bound.
"""

T = TypeVar("T")


@dataclass(slots=True)
class _Queued:
    write: Write
    done: asyncio.Future[StoreOutcome] | None
    outcome: StoreOutcome = StoreOutcome.STORED


@dataclass(slots=True)
class _Changes:
    """What a batch took away (told once it is committed), and the files it refused."""

    gone: list[Gone]
    entered: list[StoredResponse]
    refused: list[ChunkName]


class DiskIndex:
    """Opened by `start`; `submit`, `hand_over` and `settle` hand writes over, `read` runs a query in a reader thread.

    Called on the event loop, in the order of the commits and before those who wait for the write are told: `on_gone`
    with what evictions and removals took away, `on_entered` with what came in as a whole, `on_reset` when the index had
    to be thrown away and begun anew.
    """

    def __init__(
        self, path: Path, files: ContentFolder, held: HeldFiles, max_bytes: int, pool: ThreadPoolExecutor
    ) -> None:
        self._files = held
        self._pool = pool
        self._file = IndexFile(path, files)
        self._eviction = Eviction(self._file, held, max_bytes)
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._queued = 0
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._horizons = Horizons()
        self._incarnation = 0
        self._thread = threading.Thread(target=self._run, name="disk-index", daemon=True)
        self.on_gone: Callable[[list[Gone]], None] = lambda gone: None
        self.on_entered: Callable[[list[StoredResponse]], None] = lambda entered: None
        self.on_reset: Callable[[], None] = lambda: None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the file and start the writer. Blocks; call it off the loop. Raises IndexUnavailable."""
        self._loop = loop
        self._file.start()
        self._file.on_reset = lambda: self._tell(self._tell_reset)
        self._incarnation = self._file.first_incarnation
        self._thread.start()

    def _tell_reset(self) -> None:
        self.on_reset()

    @property
    def totals(self) -> Totals:
        """What is indexed."""
        return self._file.totals

    @property
    def cost_bytes(self) -> int:
        """What counts against the bound: what is indexed, and what running writes take."""
        return self._eviction.cost_bytes

    @property
    def counters(self) -> IndexCounters:
        return self._file.counters

    @property
    def edition(self) -> int:
        """How often the index was begun anew since the start, with every file removed."""
        return self._file.edition

    @property
    def incarnation(self) -> int:
        """The last that was given, or the one below the first of this start."""
        return self._incarnation

    @property
    def first_incarnation(self) -> int:
        """Everything that this process admits has a higher one, everything from before a lower one."""
        return self._file.first_incarnation

    def next_incarnation(self) -> int:
        """A number higher than any given before, in this start or an earlier one."""
        self._incarnation += 1
        return self._incarnation

    @property
    def queued(self) -> int:
        """Writes not yet committed."""
        return self._queued

    @property
    def is_busy(self) -> bool:
        return self._queued >= MAX_QUEUED_WRITES

    def reserve(self, held_bytes: int) -> None:
        """A running write takes so much more: it counts against the bound."""
        self._eviction.taken_bytes += held_bytes
        if self._eviction.is_due and not self.is_busy:
            self.submit(MakeRoom())

    def release(self, held_bytes: int) -> None:
        """A running write was given up; what is entered is counted over by the writer."""
        self._eviction.returned_bytes += held_bytes

    def submit(self, write: Write) -> None:
        """Hand a write over; the order of submission is the order of effect."""
        self._queued += 1
        self._queue.put(_Queued(write, None))

    def hand_over(self, write: Write) -> asyncio.Future[StoreOutcome]:
        """Hand a write over; the future says what became of it: FULL when it could not be committed."""
        done: asyncio.Future[StoreOutcome] = self._loop.create_future()
        self._queued += 1
        self._queue.put(_Queued(write, done))
        return done

    async def settle(self, write: Write) -> bool:
        """Hand a write over and wait for its commit; False when it failed."""
        return await self.hand_over(write) is StoreOutcome.STORED

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a reader thread. Raises IndexUnavailable."""
        return await self._loop.run_in_executor(self._pool, self._read, query)

    async def aclose(self) -> None:
        """Commit what waits and close. The pool must have no more work."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        for connection in self._readers:
            connection.close()
        self._file.close()

    # Reader threads

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return query(self._reader())
        except sqlite3.Error as exc:
            self.counters.failed_reads += 1
            if is_damage(exc):
                edition = self.edition
                self._tell(lambda: self.submit(Damaged(edition)))
            raise IndexUnavailable(f"the disk tier's index {self._file.path} cannot be read: {exc}") from exc

    def _reader(self) -> sqlite3.Connection:
        found: tuple[int, sqlite3.Connection] | None = getattr(self._local, "reader", None)
        if found is not None and found[0] == self.edition:
            return found[1]
        edition = self.edition
        connection = connect(self._file.path, CACHE_KIB // 8)
        connection.execute("PRAGMA query_only = 1")
        self._readers.append(connection)
        self._local.reader = (edition, connection)
        return connection

    # The writer thread

    def _run(self) -> None:
        while True:
            first = self._next()
            batch: list[_Queued] = []
            is_last = first is None
            if first is not None:
                batch.append(first)
                is_last = self._fill(batch)
            if batch:
                self._commit(batch)
            if is_last:
                return

    def _next(self) -> _Queued | None:
        """What waits first; evicts while nothing waits and the tier is over its bound."""
        while self._eviction.is_due:
            try:
                return self._queue.get_nowait()
            except queue.Empty:
                if not self._evict():
                    break
        return self._queue.get()

    def _fill(self, batch: list[_Queued]) -> bool:
        """Take what else waits; whether the end was among it."""
        while len(batch) < MAX_BATCH:
            try:
                queued = self._queue.get_nowait()
            except queue.Empty:
                return False
            if queued is None:
                return True
            batch.append(queued)
        return False

    def _commit(self, batch: list[_Queued]) -> None:
        changes = _Changes([], [], [])
        writes = [queued.write for queued in batch]
        is_durable = any(isinstance(write, Sync) for write in writes)

        def apply_all() -> None:
            for queued in batch:
                queued.outcome = self._apply(queued.write, changes)

        if self._file.transact(apply_all, is_durable=is_durable):
            for each in changes.gone:
                self._remove(each.chunks)
            self._remove(changes.refused)
            self._count_over(batch)
        else:
            self._fail(batch)
            changes = _Changes([], [], [])
        if any(isinstance(write, Damaged) and write.edition == self.edition for write in writes):
            self._file.rebuild()
        if self._file.is_disk_full or any(isinstance(write, Relieve) for write in writes):
            self._report(self._eviction.relieve())
        for _ in range(EVICTIONS_PER_COMMIT):
            if not self._eviction.is_due or not self._evict():
                break
        self._report(changes.gone, changes.entered, batch)

    def _count_over(self, batch: list[_Queued]) -> None:
        for queued in batch:
            if isinstance(queued.write, EnterContent) and queued.outcome is StoreOutcome.STORED:
                self._eviction.entered_bytes += queued.write.held_bytes

    def _fail(self, batch: list[_Queued]) -> None:
        self.counters.failed_writes += len(batch)
        for queued in batch:
            queued.outcome = StoreOutcome.FULL
            if isinstance(queued.write, PutChunk):
                self._files.remove(queued.write.name)

    def _apply(self, write: Write, changes: _Changes) -> StoreOutcome:
        connection, totals = self._file.connection, self.totals
        match write:
            case PutChunk():
                return self._put(write, changes)
            case EnterContent():
                return self._enter(write, changes)
            case Validated(incarnation, admitted, validated_at):
                validated = (admitted.epoch, admitted.sequence, validated_at, incarnation)
                connection.execute(rows.UPDATE_VALIDATED, validated)
            case UpdateHead(stored):
                rows.update_head(connection, totals, stored)
            case DropChunk(name):
                # Its file is gone already, and may be on its way in again: neither remove nor report anything.
                rows.delete_chunk(connection, totals, name)
            case Touch(chunks, keys):
                connection.executemany(rows.TOUCH_CHUNK, chunks)
                connection.executemany(rows.TOUCH_FIRST, ((at, key.fingerprint()) for at, key in keys))
            case Horizon(site_id, through):
                self._horizons.raise_to(site_id, through)
            case Remove(incarnations):
                removed = (rows.delete_response(connection, totals, incarnation) for incarnation in incarnations)
                changes.gone += [each for each in removed if each is not None]
            case Sync() | Relieve() | MakeRoom() | Damaged():
                pass
            case _:
                assert_never(write)
        return StoreOutcome.STORED

    def _put(self, put: PutChunk, changes: _Changes) -> StoreOutcome:
        connection = self._file.connection
        stored, name = put.stored, put.name
        above = self._supersede(name.fingerprint, name.incarnation, changes)
        if above > name.incarnation:
            changes.refused.append(name)
            return StoreOutcome.SUPERSEDED
        if above < name.incarnation:
            # Evicted since, or removed by a sweep that has judged everything admitted before it began.
            if not self._horizons.admits(stored):
                # Told, so that the next request admits the key anew instead of fetching for this admission for ever.
                changes.gone.append(Gone(name.incarnation, (name,), stored.key))
                return StoreOutcome.DETACHED
            rows.insert_stored(connection, self.totals, name.fingerprint, stored)
        rows.insert_chunk(connection, self.totals, name, put.size_bytes, put.accessed_ms)
        return StoreOutcome.STORED

    def _enter(self, enter: EnterContent, changes: _Changes) -> StoreOutcome:
        connection, stored = self._file.connection, enter.stored
        fingerprint = stored.key.fingerprint()
        if enter.edition != self.edition:
            return StoreOutcome.FULL  # its files went with the index they were written for
        if not self._horizons.admits(stored):
            return StoreOutcome.DETACHED
        if self._supersede(fingerprint, stored.incarnation, changes) >= stored.incarnation:
            return StoreOutcome.SUPERSEDED
        rows.insert_stored(connection, self.totals, fingerprint, stored)
        rows.insert_content(connection, self.totals, fingerprint, stored, enter.accessed_ms)
        family = rows.family_of(stored.key.site_id, stored.key.path)
        for (incarnation,) in connection.execute(rows.SELECT_SURPLUS, (family,)).fetchall():
            surplus = rows.delete_response(connection, self.totals, incarnation)
            assert surplus is not None
            changes.gone.append(surplus)
        changes.entered.append(stored)
        return StoreOutcome.STORED

    def _supersede(self, fingerprint: bytes, incarnation: int, changes: _Changes) -> int:
        """Remove what is indexed under this key below `incarnation`; the incarnation that is left, 0 for none."""
        connection = self._file.connection
        row = connection.execute("SELECT incarnation FROM stored WHERE fingerprint = ?", (fingerprint,)).fetchone()
        if row is None:
            return 0
        found: int = row[0]
        if found >= incarnation:
            return found
        removed = rows.delete_response(connection, self.totals, found)
        assert removed is not None
        # The key lives on under its new incarnation.
        changes.gone.append(Gone(found, removed.chunks, None))
        return 0

    def _evict(self) -> bool:
        gone = self._eviction.evict()
        self._report(gone)
        return bool(gone)

    def _remove(self, names: tuple[ChunkName, ...] | list[ChunkName]) -> None:
        for name in names:
            self._files.remove(name)

    def _report(
        self, gone: list[Gone], entered: list[StoredResponse] | None = None, batch: list[_Queued] | None = None
    ) -> None:
        def take_back() -> None:
            if gone:
                self.on_gone(gone)
            if entered:
                self.on_entered(entered)
            for queued in batch or ():
                self._queued -= 1
                if queued.done is not None and not queued.done.done():
                    queued.done.set_result(queued.outcome)

        self._tell(take_back)

    def _tell(self, callback: Callable[[], None]) -> None:
        # The loop may be closed under a tier that was never closed; nobody is left to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)
