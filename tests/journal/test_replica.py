"""A node's own copy: durable before it is acknowledged, and enough to start without control."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from cdn.fleet.position import Position
from cdn.journal.record import EDGE_AUDIENCES, RECORD_VERSION, Audience, Record
from cdn.journal.record_tail import Entry
from cdn.journal.replica import Replica, ReplicaGap, ReplicaUnavailable
from cdn.journal.snapshot import take
from tests.journal.ledger import Ledger, purge

OpenReplica = Callable[[], Awaitable[Replica]]

_APPLY_FOR_EVER = """
import asyncio, sys
from cdn.fleet.position import Position
from cdn.journal.record import EDGE_AUDIENCES
from cdn.journal.record_tail import Entry
from cdn.journal.replica import Replica
from cdn.journal.snapshot import take
from tests.journal.ledger import Ledger
from tests.journal.test_replica import record

async def main():
    replica = await Replica.open(sys.argv[1], compact_after=25)
    ledger = Ledger()
    if await replica.load([ledger]) is None:
        await replica.replace(take([ledger], Position("e", 0), floor_horizon=0, audiences=EDGE_AUDIENCES))
    while True:
        batch = [record(ledger.last + n) for n in range(1, 4)]
        await replica.apply(batch)
        for each in batch:
            ledger.apply(each)
        print(ledger.last, flush=True)
        if replica.wants_compaction:
            await replica.compact()

asyncio.run(main())
"""


def record(sequence: int, *, epoch: str = "e") -> Record:
    draft = purge(f"/{sequence}")
    return Record(RECORD_VERSION, epoch, sequence, draft.subject, 1.0, "tester", Audience.ALL, draft.change)


def _rows(path: Path) -> list[int]:
    connection = sqlite3.connect(path)
    try:
        return [sequence for (sequence,) in connection.execute("SELECT sequence FROM record ORDER BY sequence")]
    finally:
        connection.close()


async def _begin(replica: Replica, *folds: Ledger, epoch: str = "e", sequence: int = 0) -> None:
    await replica.load(folds)
    await replica.replace(take(folds, Position(epoch, sequence), floor_horizon=0, audiences=EDGE_AUDIENCES))


async def _apply(replica: Replica, ledger: Ledger, *sequences: int) -> None:
    records = [record(sequence) for sequence in sequences]
    await replica.apply(records)
    for each in records:
        ledger.apply(each)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replica.db"


@pytest.fixture
async def open_replica(path: Path) -> AsyncIterator[OpenReplica]:
    opened: list[Replica] = []

    async def open_one() -> Replica:
        for before in opened:
            await before.aclose()
        opened.append(await Replica.open(path, compact_after=10, busy_timeout_s=0.05))
        return opened[-1]

    yield open_one
    for replica in opened:
        await replica.aclose()


async def test_an_empty_copy_has_no_position_and_takes_no_record(open_replica: OpenReplica) -> None:
    replica = await open_replica()
    ledger = Ledger()
    ledger.entries = [(3, "left over")]
    assert await replica.load([ledger]) is None
    assert ledger.entries == []
    assert replica.position is None
    with pytest.raises(ReplicaGap):
        await replica.apply([record(1)])


async def test_it_starts_again_from_its_snapshot_and_the_records_after_it(open_replica: OpenReplica) -> None:
    replica, ledger = await open_replica(), Ledger()
    await _begin(replica, ledger)
    await _apply(replica, ledger, 1, 2, 3)
    await _apply(replica, ledger, 4)
    assert replica.position == Position("e", 4)
    again, loaded = await open_replica(), Ledger()
    assert await again.load([loaded]) == Position("e", 4)
    assert loaded.entries == ledger.entries
    await _apply(again, loaded, 5)


async def test_only_the_next_records_of_its_epoch_are_taken_and_a_batch_whole_or_not_at_all(
    open_replica: OpenReplica,
) -> None:
    replica, ledger = await open_replica(), Ledger()
    await _begin(replica, ledger)
    await _apply(replica, ledger, 1)
    for wrong in ([record(1)], [record(3)], [record(2), record(4)], [record(2, epoch="other")]):
        with pytest.raises(ReplicaGap):
            await replica.apply(wrong)
    assert replica.position == Position("e", 1)
    again, loaded = await open_replica(), Ledger()
    assert await again.load([loaded]) == Position("e", 1)
    await again.apply([])
    assert again.position == Position("e", 1)


async def test_compaction_keeps_the_state_and_bounds_the_records(open_replica: OpenReplica, path: Path) -> None:
    replica, ledger = await open_replica(), Ledger()
    await _begin(replica, ledger)
    await _apply(replica, ledger, *range(1, 10))
    wanted = [replica.wants_compaction]
    await _apply(replica, ledger, 10)
    wanted.append(replica.wants_compaction)
    await replica.compact()
    assert [*wanted, replica.wants_compaction] == [False, True, False]
    rows = sqlite3.connect(path)
    assert rows.execute("SELECT count(*) FROM record").fetchone() == (0,)
    rows.close()
    await _apply(replica, ledger, 11, 12)
    again, loaded = await open_replica(), Ledger()
    assert await again.load([loaded]) == Position("e", 12)
    assert loaded.entries == ledger.entries


async def test_the_tail_begins_anew_with_every_compaction_and_snapshot(open_replica: OpenReplica) -> None:
    replica, ledger = await open_replica(), Ledger()
    await _begin(replica, ledger)
    for last in (10, 20, 30):
        await _apply(replica, ledger, *range(last - 9, last + 1))
        assert replica._tail.size_bytes > 0
        await replica.compact()
        assert replica._tail.size_bytes == 0
    await _apply(replica, ledger, 31)
    await replica.replace(take([ledger], Position("f", 1), floor_horizon=0, audiences=EDGE_AUDIENCES))
    assert replica._tail.size_bytes == 0


async def test_the_floor_horizon_survives_compaction_and_restart(open_replica: OpenReplica) -> None:
    replica, ledger = await open_replica(), Ledger()
    await replica.load([ledger])
    await replica.replace(take([ledger], Position("e", 0), floor_horizon=7, audiences=EDGE_AUDIENCES))
    await _apply(replica, ledger, 1)
    await replica.compact()
    again, loaded = await open_replica(), Ledger()
    await again.load([loaded])
    assert loaded.horizon == 7


async def test_a_snapshot_replaces_everything_even_of_another_epoch(open_replica: OpenReplica) -> None:
    replica, ledger = await open_replica(), Ledger()
    await _begin(replica, ledger)
    await _apply(replica, ledger, 1, 2, 3)
    fresh = Ledger()
    fresh.entries = [(1, "new history")]
    await replica.replace(take([fresh], Position("f", 1), floor_horizon=0, audiences=EDGE_AUDIENCES))
    assert replica.position == Position("f", 1)
    again, loaded = await open_replica(), Ledger()
    assert await again.load([loaded]) == Position("f", 1)
    assert loaded.entries == [(1, "new history")]


async def test_a_copy_from_before_a_fold_existed_counts_as_empty(open_replica: OpenReplica) -> None:
    replica = await open_replica()
    await _begin(replica, Ledger("old"))
    again, old, new = await open_replica(), Ledger("old"), Ledger("new")
    assert await again.load([old, new]) is None
    assert again.position is None


async def test_a_record_of_a_newer_program_ends_the_copy_before_it(open_replica: OpenReplica, path: Path) -> None:
    replica, ledger = await open_replica(), Ledger()
    await _begin(replica, ledger)
    await _apply(replica, ledger, 1, 2, 3, 4)
    await replica.aclose()
    newer = sqlite3.connect(path)
    (raw,) = newer.execute("SELECT content FROM record WHERE sequence = 3").fetchone()
    raised = raw.replace(b'"version":%d' % RECORD_VERSION, b'"version":%d' % (RECORD_VERSION + 1))
    newer.execute("UPDATE record SET content = ? WHERE sequence = 3", (raised,))
    newer.commit()
    newer.close()
    again, loaded = await open_replica(), Ledger()
    assert await again.load([loaded]) == Position("e", 2)
    await _apply(again, loaded, 3)
    assert loaded.last == 3


async def test_a_file_that_is_no_database_is_set_aside(open_replica: OpenReplica, path: Path) -> None:
    path.write_bytes(b"not a database at all" * 400)
    replica = await open_replica()
    assert await replica.load([Ledger()]) is None
    assert path.with_name("replica.db.damaged").exists()
    await _begin(replica, Ledger())


async def test_a_damaged_snapshot_counts_as_empty(open_replica: OpenReplica, path: Path) -> None:
    replica = await open_replica()
    await _begin(replica, Ledger())
    await replica.aclose()
    damage = sqlite3.connect(path)
    damage.execute("UPDATE snapshot SET content = x'00ff00'")
    damage.commit()
    damage.close()
    assert await (await open_replica()).load([Ledger()]) is None


async def test_locked_it_refuses_keeps_its_place_and_heals(open_replica: OpenReplica, path: Path) -> None:
    replica, ledger = await open_replica(), Ledger()
    await _begin(replica, ledger)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    for refused in (
        replica.compact(),
        replica.replace(take([ledger], Position("e", 9), floor_horizon=0, audiences=EDGE_AUDIENCES)),
    ):
        with pytest.raises(ReplicaUnavailable, match="locked"):
            await refused
    assert replica.position == Position("e", 0)
    holder.execute("ROLLBACK")
    holder.close()
    await _apply(replica, ledger, 1)


async def test_a_call_that_was_cancelled_when_it_was_already_durable_can_be_made_again(
    open_replica: OpenReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica, ledger = await open_replica(), Ledger()
    await _begin(replica, ledger)
    append = replica._tail.append

    async def cancelled_too_late(entries: Sequence[Entry]) -> None:
        await append(entries)
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(replica._tail, "append", cancelled_too_late)
        with pytest.raises(asyncio.CancelledError):
            await replica.apply([record(1), record(2)])
    assert replica.position == Position("e", 0)
    await _apply(replica, ledger, 1)
    await _apply(replica, ledger, 2, 3)
    again, loaded = await open_replica(), Ledger()
    assert await again.load([loaded]) == Position("e", 3)


async def test_what_was_not_closed_is_in_the_tail_and_what_was_is_in_the_database_for_earlier_releases(
    path: Path,
) -> None:
    killed = await Replica.open(path)
    await _begin(killed, Ledger())
    for batch in ([record(1), record(2)], [record(3)]):
        await killed.apply(batch)  # and then the process dies
    assert _rows(path) == []
    replica, ledger = await Replica.open(path), Ledger()
    assert await replica.load([ledger]) == Position("e", 3)
    await _apply(replica, ledger, 4)
    await replica.aclose()
    assert _rows(path) == [1, 2, 3, 4]
    again, loaded = await Replica.open(path), Ledger()
    assert await again.load([loaded]) == Position("e", 4)
    await _apply(again, loaded, 5)
    await again.aclose()
    assert loaded.entries == [(n, f"purged /{n}") for n in range(1, 6)]
    await killed.aclose()


@pytest.mark.parametrize("fault", [ReplicaUnavailable, asyncio.CancelledError])
async def test_a_start_that_does_not_end_forgets_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    killed, ledger = await Replica.open(path), Ledger()
    await _begin(killed, ledger)
    await _apply(killed, ledger, *range(1, 8))  # and then the process dies
    starting = await Replica.open(path)
    read = starting._tail.read

    async def two_and_then_a_fault(most: int) -> list[Entry]:
        if starting._tail.size_bytes:
            monkeypatch.undo()
            raise fault("now")
        return await read(2)

    monkeypatch.setattr(starting._tail, "read", two_and_then_a_fault)
    with pytest.raises(fault):
        await starting.load([Ledger()])
    await starting.aclose()
    again, loaded = await Replica.open(path), Ledger()
    assert await again.load([loaded]) == Position("e", 7)
    assert loaded.entries == [(n, f"purged /{n}") for n in range(1, 8)]
    await again.aclose()
    await killed.aclose()


async def test_a_tail_from_before_another_epoch_is_no_part_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replica, ledger = await Replica.open(path), Ledger()
    await _begin(replica, ledger)
    await _apply(replica, ledger, *range(1, 10))

    async def died() -> None:
        raise ConnectionAbortedError

    monkeypatch.setattr(replica._tail, "reset", died)
    fresh = Ledger()
    fresh.entries = [(5, "new history")]
    with pytest.raises(ConnectionAbortedError):
        await replica.replace(take([fresh], Position("f", 5), floor_horizon=0, audiences=EDGE_AUDIENCES))
    again, loaded = await Replica.open(path), Ledger()
    assert await again.load([loaded]) == Position("f", 5)
    await again.apply([record(6, epoch="f")])
    third, reloaded = await Replica.open(path), Ledger()
    assert await third.load([reloaded]) == Position("f", 6)
    assert reloaded.entries == [(5, "new history"), (6, "purged /6")]
    for each in (third, again):
        await each.aclose()
    monkeypatch.undo()
    await replica.aclose()


async def test_what_was_dropped_does_not_come_back(path: Path) -> None:
    replica, ledger = await Replica.open(path), Ledger()
    await _begin(replica, ledger)
    await _apply(replica, ledger, 1, 2, 3, 4)
    await replica.retreat(Position("e", 2))
    again, loaded = await Replica.open(path), Ledger()
    assert await again.load([loaded]) == Position("e", 2)
    await _apply(again, loaded, 3)
    third, reloaded = await Replica.open(path), Ledger()
    assert await third.load([reloaded]) == Position("e", 3)
    for each in (third, again, replica):
        await each.aclose()


@pytest.mark.parametrize("acks", [2, 30, 90])
async def test_killed_at_any_moment_it_stands_at_or_after_every_acknowledgement(path: Path, acks: int) -> None:
    said: list[int] = []
    for _ in range(2):  # the second time it goes on from what the first left
        process = subprocess.Popen(
            [sys.executable, "-c", _APPLY_FOR_EVER, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        said += [int(process.stdout.readline()) for _ in range(acks)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split("\n") if line.strip()]
        process.stdout.close()
        process.wait()
        replica, ledger = await Replica.open(path), Ledger()
        position = await replica.load([ledger])
        await replica.aclose()
        assert position is not None
        assert position.sequence >= max(said)
        assert ledger.entries == [(n, f"purged /{n}") for n in range(1, position.sequence + 1)]
