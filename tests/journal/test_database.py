"""The small SQLite database below journal, replica and node directory."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.errors import Unavailable
from cdn.journal.database import Database
from tests.e2e.small_disk import small_disk


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(
        tmp_path / "x.db", "CREATE TABLE t (n INTEGER PRIMARY KEY)", schema_version=1, failure=Unavailable
    )
    yield opened
    await opened.aclose()


async def _count(database: Database) -> int:
    return await database.run(lambda connection: int(connection.execute("SELECT count(*) FROM t").fetchone()[0]))


@pytest.mark.parametrize("fault", [sqlite3.OperationalError("disk I/O error"), ValueError("a fault of our own")])
async def test_of_a_transaction_that_fails_nothing_is_kept_and_the_next_one_works(
    database: Database, fault: Exception
) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (1)")
        raise fault

    with pytest.raises(Unavailable if isinstance(fault, sqlite3.Error) else ValueError, match=str(fault)):
        await database.transact(half)
    assert await _count(database) == 0
    await database.transact(lambda connection: connection.execute("INSERT INTO t VALUES (2)"))
    assert await _count(database) == 1


async def test_jobs_run_on_one_thread_that_is_not_the_loops(database: Database) -> None:
    threads = {await database.run(lambda _: threading.get_ident()) for _ in range(20)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


async def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    nowhere = Database(tmp_path / "no" / "x.db", "SELECT 1", schema_version=1, failure=Unavailable)
    with pytest.raises(Unavailable, match=r"no/x\.db"):
        await nowhere.run(lambda _: None)
    await nowhere.aclose()


async def test_closed_it_says_so(database: Database) -> None:
    await database.aclose()
    await database.aclose()
    with pytest.raises(Unavailable, match="closed"):
        await database.run(lambda _: None)


async def test_a_full_disk_that_refused_a_write_can_be_started_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        path = disk.folder / "x.db"
        schema = "CREATE TABLE t (n INTEGER PRIMARY KEY, content BLOB)"
        opened, starting = (Database(path, schema, schema_version=1, failure=Unavailable) for _ in range(2))
        await opened.transact(lambda connection: connection.execute("INSERT INTO t VALUES (1, '')"))
        await opened.run(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
        disk.fill()
        with pytest.raises(Unavailable, match=r"full|I/O"):
            await opened.transact(lambda connection: connection.execute("INSERT INTO t VALUES (2, zeroblob(100000))"))
        disk.fill()  # what the refused write had freed
        # What a process finds that starts after this one's death.
        assert await _count(starting) == 1
        disk.free()
        await opened.transact(lambda connection: connection.execute("INSERT INTO t VALUES (2, '')"))
        assert await _count(opened) == 2
        await opened.aclose()
        await starting.aclose()
