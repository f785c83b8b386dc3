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
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, assert_never

from cdn.edge import disk_rows as rows
from cdn.edge.disk_files import ChunkName, ContentFolder
from cdn.edge.disk_rows import Gone, Totals
from cdn.edge.disk_writes import (
    Damaged,
    DropChunk,
    Horizon,
    Horizons,
    PutChunk,
    Relieve,
    Remove,
    Sync,
    Touch,
    Validated,
    Write,
)
from cdn.errors import CdnError, Unavailable

MAX_QUEUED_WRITES = 8192
"""Writes waiting for the writer: above it new chunks are not stored, since a cache may forget but not fall behind."""

MAX_BATCH = 512
"""Writes committed together: enough to make a commit cheap, few enough to keep one below some 20 ms."""

EVICTION_BATCH = 256
"""Chunks evicted in one transaction, so that other writes get their turn."""

EVICTIONS_PER_COMMIT = 8
"""Batches evicted before a commit is reported: more than a commit can add, so the tier always comes back to its bound.
"""

LOW_WATER = 0.99
"""Eviction goes on down to this part of the bound, so that it does not run for every single chunk."""

RELIEF_BYTES = 16 * 1024 * 1024
"""How much is freed at once when the disk is full, or a tenth of a small tier: room for the index and a few chunks."""

RELIEF_INTERVAL_S = 1.0
"""At most one relief in this time: a disk that others keep filling must not empty the tier at once."""

CACHE_KIB = 32 * 1024
"""SQLite's page cache of the writer; readers take an eighth each."""

START_SHIFT = 36
"""Incarnations: the number of the start above, a count of 2^36 admissions per start below."""

T = TypeVar("T")


class IndexUnavailable(Unavailable):
    """The disk tier's index cannot be opened or written now."""


class _OtherVersion(CdnError):
    """The index was written by another version of this program."""


@dataclass(slots=True)
class IndexCounters:
    """What happened to the index since it was opened."""

    evicted_chunks: int = 0
    failed_writes: int = 0
    failed_reads: int = 0
    reliefs: int = 0
    rebuilds: int = 0
    commits: int = 0
    last_failure: str = ""


@dataclass(slots=True)
class _Queued:
    write: Write
    done: asyncio.Future[bool] | None


class DiskIndex:
    """Opened by `open`; `submit` and `settle` hand writes over, `read` runs a query in a reader thread.

    `on_gone` is called on the event loop with what evictions and removals took away, after their commit and before the
    `settle` of the write that caused it returns; `on_reset` when the index had to be thrown away and begun anew.
    """

    def __init__(self, path: Path, files: ContentFolder, max_bytes: int, pool: ThreadPoolExecutor) -> None:
        self._path = path
        self._files = files
        self._max_bytes = max_bytes
        self._pool = pool
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._queued = 0
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._edition = 0
        self._is_open = False
        self._is_disk_full = False
        self._horizons = Horizons()
        self._relieved_at = float("-inf")
        self._incarnation = 0
        self._thread = threading.Thread(target=self._run, name="disk-index", daemon=True)
        self.totals = Totals(0, 0, 0)
        self.counters = IndexCounters()
        self.on_gone: Callable[[list[Gone]], None] = lambda gone: None
        self.on_reset: Callable[[], None] = lambda: None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the file and start the writer. Blocks; call it off the loop. Raises IndexUnavailable."""
        self._loop = loop
        self._connection, starts = self._open()
        self._is_open = True
        self._incarnation = starts << START_SHIFT
        self._thread.start()

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

    def submit(self, write: Write) -> None:
        """Hand a write over; the order of submission is the order of effect."""
        self._queued += 1
        self._queue.put(_Queued(write, None))

    async def settle(self, write: Write) -> bool:
        """Hand a write over and wait for its commit; False when it failed."""
        done: asyncio.Future[bool] = self._loop.create_future()
        self._queued += 1
        self._queue.put(_Queued(write, done))
        return await done

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a reader thread. Raises IndexUnavailable."""
        return await self._loop.run_in_executor(self._pool, self._read, query)

    async def aclose(self) -> None:
        """Commit what waits and close. The pool must have no more work."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        for connection in self._readers:
            connection.close()
        self._connection.close()

    # Reader threads

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return query(self._reader())
        except sqlite3.Error as exc:
            self.counters.failed_reads += 1
            if _is_damage(exc):
                edition = self._edition
                self._tell(lambda: self.submit(Damaged(edition)))
            raise IndexUnavailable(f"the disk tier's index {self._path} cannot be read: {exc}") from exc

    def _reader(self) -> sqlite3.Connection:
        found: tuple[int, sqlite3.Connection] | None = getattr(self._local, "reader", None)
        if found is not None and found[0] == self._edition:
            return found[1]
        edition = self._edition
        connection = _connect(self._path, CACHE_KIB // 8)
        connection.execute("PRAGMA query_only = 1")
        self._readers.append(connection)
        self._local.reader = (edition, connection)
        return connection

    # The writer thread

    def _open(self) -> tuple[sqlite3.Connection, int]:
        """The index, made anew when it is damaged or of another version."""
        try:
            return self._open_file()
        except _OtherVersion:
            self._discard()
        except sqlite3.Error as exc:
            if _is_damage(exc):
                self._discard()
            elif self._files.free_some(RELIEF_BYTES) == 0:
                raise IndexUnavailable(f"the disk tier's index {self._path} cannot be opened: {exc}") from exc
        try:
            return self._open_file()
        except sqlite3.Error as exc:
            raise IndexUnavailable(f"the disk tier's index {self._path} cannot be opened: {exc}") from exc

    def _open_file(self) -> tuple[sqlite3.Connection, int]:
        """The connection, and how many starts the file has seen."""
        connection = _connect(self._path, CACHE_KIB)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, rows.INDEX_VERSION):
                raise _OtherVersion(f"the index has version {version}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 16777216")
            if version == 0:
                connection.executescript(f"BEGIN; {rows.TABLES} PRAGMA user_version = {rows.INDEX_VERSION}; COMMIT;")
            connection.execute("UPDATE total SET starts = starts + 1")
            totals = connection.execute("SELECT cost_bytes, chunks, responses, starts FROM total").fetchone()
            self.totals = Totals(*totals[:3])
        except BaseException:
            connection.close()
            raise
        return connection, totals[3]

    def _discard(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._files.clear()

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
        while self.totals.cost_bytes > self._max_bytes:
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
        gone: list[Gone] = []
        refused: list[ChunkName] = []
        writes = [queued.write for queued in batch]
        is_durable = any(isinstance(write, Sync) for write in writes)

        def apply_all() -> None:
            for write in writes:
                self._apply(write, gone, refused)

        is_done = self._transact(apply_all, is_durable=is_durable)
        if is_done:
            self._unlink(gone)
            for name in refused:
                self._files.remove(name)
        else:
            gone = []
            self.counters.failed_writes += len(batch)
            for write in writes:
                if isinstance(write, PutChunk):
                    self._files.remove(write.name)
        if any(isinstance(write, Damaged) and write.edition == self._edition for write in writes):
            self._rebuild()
        if self._is_disk_full or any(isinstance(write, Relieve) for write in writes):
            self._relieve()
        for _ in range(EVICTIONS_PER_COMMIT):
            if self.totals.cost_bytes <= self._max_bytes or not self._evict():
                break
        self._report(gone, batch, is_done)

    def _transact(self, apply_all: Callable[[], None], *, is_durable: bool = False) -> bool:
        """Run statements in one transaction; False when it failed and nothing of it holds."""
        before = Totals(self.totals.cost_bytes, self.totals.chunks, self.totals.responses)
        if not self._is_open and not self._reopen():
            return False
        connection = self._connection
        try:
            if is_durable:
                connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            apply_all()
            rows.save_totals(connection, self.totals)
            connection.execute("COMMIT")
            if is_durable:
                connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as exc:
            self.totals = before
            self.counters.last_failure = str(exc)
            self._is_disk_full = _code(exc) == sqlite3.SQLITE_FULL
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA synchronous = NORMAL")
            if _is_damage(exc):
                self._rebuild()
            return False
        self.counters.commits += 1
        self._is_disk_full = False
        return True

    def _apply(self, write: Write, gone: list[Gone], refused: list[ChunkName]) -> None:
        connection = self._connection
        match write:
            case PutChunk():
                self._put(write, gone, refused)
            case Validated(incarnation, admitted, validated_at):
                connection.execute(
                    "UPDATE stored SET epoch = ?, admitted = ?, validated_at = ? WHERE incarnation = ?",
                    (admitted.epoch, admitted.sequence, validated_at, incarnation),
                )
            case DropChunk(name):
                # Its file is gone already, and may be on its way in again: neither remove nor report anything.
                self._delete_chunk(name)
            case Touch(chunks, keys):
                connection.executemany(rows.TOUCH_CHUNK, chunks)
                connection.executemany(rows.TOUCH_FIRST, ((at, key.fingerprint()) for at, key in keys))
            case Horizon(site_id, through):
                self._horizons.raise_to(site_id, through)
            case Remove(incarnations):
                for incarnation in incarnations:
                    removed = rows.delete_response(connection, self.totals, incarnation)
                    if removed is not None:
                        gone.append(removed)
            case Sync() | Relieve() | Damaged():
                pass
            case _:
                assert_never(write)

    def _put(self, put: PutChunk, gone: list[Gone], refused: list[ChunkName]) -> None:
        connection = self._connection
        stored, name = put.stored, put.name
        row = connection.execute("SELECT incarnation FROM stored WHERE fingerprint = ?", (name.fingerprint,)).fetchone()
        if row is not None and row[0] > name.incarnation:
            refused.append(name)
            return
        if row is not None and row[0] < name.incarnation:
            removed = rows.delete_response(connection, self.totals, row[0])
            assert removed is not None
            # The key lives on under its new incarnation.
            gone.append(Gone(row[0], removed.chunks, None))
            row = None
        if row is None:
            # Evicted since, or removed by a sweep that has judged everything admitted before it began.
            if not self._horizons.admits(stored):
                # Told, so that the next request admits the key anew instead of fetching for this admission for ever.
                gone.append(Gone(name.incarnation, (name,), stored.key))
                return
            rows.insert_stored(connection, self.totals, name.fingerprint, stored)
        rows.insert_chunk(connection, self.totals, name, put.size_bytes, put.accessed_ms)

    def _evict(self) -> bool:
        """Evict the least recently used chunks, one batch; False when nothing could be."""
        gone: list[Gone] = []

        def apply_all() -> None:
            excess = self.totals.cost_bytes - int(self._max_bytes * LOW_WATER)
            oldest = self._connection.execute(rows.SELECT_OLDEST, (EVICTION_BATCH, 0)).fetchall()
            for incarnation, number, cost, fingerprint in oldest:
                if excess <= 0:
                    break
                excess -= cost
                gone.append(self._delete_chunk(ChunkName(fingerprint, incarnation, number)))

        if not self._transact(apply_all):
            self.counters.failed_writes += 1
            return False
        self._unlink(gone)
        self.counters.evicted_chunks += len(gone)
        self._report(gone, [], is_done=True)
        return bool(gone)

    def _relieve(self) -> None:
        """Make room on a full disk: the least recently used files go first, then their rows, which need room too."""
        now = time.monotonic()
        if now - self._relieved_at < RELIEF_INTERVAL_S:
            return
        self._relieved_at = now
        self.counters.reliefs += 1
        freed = 0
        wanted = min(RELIEF_BYTES, self.totals.cost_bytes // 10 + 1)
        victims: list[ChunkName] = []
        try:
            for offset in range(0, 16 * EVICTION_BATCH, EVICTION_BATCH):
                oldest = self._connection.execute(rows.SELECT_OLDEST, (EVICTION_BATCH, offset)).fetchall()
                for incarnation, number, cost, fingerprint in oldest:
                    name = ChunkName(fingerprint, incarnation, number)
                    victims.append(name)
                    freed += cost if self._files.remove(name) else 0
                    if freed >= wanted:
                        break
                if freed >= wanted or len(oldest) < EVICTION_BATCH:
                    break
        except sqlite3.Error:
            self.counters.failed_reads += 1
            return
        gone: list[Gone] = []

        def apply_all() -> None:
            for name in victims:
                gone.append(self._delete_chunk(name))

        if self._transact(apply_all):
            self.counters.evicted_chunks += len(gone)
            self._report(gone, [], is_done=True)
        else:
            self.counters.failed_writes += 1

    def _rebuild(self) -> None:
        """The file is damaged: begin anew with an empty tier rather than answer from what cannot be trusted."""
        self.counters.rebuilds += 1
        self._connection.close()
        self._is_open = False
        self._discard()
        self.totals = Totals(0, 0, 0)
        self._edition += 1
        self._tell(self.on_reset)
        self._reopen()

    def _reopen(self) -> bool:
        """After a rebuild; when it fails, the next write tries again."""
        try:
            self._connection, _ = self._open_file()
            # Numbers given later, in this start or the next, have to lie above those that are in use now.
            self._connection.execute("UPDATE total SET starts = max(starts, ?)", (self._incarnation >> START_SHIFT,))
        except sqlite3.Error:
            return False
        self._is_open = True
        return True

    def _delete_chunk(self, name: ChunkName) -> Gone:
        return rows.delete_chunk(self._connection, self.totals, name)

    def _unlink(self, gone: list[Gone]) -> None:
        for each in gone:
            for name in each.chunks:
                self._files.remove(name)

    def _report(self, gone: list[Gone], batch: list[_Queued], is_done: bool) -> None:
        def take_back() -> None:
            if gone:
                self.on_gone(gone)
            self._queued -= len(batch)
            for queued in batch:
                if queued.done is not None and not queued.done.done():
                    queued.done.set_result(is_done)

        self._tell(take_back)

    def _tell(self, callback: Callable[[], None]) -> None:
        # The loop may be closed under a tier that was never closed; nobody is left to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is not what it should be, rather than busy, locked, or on a full disk."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(error: sqlite3.Error) -> int:
    """The primary result code, 0 for errors of the module rather than of SQLite."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _connect(path: Path, cache_kib: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection
