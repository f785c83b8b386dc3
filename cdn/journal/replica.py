"""A node's own durable copy of the journal: what it needs to start again without control (DESIGN I3, I11)."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cdn.errors import CdnError, Unavailable
from cdn.fleet.position import Position
from cdn.journal.database import BUSY_TIMEOUT_S, Database
from cdn.journal.fold import Fold
from cdn.journal.record import EVERY_AUDIENCE, Record, UnknownRecord, decode_record, encode_record
from cdn.journal.record_tail import RecordTail
from cdn.journal.snapshot import SECTION_SINCE, Snapshot, UnreadableSnapshot, decode, encode, load_into, take

COMPACT_AFTER = 10_000
"""Records after which the copy becomes a new snapshot: bounds the file and the time a start takes."""

LOAD_BATCH = 1_000
"""Records read at once while starting."""

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE record (sequence INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB NOT NULL)
"""

_KEEP = "INSERT OR REPLACE INTO record VALUES (?, ?)"

TAIL_SUFFIX = "-tail"

_log = logging.getLogger(__name__)


class ReplicaUnavailable(Unavailable):
    """The node's copy cannot be written or read now (disk full, locked). Nothing of the call was kept."""


class ReplicaGap(CdnError):
    """The records do not follow the copy's position: load a snapshot."""


class Replica:
    """One snapshot in a SQLite file and the records after it in another. One follower writes them, one call at a time.

    Records go into the tail, in which they are durable for half of what a commit of SQLite costs; `aclose` moves them
    into the database, where earlier releases keep theirs. `position` is None until `load` found something or `replace`
    was called.
    """

    def __init__(self, database: Database, tail: RecordTail, compact_after: int) -> None:
        self._database = database
        self._tail = tail
        self._compact_after = compact_after
        self._folds: tuple[Fold, ...] = ()
        self._position: Position | None = None
        self._floor_horizon = 0
        self._records_kept = 0
        self._is_closed = False

    @classmethod
    async def open(
        cls, path: Path | str, *, compact_after: int = COMPACT_AFTER, busy_timeout_s: float = BUSY_TIMEOUT_S
    ) -> Replica:
        """The copy at `path`, empty when there is none. Raises ReplicaUnavailable.

        A file that SQLite finds damaged is set aside with the suffix `.damaged`: control has it all.
        """
        path = Path(path)
        await asyncio.to_thread(_set_damaged_aside, path)
        database = Database(
            path, _SCHEMA, schema_version=_SCHEMA_VERSION, failure=_refused, busy_timeout_s=busy_timeout_s
        )
        try:
            await database.run(lambda connection: None)
        except BaseException:
            await database.aclose()
            raise
        return cls(database, RecordTail(path.with_name(path.name + TAIL_SUFFIX), _refused), compact_after)

    @property
    def position(self) -> Position | None:
        """The place of the last durable record."""
        return self._position

    @property
    def wants_compaction(self) -> bool:
        """Whether so many records have gathered that `compact` should be called."""
        return self._records_kept >= self._compact_after

    async def load(self, folds: Sequence[Fold]) -> Position | None:
        """Bring `folds` to the state of the copy; they are the ones `compact` dumps from now on.

        A copy that cannot serve these folds (unreadable, or written where one of them was not kept) counts as empty:
        then the folds are empty and the answer is None. Records from one this program does not know on are
        dropped; control sends them again and the follower stops there. Raises ReplicaUnavailable.
        """
        self._folds = tuple(folds)
        self._position = None
        self._records_kept = 0
        snapshot = await self._stored_snapshot()
        missing = [fold.name for fold in self._folds if snapshot is not None and _lacks(snapshot, fold.name)]
        if missing:
            _log.warning("the node's copy has no section %s: a snapshot will be asked for", ", ".join(missing))
        if snapshot is None or missing:
            for fold in self._folds:
                fold.load(None)
            return None
        try:
            load_into(snapshot, self._folds)
        except CdnError as exc:
            _log.warning("the node's copy counts as empty, a snapshot of it is not understood: %s", exc)
            for fold in self._folds:
                fold.load(None)
            return None
        self._floor_horizon = snapshot.floor_horizon
        self._position = await self._replay(snapshot.position)
        return self._position

    async def apply(self, records: Sequence[Record]) -> None:
        """Keep `records`; when this returns they are durable, all of them in one commit.

        Raises ReplicaGap when the first does not follow `position`, ReplicaUnavailable.
        """
        if not records:
            return
        position = self._position
        entries: list[tuple[int, bytes]] = []
        for record in records:
            if position is None or record.position != Position(position.epoch, position.sequence + 1):
                raise ReplicaGap(f"record {record.position} does not follow {position}")
            position = record.position
            entries.append((record.sequence, encode_record(record)))
        # A cancelled call may have been carried out all the same; then they are there twice, and count once.
        await self._tail.append(entries)
        self._position = position
        self._records_kept += len(entries)

    async def retreat(self, position: Position) -> None:
        """Forget the records after `position`; the place changes at once. Raises ReplicaUnavailable."""
        self._position = position

        def drop(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM record WHERE sequence > ?", (position.sequence,))

        await self._database.transact(drop)
        await self._tail.cut(position.sequence)

    async def replace(self, snapshot: Snapshot, encoded: bytes | None = None) -> None:
        """Forget everything and keep `snapshot`, durably. The caller loads it into the folds. ReplicaUnavailable.

        `encoded` is what it was decoded from, where that is at hand.
        """
        content = encoded or await asyncio.to_thread(encode, snapshot)

        def swap(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM record")
            connection.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?)", (content,))

        await self._database.transact(swap)
        # What the tail still holds when this fails does not follow the snapshot, or is covered by it, or is the truth.
        await self._tail.reset()
        self._position = snapshot.position
        self._floor_horizon = snapshot.floor_horizon
        self._records_kept = 0

    async def compact(self) -> None:
        """Turn snapshot and records into one snapshot of the folds, which must stand at `position`.

        Raises ReplicaUnavailable; the copy is then as before.
        """
        position = self._position
        if position is None:
            return
        snapshot = take(self._folds, position, floor_horizon=self._floor_horizon, audiences=EVERY_AUDIENCE)
        content = await asyncio.to_thread(encode, snapshot)

        def swap(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?)", (content,))
            connection.execute("DELETE FROM record WHERE sequence <= ?", (position.sequence,))

        await self._database.transact(swap)
        await self._tail.reset()  # should this fail, the snapshot covers what is in it
        self._records_kept = 0

    async def aclose(self) -> None:
        """Close the files. May be called twice.

        An earlier release, which reads the database alone, finds there all that was acknowledged.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            # Without a position the start did not end, and the tail may hold what stands nowhere else.
            if self._tail.size_bytes and self._position is not None:
                await self._move_tail()
        except ReplicaUnavailable as exc:
            _log.warning("the newest records stay in %s: %s", self._tail.path, exc)
        finally:
            await self._tail.aclose()
            await self._database.aclose()

    async def _move_tail(self) -> None:
        await self._tail.rewind()
        while entries := await self._tail.read(LOAD_BATCH):
            rows = [entry for entry in entries if self._position is not None and entry[0] <= self._position.sequence]

            def keep(connection: sqlite3.Connection, rows: Sequence[tuple[int, bytes]] = rows) -> None:
                connection.executemany(_KEEP, rows)

            await self._database.transact(keep)
        await self._tail.reset()

    async def _stored_snapshot(self) -> Snapshot | None:
        def fetch(connection: sqlite3.Connection) -> bytes | None:
            found = connection.execute("SELECT content FROM snapshot WHERE id = 1").fetchone()
            return None if found is None else bytes(found[0])

        content = await self._database.run(fetch)
        if content is None:
            return None
        try:
            return await asyncio.to_thread(decode, content)
        except UnreadableSnapshot as exc:
            _log.warning("the node's copy counts as empty: %s", exc)
            return None

    async def _replay(self, position: Position) -> Position:
        """The records that follow `position`: those of the database, then those of the tail."""
        while raws := await self._database.run(partial(_read, after=position.sequence)):
            for raw in raws:
                following = self._applied(raw, position)
                if following is None:
                    await self.retreat(position)
                    return position
                position = following
        await self._tail.rewind()
        while entries := await self._tail.read(LOAD_BATCH):
            for sequence, raw in entries:
                if sequence <= position.sequence:
                    continue  # in the snapshot, or in the database, or twice here
                following = self._applied(raw, position)
                if following is None:
                    await self.retreat(position)
                    return position
                position = following
        return position

    def _applied(self, raw: bytes, position: Position) -> Position | None:
        """Where the copy stands after a record at `position`; None: it is none that follows and is understood."""
        try:
            record = decode_record(raw)
            if record.position != Position(position.epoch, position.sequence + 1):
                raise UnknownRecord(f"record {record.position} of the node's copy does not follow {position}")
            for fold in self._folds:
                fold.apply(record)
        except UnknownRecord as exc:
            _log.warning("the node's copy ends at %s: %s", position, exc)
            return None
        self._records_kept += 1
        return record.position


def _lacks(snapshot: Snapshot, fold_name: str) -> bool:
    """Whether records that the fold would have taken may be behind this snapshot. Not those of a kind that came with a
    later version: who wrote the snapshot would have stopped before the first."""
    return fold_name not in snapshot.sections and SECTION_SINCE.get(fold_name, 1) <= snapshot.version


def _refused(reason: str) -> ReplicaUnavailable:
    return ReplicaUnavailable(f"the node's copy of the journal cannot be used now ({reason}): free its disk")


def _read(connection: sqlite3.Connection, after: int) -> list[bytes]:
    rows = connection.execute(
        "SELECT content FROM record WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, LOAD_BATCH)
    )
    return [bytes(raw) for (raw,) in rows]


def _set_damaged_aside(path: Path) -> None:
    if not path.exists():
        return
    connection = sqlite3.connect(path)
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as exc:  # locked or unreadable now: not damage
        _log.warning("%s was not checked: %s", path, exc)
        return
    except sqlite3.DatabaseError as exc:
        verdict = str(exc)
    finally:
        connection.close()
    if verdict == "ok":
        return
    _log.error("%s is damaged (%s): set aside, control is asked for a snapshot", path, verdict)
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(part.with_name(part.name + ".damaged"))
