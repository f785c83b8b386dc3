"""What the SQLite journal promises beyond the Protocol: durability, one sync for many, healing by itself."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cdn.journal import sqlite as sqlite_journal
from cdn.journal.database import Database
from cdn.journal.journal import JournalUnavailable, Trimmed
from cdn.journal.record import Draft, Purged, PurgeScope, Record, SiteCreated, UnknownRecord
from cdn.journal.sqlite import SqliteJournal
from tests.journal.ledger import purge

_APPEND_FOR_EVER = """
import asyncio, sys
from cdn.journal.sqlite import SqliteJournal
from tests.journal.ledger import purge

async def writer(journal, n):
    while True:
        record = await journal.append(purge(f"/{n}"), expected_sequence=None)
        print(record.sequence, flush=True)

async def main():
    journal = await SqliteJournal.open(sys.argv[1])
    await asyncio.gather(*(writer(journal, n) for n in range(8)))

asyncio.run(main())
"""


async def _sequence(journal: SqliteJournal, value: str) -> int:
    outcome = await journal.append(purge(value), expected_sequence=None)
    assert isinstance(outcome, Record)
    return outcome.sequence


@pytest.mark.parametrize("acks", [1, 40, 300])
async def test_killed_at_any_moment_it_has_every_record_that_append_returned(tmp_path: Path, acks: int) -> None:
    path = tmp_path / "journal.db"
    process = subprocess.Popen(
        [sys.executable, "-c", _APPEND_FOR_EVER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(acks)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().split("\n") if line.strip()]
    process.stdout.close()
    process.wait()
    journal = await SqliteJournal.open(path)
    end = (await journal.position()).sequence
    assert end >= max(acknowledged)
    assert len(set(acknowledged)) == len(acknowledged)
    assert [record.sequence for record in await _all(journal)] == list(range(1, end + 1))
    await journal.aclose()


async def _all(journal: SqliteJournal) -> list[Record]:
    found: list[Record] = []
    while batch := await journal.read(len(found), limit=1000):
        assert not isinstance(batch, Trimmed)
        found.extend(batch)
    return found


async def test_commits_are_synced_in_full(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    facts = await journal._writer.run(
        lambda connection: (
            connection.execute("PRAGMA synchronous").fetchone()[0],
            connection.execute("PRAGMA journal_mode").fetchone()[0],
        )
    )
    assert facts == (2, "wal")
    await journal.aclose()


async def test_a_record_is_committed_before_append_returns(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = await SqliteJournal.open(path)
    other = sqlite3.connect(path)
    for n in range(1, 20):
        await _sequence(journal, f"/{n}")
        assert other.execute("SELECT max(sequence) FROM record").fetchone() == (n,)
    other.close()
    await journal.aclose()


async def test_many_appends_share_few_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    commits = 0
    transact = Database.transact

    async def counted(self: Database, job: Callable[[sqlite3.Connection], Any]) -> Any:
        nonlocal commits
        commits += 1
        return await transact(self, job)

    monkeypatch.setattr(Database, "transact", counted)
    await asyncio.gather(*(_sequence(journal, f"/{n}") for n in range(1000)))
    assert commits <= 3
    await journal.aclose()


async def _locked(path: Path, check: Callable[[], Awaitable[None]]) -> None:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        await check()
    finally:
        holder.execute("ROLLBACK")
        holder.close()


async def test_locked_by_another_it_refuses_clearly_and_heals_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = await SqliteJournal.open(path, busy_timeout_s=0.05)
    assert await _sequence(journal, "/1") == 1

    async def refused() -> None:
        outcomes = await asyncio.gather(*(_sequence(journal, "/x") for _ in range(3)), return_exceptions=True)
        assert all(isinstance(outcome, JournalUnavailable) for outcome in outcomes)
        assert "locked" in str(outcomes[0])
        assert len(await _all(journal)) == 1, "reading goes on"
        with pytest.raises(JournalUnavailable):
            await journal.trim(1)

    await _locked(path, refused)
    assert await _sequence(journal, "/2") == 2
    assert [record.sequence for record in await _all(journal)] == [1, 2]
    await journal.aclose()


async def test_an_append_that_waits_for_a_lock_does_not_stop_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = await SqliteJournal.open(path, busy_timeout_s=30)
    pending: asyncio.Task[int] | None = None

    async def goes_on() -> None:
        nonlocal pending
        pending = asyncio.create_task(_sequence(journal, "/1"))
        for _ in range(20):
            await asyncio.sleep(0.001)
            assert await journal.read(0, limit=1) == ()
        assert not pending.done()

    await _locked(path, goes_on)
    assert pending is not None
    assert await pending == 1
    await journal.aclose()


async def test_a_journal_that_is_locked_when_opened_says_so(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await (await SqliteJournal.open(path)).aclose()

    async def refused() -> None:
        with pytest.raises(JournalUnavailable, match="locked"):
            await SqliteJournal.open(path, busy_timeout_s=0.05)

    await _locked(path, refused)
    await (await SqliteJournal.open(path)).aclose()


async def test_a_full_disk_refuses_and_heals_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = await SqliteJournal.open(path)
    assert await _sequence(journal, "/1") == 1
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Beyond this size the system refuses to let any file of this process grow, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "journal.db-wal").stat().st_size + 8192, hard))
    try:
        with pytest.raises(JournalUnavailable, match="disk"):
            await _sequence(journal, "x" * 500_000)
        assert [record.sequence for record in await _all(journal)] == [1]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await _sequence(journal, "y" * 500_000) == 2
    await journal.aclose()
    again = await SqliteJournal.open(path)
    assert [record.sequence for record in await _all(again)] == [1, 2]
    await again.aclose()


async def test_appends_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_journal, "MAX_WAITING_APPENDS", 5)
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    outcomes = await asyncio.gather(*(_sequence(journal, f"/{n}") for n in range(9)), return_exceptions=True)
    assert [isinstance(outcome, JournalUnavailable) for outcome in outcomes] == [False] * 5 + [True] * 4
    assert await _sequence(journal, "/later") == 6
    await journal.aclose()


async def test_appends_that_wait_are_bounded_in_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_journal, "MAX_WAITING_BYTES", 2500)
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    for round_ in range(2):  # what was committed waits no longer
        outcomes = await asyncio.gather(*(_sequence(journal, "x" * 1000) for _ in range(4)), return_exceptions=True)
        assert [isinstance(outcome, JournalUnavailable) for outcome in outcomes] == [False, False, True, True]
        assert outcomes[:2] == [2 * round_ + 1, 2 * round_ + 2]
    await journal.aclose()


async def test_the_memory_of_recent_records_is_bounded_and_older_ones_come_from_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_journal, "RECENT_BYTES", 2000)
    monkeypatch.setattr(sqlite_journal, "MAX_READ_BYTES", 1000)
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    for n in range(50):
        await _sequence(journal, f"/{n}")
    assert 0 < journal._recent_bytes <= 2000
    assert len(journal._recent) < 20
    first = await journal.read(0, limit=1000)
    assert not isinstance(first, Trimmed)
    assert 0 < len(first) < 50, "one read is bounded in bytes too"
    assert [record.sequence for record in await _all(journal)] == list(range(1, 51))
    await journal.trim(50)
    assert journal._recent_bytes == 0
    await journal.aclose()


async def test_records_of_another_process_leave_no_hole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal, other = await SqliteJournal.open(path), await SqliteJournal.open(path)
    await _sequence(journal, "/1")
    await _sequence(other, "/2")
    assert await _sequence(journal, "/3") == 3
    assert [record.sequence for record in await _all(journal)] == [1, 2, 3]
    await journal.aclose()
    await other.aclose()


async def test_trimming_goes_in_small_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_journal, "TRIM_BATCH", 7)
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    await asyncio.gather(*(_sequence(journal, f"/{n}") for n in range(40)))
    trimming = asyncio.create_task(journal.trim(30))
    await _sequence(journal, "/between")
    await trimming
    assert await journal.read(29, limit=1) == Trimmed(31)
    assert len(await journal.read(30, limit=100)) == 11  # type: ignore[arg-type]
    await journal.aclose()


async def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await (await SqliteJournal.open(path)).aclose()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version=99")
    newer.close()
    with pytest.raises(JournalUnavailable, match="newer program"):
        await SqliteJournal.open(path)


async def test_a_record_of_a_newer_program_is_an_unknown_record(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = await SqliteJournal.open(path)
    await _sequence(journal, "/1")
    await journal.aclose()
    newer = sqlite3.connect(path)
    (raw,) = newer.execute("SELECT content FROM record").fetchone()
    newer.execute("UPDATE record SET content = ?", (json.dumps(json.loads(raw) | {"version": 99}).encode(),))
    newer.commit()
    newer.close()
    journal = await SqliteJournal.open(path)
    with pytest.raises(UnknownRecord, match="version 99"):
        await journal.read(0, limit=1)
    await journal.aclose()


async def test_times_come_from_the_clock_it_was_given(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path / "journal.db", clock=lambda: 1234.5)
    drafts = [
        Draft("site/a", SiteCreated("s1", "a", {}), "x"),
        Draft("p", Purged("s1", (PurgeScope("tag", "t"),), True), "x"),
    ]
    for draft in drafts:
        outcome = await journal.append(draft, expected_sequence=None)
        assert isinstance(outcome, Record)
        assert outcome.at == 1234.5
    await journal.aclose()
