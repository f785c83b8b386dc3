"""The disk index's file: opened, thrown away and begun anew when it is damaged, written in transactions.

One thread writes. What it cannot do now, because SQLite or the system refuses, is a value and a counter: the thread
goes on, and the next write tries again.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cdn.edge import disk_rows as rows
from cdn.edge.disk_files import ContentFolder
from cdn.edge.disk_rows import Totals
from cdn.errors import CdnError, Unavailable

CACHE_KIB = 32 * 1024
"""SQLite's page cache of the writer; readers take an eighth each."""

START_SHIFT = 36
"""Incarnations: the number of the start above, a count of 2^36 admissions per start below."""

START_RELIEF_BYTES = 16 * 1024 * 1024
"""What is freed when the index cannot be opened, most probably because the disk is full."""


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


class IndexFile:
    """Belongs to the thread that writes, once `start` has returned; `edition` and `totals` may be read anywhere.

    `edition` rises whenever the file is begun anew: what was known of the one before holds no longer. `on_reset` is
    called then, in the writer's thread.
    """

    def __init__(self, path: Path, files: ContentFolder) -> None:
        self.path = path
        self._files = files
        self._connection: sqlite3.Connection | None = None
        self._is_untrusted = False
        self._starts = 0
        self.is_disk_full = False
        self.edition = 0
        self.totals = Totals(0, 0, 0)
        self.counters = IndexCounters()
        self.on_reset: Callable[[], None] = lambda: None

    @property
    def connection(self) -> sqlite3.Connection:
        """Inside a transaction, and wherever `is_open`."""
        assert self._connection is not None
        return self._connection

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def first_incarnation(self) -> int:
        """Those of this start lie above it, those of earlier ones below."""
        return self._starts << START_SHIFT

    def start(self) -> None:
        """Open the file, made anew when it is damaged or of another version. Raises IndexUnavailable."""
        try:
            self._connection = self._open()
        except (sqlite3.Error, OSError) as exc:
            raise IndexUnavailable(f"the disk tier's index {self.path} cannot be opened: {exc}") from exc

    def _open(self) -> sqlite3.Connection:
        try:
            return self._open_file()
        except _OtherVersion:
            self._discard()
        except sqlite3.Error as exc:
            if is_damage(exc):
                self._discard()
            elif self._files.free_some(START_RELIEF_BYTES) == 0:
                raise
        return self._open_file()

    def _open_file(self) -> sqlite3.Connection:
        connection = connect(self.path, CACHE_KIB)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, rows.INDEX_VERSION):
                raise _OtherVersion(f"the index has version {version}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 16777216")
            if version == 0:
                # Files of an index that is no more could be taken for this one's: its numbers begin anew.
                self._files.clear()
                connection.executescript(f"BEGIN; {rows.TABLES} PRAGMA user_version = {rows.INDEX_VERSION}; COMMIT;")
            # Numbers given after a rebuild, in this start or the next, have to lie above those that are in use now.
            connection.execute("UPDATE total SET starts = max(starts + 1, ?)", (self._starts,))
            totals = connection.execute("SELECT cost_bytes, chunks, responses, starts FROM total").fetchone()
        except BaseException:
            connection.close()
            raise
        self.totals = Totals(*totals[:3])
        if self._starts == 0:
            self._starts = totals[3]
        return connection

    def _discard(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._files.clear()

    def transact(self, apply_all: Callable[[], None], *, is_durable: bool = False) -> bool:
        """Run statements in one transaction; False when it failed and nothing of it holds."""
        before = replace(self.totals)
        if not self.is_open and not self._reopen():
            return False
        connection = self.connection
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
            self.is_disk_full = _code(exc) == sqlite3.SQLITE_FULL
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA synchronous = NORMAL")
            if is_damage(exc):
                self.rebuild()
            return False
        self.counters.commits += 1
        self.is_disk_full = False
        return True

    def rebuild(self) -> None:
        """The file is damaged: begin anew with an empty tier rather than answer from what cannot be trusted."""
        self.counters.rebuilds += 1
        self.close()
        self._is_untrusted = True
        self.totals = Totals(0, 0, 0)
        self.edition += 1
        self.on_reset()
        self._reopen()

    def _reopen(self) -> bool:
        """After a rebuild; when it fails, the next write tries again."""
        try:
            if self._is_untrusted:
                self._discard()
                self._is_untrusted = False
            self._connection = self._open_file()
        except (sqlite3.Error, OSError, _OtherVersion) as exc:
            self.counters.last_failure = str(exc)
            return False
        return True

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def connect(path: Path, cache_kib: int) -> sqlite3.Connection:
    """A connection without transactions of its own, usable in any thread."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is not what it should be, rather than busy, locked, or on a full disk."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(error: sqlite3.Error) -> int:
    """The primary result code, 0 for errors of the module rather than of SQLite."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
