"""The journal in one SQLite file: the embedded default."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cdn.errors import Conflict
from cdn.fleet.position import Position
from cdn.journal.database import BUSY_TIMEOUT_S, Database
from cdn.journal.journal import Conflicted, JournalUnavailable, Trimmed
from cdn.journal.record import Draft, Record, decode_record, encode_record, validate_draft, version_of

MAX_WAITING_APPENDS = 10_000
"""Appends waiting for the disk; more are refused, so that a stuck disk does not fill memory."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""What the records of those appends take together: 10,000 of the longest would be 10 GB."""

MAX_BATCH = 512
"""Appends that share one commit: bounds how long the first of them waits for the last."""

RECENT_BYTES = 16 * 1024 * 1024
"""The newest records are kept in memory up to this size: followers at the tail cost no disk read."""

MAX_READ_BYTES = 8 * 1024 * 1024
"""One read returns at most about this much, whatever its limit in records."""

TRIM_BATCH = 2_000
"""Records forgotten per transaction, so that appends get their turn in between."""

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE record (sequence INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE subject (subject TEXT PRIMARY KEY, last_sequence INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO fact VALUES ('trimmed_through', 0)
"""


@dataclass(slots=True)
class _Waiting:
    draft: Draft
    size_bytes: int
    expected_sequence: int | None
    outcome: asyncio.Future[Record | Conflicted]


class SqliteJournal:
    """A `Journal` that one process owns. Commits are synced to disk; concurrent appends share one sync."""

    def __init__(self, writer: Database, reader: Database, epoch: str, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._reader = reader
        self._epoch = epoch
        self._clock = clock
        self._last = 0
        self._trimmed_through = 0
        self._moved = asyncio.Event()
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._committing: asyncio.Task[None] | None = None
        self._recent: dict[int, tuple[Record, int]] = {}
        self._recent_bytes = 0
        self._is_closed = False

    @classmethod
    async def open(
        cls, path: Path | str, *, clock: Callable[[], float] = time.time, busy_timeout_s: float = BUSY_TIMEOUT_S
    ) -> SqliteJournal:
        """The journal at `path`, made with a new random epoch when there is none.

        `clock` gives wall time in seconds; `busy_timeout_s` is how long a locked file is waited for.
        Raises JournalUnavailable.
        """

        def database() -> Database:
            return Database(
                Path(path), _SCHEMA, schema_version=_SCHEMA_VERSION, failure=_refused, busy_timeout_s=busy_timeout_s
            )

        def settle_epoch(connection: sqlite3.Connection) -> tuple[str, int, int]:
            connection.execute("INSERT OR IGNORE INTO fact VALUES ('epoch', ?)", (secrets.token_hex(8),))
            (epoch,) = connection.execute("SELECT value FROM fact WHERE name = 'epoch'").fetchone()
            return str(epoch), _last_sequence(connection), _trimmed_through(connection)

        writer = database()
        try:
            epoch, last, trimmed_through = await writer.transact(settle_epoch)
        except BaseException:
            await writer.aclose()
            raise
        journal = cls(writer, database(), epoch, clock)
        journal._last, journal._trimmed_through = last, trimmed_through
        return journal

    @classmethod
    async def has_records(cls, path: Path) -> bool:
        """Whether a journal is at `path` in which a record was ever written. Raises JournalUnavailable."""
        if not path.exists():
            return False
        journal = await cls.open(path)
        await journal.aclose()
        return journal._last > 0

    @classmethod
    async def begin_epoch(cls, path: Path, epoch: str, *, after: int) -> None:
        """Make a journal at `path` in which `epoch` begins: its first record will have the sequence `after + 1`.

        The file appears whole and durable or not at all; one that never had a record is replaced. Nobody else may
        use it. Raises Conflict when there is a journal with records, JournalUnavailable.
        """
        if await cls.has_records(path):
            raise Conflict(f"{path} is a journal, which is never written over: give another folder, or move it away")
        beginning = path.with_name(path.name + ".new")
        for suffix in ("", "-wal", "-shm"):
            beginning.with_name(beginning.name + suffix).unlink(missing_ok=True)

        def settle(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO fact VALUES ('epoch', ?)", (epoch,))
            connection.execute("UPDATE fact SET value = ? WHERE name = 'trimmed_through'", (after,))

        database = Database(beginning, _SCHEMA, schema_version=_SCHEMA_VERSION, failure=_refused)
        try:
            await database.transact(settle)
        finally:
            await database.aclose()  # SQLite moves everything into the one file
        await asyncio.to_thread(_put_in_place, beginning, path)

    @property
    def epoch(self) -> str:
        """The random name of this history."""
        return self._epoch

    async def append(self, draft: Draft, *, expected_sequence: int | None) -> Record | Conflicted:
        """See `Journal.append`. Concurrent calls are ordered as they were made.

        Raises InvalidInput or TooLarge for a draft that followers could not read, JournalUnavailable when the disk
        is full, the file locked, or MAX_WAITING_APPENDS or MAX_WAITING_BYTES are waiting already.
        """
        self._check_open()
        draft, size_bytes = validate_draft(draft)
        if len(self._waiting) >= MAX_WAITING_APPENDS or self._waiting_bytes + size_bytes > MAX_WAITING_BYTES:
            raise _refused(f"{len(self._waiting)} records of {self._waiting_bytes} bytes wait for the disk already")
        waiting = _Waiting(draft, size_bytes, expected_sequence, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._waiting_bytes += size_bytes
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_waiting(), name="journal-commit")
        return await waiting.outcome

    async def read(self, after: int, *, limit: int) -> tuple[Record, ...] | Trimmed:
        """See `Journal.read`. May return fewer than `limit` before the end, never none.

        Raises UnknownRecord when a newer program wrote one of them.
        """
        self._check_open()
        if after < self._trimmed_through:
            return Trimmed(self._trimmed_through + 1)
        if after >= self._last or limit <= 0:
            return ()
        if after + 1 in self._recent:
            through = min(after + limit, self._last)
            return tuple(self._recent[sequence][0] for sequence in range(after + 1, through + 1))
        found = await self._reader.run(lambda connection: _read(connection, after, limit))
        return found if isinstance(found, Trimmed) else tuple(decode_record(raw) for raw in found)

    async def wait_beyond(self, sequence: int) -> None:
        """See `Journal.wait_beyond`. Raises JournalUnavailable when the journal is closed meanwhile."""
        while self._last <= sequence:
            self._check_open()
            await self._moved.wait()

    async def position(self) -> Position:
        """The place of the last record."""
        self._check_open()
        return Position(self._epoch, self._last)

    async def trim(self, through: int) -> None:
        """See `Journal.trim`. A place beyond the end means the end."""
        self._check_open()
        through = min(through, self._last)
        while self._trimmed_through < through:
            step = min(self._trimmed_through + TRIM_BATCH, through)
            self._trimmed_through = await self._writer.transact(partial(_trim, through=step))
            while self._recent and next(iter(self._recent)) <= self._trimmed_through:
                self._forget_oldest()

    async def aclose(self) -> None:
        """Finish the appends that wait, then close. Waiters of `wait_beyond` get JournalUnavailable."""
        if self._is_closed:
            return
        self._is_closed = True
        while self._committing is not None:
            await asyncio.wait({self._committing})
        self._wake()
        await self._writer.aclose()
        await self._reader.aclose()

    def _check_open(self) -> None:
        if self._is_closed:
            raise _refused("it is closed")

    async def _commit_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                self._waiting_bytes -= sum(waiting.size_bytes for waiting in batch)
                await self._commit(batch)
        finally:
            self._committing = None

    async def _commit(self, batch: list[_Waiting]) -> None:
        asked = [(waiting.draft, waiting.expected_sequence) for waiting in batch]
        try:
            outcomes = await self._writer.transact(lambda connection: self._append_all(connection, asked))
        except Exception as exc:  # noqa: BLE001 - handed to every caller whose append shared this commit
            for waiting in batch:
                if not waiting.outcome.done():
                    waiting.outcome.set_exception(exc)
            return
        for waiting, (outcome, size_bytes) in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Record):
                self._remember(outcome, size_bytes)
            if not waiting.outcome.done():
                waiting.outcome.set_result(outcome)
        self._wake()

    def _append_all(
        self, connection: sqlite3.Connection, asked: Sequence[tuple[Draft, int | None]]
    ) -> list[tuple[Record | Conflicted, int]]:
        last = _last_sequence(connection)
        outcomes: list[tuple[Record | Conflicted, int]] = []
        for draft, expected_sequence in asked:
            if expected_sequence is not None:
                found = connection.execute(
                    "SELECT last_sequence FROM subject WHERE subject = ?", (draft.subject,)
                ).fetchone()
                subject_last = found[0] if found else 0
                if subject_last != expected_sequence:
                    outcomes.append((Conflicted(subject_last), 0))
                    continue
            last += 1
            record = Record(
                version_of(draft.change),
                self._epoch,
                last,
                draft.subject,
                self._clock(),
                draft.actor,
                draft.audience,
                draft.change,
            )
            raw = encode_record(record)
            connection.execute("INSERT INTO record VALUES (?, ?)", (last, raw))
            connection.execute("INSERT OR REPLACE INTO subject VALUES (?, ?)", (draft.subject, last))
            outcomes.append((record, len(raw)))
        return outcomes

    def _remember(self, record: Record, size_bytes: int) -> None:
        if record.sequence != self._last + 1:  # another process wrote too: the memory would have a hole
            self._recent.clear()
            self._recent_bytes = 0
        self._last = record.sequence
        self._recent[record.sequence] = (record, size_bytes)
        self._recent_bytes += size_bytes
        while self._recent_bytes > RECENT_BYTES:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, size_bytes = self._recent.pop(next(iter(self._recent)))
        self._recent_bytes -= size_bytes

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


def _put_in_place(beginning: Path, path: Path) -> None:
    try:
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        beginning.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise JournalUnavailable(f"{path} could not be put in its place: {exc.strerror}") from exc


def _refused(reason: str) -> JournalUnavailable:
    return JournalUnavailable(
        f"the journal cannot be used now ({reason}): free its disk or end what holds it, then try again; "
        "if it is damaged, restore it"
    )


def _last_sequence(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute("SELECT max(sequence) FROM record").fetchone()
    return int(last) if last is not None else _trimmed_through(connection)


def _trimmed_through(connection: sqlite3.Connection) -> int:
    (through,) = connection.execute("SELECT value FROM fact WHERE name = 'trimmed_through'").fetchone()
    return int(through)


def _trim(connection: sqlite3.Connection, through: int) -> int:
    through = max(through, _trimmed_through(connection))
    connection.execute("DELETE FROM record WHERE sequence <= ?", (through,))
    connection.execute("UPDATE fact SET value = ? WHERE name = 'trimmed_through'", (through,))
    return through


def _read(connection: sqlite3.Connection, after: int, limit: int) -> list[bytes] | Trimmed:
    connection.execute("BEGIN")
    trimmed_through = _trimmed_through(connection)
    found: list[bytes] = []
    size_bytes = 0
    rows = connection.execute("SELECT content FROM record WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit))
    for (raw,) in rows:
        found.append(raw)
        size_bytes += len(raw)
        if size_bytes >= MAX_READ_BYTES:
            break
    rows.close()
    connection.execute("COMMIT")
    return Trimmed(trimmed_through + 1) if after < trimmed_through else found
