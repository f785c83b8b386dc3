"""A small SQLite database that never blocks the event loop and is durable when it says so."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from cdn.errors import CdnError, Unavailable

BUSY_TIMEOUT_S = 5.0
"""How long a statement waits for another connection's lock before it is refused."""

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Database:
    """One connection on one thread of its own: jobs run one after another, in the order they were given.

    WAL with synchronous=FULL: what a job committed survives power loss. After an error the connection is opened
    anew, so a full disk or a lock heals without a restart.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        *,
        schema_version: int,
        failure: Callable[[str], Unavailable],
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self._path = path
        self._schema = schema
        self._schema_version = schema_version
        self._failure = failure
        self._busy_timeout_s = busy_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sqlite-{path.stem}")

    async def run(self, job: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """What `job` returns. Its statements outside BEGIN..COMMIT commit singly.

        Raises what `failure` makes when SQLite refuses; then nothing of an open transaction was kept.
        """
        if self._is_closed:
            raise self._failure(f"{self._path} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, job)

    async def transact(self, job: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """`run`, as one write transaction that is durable when this returns."""

        def whole(connection: sqlite3.Connection) -> _Result:
            connection.execute("BEGIN IMMEDIATE")
            result = job(connection)
            connection.execute("COMMIT")
            return result

        return await self.run(whole)

    async def aclose(self) -> None:
        """Finish the jobs given so far and close. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop_connection)
        self._thread.shutdown(wait=True)

    def _run(self, job: Callable[[sqlite3.Connection], _Result]) -> _Result:
        try:
            connection = self._connection
            if connection is None:
                connection = self._connection = self._open()
            return job(connection)
        except sqlite3.Error as exc:
            self._renew_connection(exc)
            raise self._failure(f"{self._path}: {exc}") from exc
        except BaseException:
            self._drop_connection()
            raise

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found > self._schema_version:
                raise self._failure(
                    f"{self._path} was written by a newer program (schema {found}, "
                    f"this one knows {self._schema_version}): upgrade this program"
                )
            if found < self._schema_version:
                connection.executescript(
                    f"BEGIN IMMEDIATE; {self._schema}; PRAGMA user_version={self._schema_version}; COMMIT"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _renew_connection(self, fault: sqlite3.Error) -> None:
        """Drop the connection. On a full disk the next one is opened before: with the last one SQLite removes the
        file's index, and then whoever starts on the full disk could not even read."""
        renewed: sqlite3.Connection | None = None
        if _is_of_disk(fault) and self._connection is not None:
            try:
                renewed = self._open()
            except (sqlite3.Error, CdnError) as exc:
                _log.warning("opening %s anew: %s", self._path, exc)
        self._drop_connection()
        self._connection = renewed

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()  # rolls back what was open
        except sqlite3.Error as exc:
            _log.warning("closing %s: %s", self._path, exc)


def _is_of_disk(fault: sqlite3.Error) -> bool:
    """Whether the disk took or gave no more."""
    code = getattr(fault, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
