"""When nodes applied records outlives control, within bounds, and what is not known is not made up (DESIGN I8)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from cdn.control import kept_times
from cdn.control.archive_layout import KeptNode
from cdn.control.kept_times import most_times
from cdn.control.node_directory import NodeDirectory
from cdn.control.node_memory import NodeMemory, without_nodes
from cdn.control.shared_directory import SharedNodeDirectory
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.fleet.receipt import NodeOutcome, NodeReceipt
from tests.control.test_shared_directory import Feed, Table

LEASE_S = 10.0


class Clock:
    """Wall time is a million seconds ahead of the monotonic one."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + 1_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


def at(sequence: int, epoch: str = "e") -> Position:
    return Position(epoch, sequence)


async def opened(folder: Path, clock: Clock) -> NodeDirectory:
    return await NodeDirectory.open(folder / "nodes.db", clock=clock.monotonic, wall=clock.wall)


async def connect(directory: NodeDirectory, position: Position | None, node_id: str = "a") -> None:
    await directory.connected(node_id, NodeFacts("0.1", "eu"), position, lease_s=LEASE_S, record_version=1)


def line(directory: NodeDirectory, sequence: int, epoch: str = "e") -> NodeReceipt:
    (found,) = directory.receipt(at(sequence, epoch), 0.0).nodes
    return found


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_restarted_control_knows_when_what_was_applied(tmp_path: Path, clock: Clock) -> None:
    before = await opened(tmp_path, clock)
    await connect(before, at(0))
    for sequence in (1, 2, 5):
        clock.now += 1
        before.applied("a", at(sequence))
    await before.aclose()
    clock.now += 600
    after = await opened(tmp_path, clock)
    assert line(after, 1).outcome is NodeOutcome.PENDING, "it may have lost its disk meanwhile: it has to say so itself"
    await connect(after, at(9))
    assert [line(after, sequence).applied_at for sequence in (1, 2, 3, 5)] == [
        1_001_001,
        1_001_002,
        1_001_003,
        1_001_003,
    ]
    unheard = line(after, 6)
    assert (unheard.outcome, unheard.applied_at, unheard.applied_by) == (NodeOutcome.APPLIED, None, 1_001_603)
    clock.now += 1
    after.applied("a", at(10))
    assert (line(after, 10).applied_at, line(after, 9).applied_at) == (1_001_604, None)
    await after.aclose()


async def test_a_node_that_lost_records_meanwhile_is_not_said_to_have_them(tmp_path: Path, clock: Clock) -> None:
    before = await opened(tmp_path, clock)
    await connect(before, at(0))
    before.applied("a", at(1))
    before.applied("a", at(5))
    await before.aclose()
    after = await opened(tmp_path, clock)
    await connect(after, at(3))
    assert (line(after, 1).applied_at, line(after, 4).outcome) == (1_001_000, NodeOutcome.PENDING)
    clock.now += 7
    after.applied("a", at(5))
    assert line(after, 4).applied_at == 1_001_007
    await after.aclose()


async def test_times_of_another_epoch_count_for_nothing(tmp_path: Path, clock: Clock) -> None:
    before = await opened(tmp_path, clock)
    await connect(before, at(0))
    before.applied("a", at(5))
    await before.aclose()
    after = await opened(tmp_path, clock)
    clock.now += 3
    await connect(after, at(7, "f"))
    found = line(after, 5, "f")
    assert (found.outcome, found.applied_at, found.applied_by) == (NodeOutcome.APPLIED, None, 1_001_003)
    await after.aclose()


async def test_times_are_written_now_and_then(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_times, "KEEP_EVERY_S", 0.01)
    directory = await opened(tmp_path, clock)
    await connect(directory, at(0))
    directory.applied("a", at(4))

    def is_kept() -> bool:
        connection = sqlite3.connect(tmp_path / "nodes.db")
        try:
            return bool(connection.execute("SELECT count(*) FROM applied WHERE epoch = 'e'").fetchone() == (1,))
        finally:
            connection.close()

    await until(is_kept)
    killed = await opened(tmp_path, clock)  # as another process would find it, had this one been killed
    await connect(killed, at(4))
    assert line(killed, 4).applied_at == 1_001_000
    await killed.aclose()
    await directory.aclose()


async def test_what_cannot_be_written_is_written_later(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kept_times, "KEEP_EVERY_S", 0.01)
    monkeypatch.setattr("cdn.journal.database.BUSY_TIMEOUT_S", 0.01)
    directory = await opened(tmp_path, clock)
    await connect(directory, at(0))
    holder = sqlite3.connect(tmp_path / "nodes.db", isolation_level=None)
    holder.execute("DROP TABLE applied")
    directory.applied("a", at(4))
    await until(lambda: "would not be known after a restart" in caplog.text)
    holder.execute("CREATE TABLE applied (node_id TEXT PRIMARY KEY, epoch TEXT, times BLOB)")

    def count() -> int:
        found: tuple[int] = holder.execute("SELECT count(*) FROM applied").fetchone()
        return found[0]

    await until(lambda: count() == 1)
    holder.close()
    await directory.aclose()


async def test_what_is_damaged_is_told_and_left_out(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    before = await opened(tmp_path, clock)
    await connect(before, at(0))
    before.applied("a", at(4))
    await before.aclose()
    connection = sqlite3.connect(tmp_path / "nodes.db")
    connection.execute("UPDATE applied SET times = x'0102'")
    connection.commit()
    connection.close()
    after = await opened(tmp_path, clock)
    await connect(after, at(4))
    assert "when node a applied records is no longer known" in caplog.text
    assert (line(after, 4).applied_at, line(after, 4).applied_by) == (None, 1_001_000)
    await after.aclose()


async def test_a_forgotten_nodes_times_go_too(tmp_path: Path, clock: Clock) -> None:
    directory = await opened(tmp_path, clock)
    await connect(directory, at(0))
    directory.applied("a", at(4))
    await directory.aclose()
    directory = await opened(tmp_path, clock)
    clock.now += LEASE_S + 1
    await directory.forget("a")
    await connect(directory, at(4))
    assert line(directory, 4).applied_at is None
    await directory.aclose()


def test_the_larger_the_fleet_the_fewer_times_of_each_node() -> None:
    assert (most_times(0), most_times(10), most_times(10_000), most_times(10**7)) == (4096, 4096, 100, 1)


async def test_a_file_of_the_first_version_is_brought_to_this_one(tmp_path: Path, clock: Clock) -> None:
    old = sqlite3.connect(tmp_path / "nodes.db")
    old.executescript(
        """
        CREATE TABLE node (node_id TEXT PRIMARY KEY, program TEXT NOT NULL, region TEXT NOT NULL,
                           record_version INTEGER NOT NULL, lease_s REAL NOT NULL) WITHOUT ROWID;
        INSERT INTO node VALUES ('a', '0.1', 'eu', 1, 30.0);
        PRAGMA user_version=1;
        """
    )
    old.close()
    directory = await opened(tmp_path, clock)
    assert directory.kept() == (KeptNode("a", "0.1", "eu", 1, 30.0, 100, ()),)
    await connect(directory, at(2))
    directory.applied("a", at(3))
    await directory.aclose()
    again = await opened(tmp_path, clock)
    assert again.nodes()[0].facts == NodeFacts("0.1", "eu")
    await again.aclose()


async def test_weights_and_addresses_are_remembered(tmp_path: Path, clock: Clock) -> None:
    facts = NodeFacts("0.1", "eu", ("127.0.0.1:8080",), 7, ("192.0.2.1", "2001:db8::1"))
    directory = await opened(tmp_path, clock)
    await directory.connected("a", facts, None, lease_s=LEASE_S, record_version=1)
    await directory.aclose()
    again = await opened(tmp_path, clock)
    found = again.nodes()[0].facts
    assert (found.weight, found.public_addresses) == (7, ("192.0.2.1", "2001:db8::1"))
    await again.aclose()


async def test_of_a_replicas_file_only_times_count(tmp_path: Path, clock: Clock) -> None:
    directory = await opened(tmp_path, clock)
    await connect(directory, at(0))
    directory.applied("a", at(4))
    await directory.aclose()
    await without_nodes(tmp_path / "nodes.db")
    memory = NodeMemory(tmp_path / "nodes.db")
    assert (await memory.nodes(), list(await memory.times())) == ((), ["a"])
    await memory.aclose()


async def test_a_replicas_file_that_is_damaged_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "nodes.db").write_bytes(b"no database at all" * 100)
    await without_nodes(tmp_path / "nodes.db")
    memory = NodeMemory(tmp_path / "nodes.db")
    assert await memory.nodes() == ()
    await memory.aclose()


async def test_a_replica_that_restarts_knows_its_times_and_makes_up_none(tmp_path: Path, clock: Clock) -> None:
    table = Table()

    async def replica(name: str) -> SharedNodeDirectory:
        path = tmp_path / f"{name}.db"
        return await SharedNodeDirectory.over(
            path, Feed(table), patience_s=0.05, clock=clock.monotonic, wall=clock.wall
        )

    first = await replica("first")
    await connect(first, at(0))
    second, third = await replica("second"), await replica("third")
    clock.now += 1
    first.applied("a", at(4))
    await until(lambda: line(second, 4).applied_at is not None)
    await second.aclose()
    clock.now += 100
    first.applied("a", at(8))
    await until(lambda: line(third, 8).outcome is NodeOutcome.APPLIED)  # it is in the table, and told to nobody again
    second = await replica("second")
    await until(lambda: line(second, 8).outcome is NodeOutcome.APPLIED)
    assert line(second, 4).applied_at == 1_001_001
    assert (line(second, 8).applied_at, line(second, 8).applied_by) == (None, 1_001_101)
    for each in (first, second, third):
        await each.aclose()
