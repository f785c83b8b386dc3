"""Nodes of several replicas in one table: receipts are alike everywhere, and no lease runs that a replica forgets."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cdn.control import shared_directory
from cdn.control.node_directory import NodeDoubled
from cdn.control.node_memory import DirectoryUnavailable
from cdn.control.shared_directory import SharedNodeDirectory
from cdn.errors import Conflict, NotFound, Unavailable
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.fleet.receipt import NodeOutcome
from cdn.journal.jetstream_node_feed import Told
from cdn.journal.journal import JournalUnavailable

LEASE_S = 10.0
APPLIED, PENDING, EXCUSED = NodeOutcome.APPLIED, NodeOutcome.PENDING, NodeOutcome.EXCUSED


def at(sequence: int) -> Position:
    return Position("epoch", sequence)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Table:
    """What the servers hold; every change is brought to all feeds that are not cut off."""

    revision: int = 0
    values: dict[str, tuple[Told, int]] = field(default_factory=dict)
    feeds: list[Feed] = field(default_factory=list)


class Feed:
    def __init__(self, table: Table) -> None:
        self.teller = secrets.token_hex(4)
        self.is_cut = False
        self._table = table
        self._taken = 0
        self._take: Callable[[Told, int], None] | None = None
        table.feeds.append(self)

    def start(self, take: Callable[[Told, int], None]) -> None:
        self._take = take
        self.bring()

    def bring(self) -> None:
        if self.is_cut or self._take is None:
            return
        for told, revision in sorted(self._table.values.values(), key=lambda each: each[1]):
            if revision > self._taken:
                self._take(told, revision)
        self._taken = self._table.revision

    async def put(self, name: str, facts: bytes, *, expected_revision: int) -> int | None:
        self._require()
        if self._table.values.get(name, (None, 0))[1] != expected_revision:
            return None
        self._table.revision += 1
        self._table.values[name] = (Told(name, self.teller, facts), self._table.revision)
        revision = self._table.revision
        for feed in self._table.feeds:
            feed.bring()
        return revision

    async def get(self, name: str) -> tuple[Told | None, int]:
        self._require()
        return self._table.values.get(name, (None, 0))

    async def barrier(self) -> None:
        self._require()
        self.bring()

    async def aclose(self) -> None:
        self._table.feeds.remove(self)

    def _require(self) -> None:
        if self.is_cut:
            raise JournalUnavailable("cut off")


@dataclass
class Replica:
    directory: SharedNodeDirectory
    feed: Feed

    async def take_in(self, node_id: str = "n1", sequence: int | None = 1) -> None:
        await self.directory.connected(
            node_id, NodeFacts("0.1"), None if sequence is None else at(sequence), lease_s=LEASE_S, record_version=1
        )

    async def hear(self, node_id: str = "n1") -> None:
        """A heartbeat, answered."""
        await self.directory.renew(node_id)
        self.directory.heartbeat_answered(node_id, {})

    def outcome(self, sequence: int, node_id: str = "n1") -> NodeOutcome:
        (line,) = [each for each in self.directory.receipt(at(sequence), 0.0).nodes if each.node_id == node_id]
        return line.outcome


class Replicas:
    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.table = Table()
        self._folder = folder
        self.all: list[Replica] = []

    async def start(self, patience_s: float = 0.05) -> Replica:
        feed = Feed(self.table)
        path = self._folder / f"nodes-{len(self.all)}.db"
        directory = await SharedNodeDirectory.over(path, feed, patience_s=patience_s, clock=self.clock)
        self.all.append(Replica(directory, feed))
        return self.all[-1]


@pytest.fixture
async def replicas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Replicas]:
    monkeypatch.setattr(shared_directory, "SWEEP_S", 0.01)
    monkeypatch.setattr(shared_directory, "RETRY_S", 0.01)
    replicas = Replicas(tmp_path)
    yield replicas
    for replica in replicas.all:
        replica.feed.is_cut = False
        await replica.directory.aclose()


@pytest.fixture
async def pair(replicas: Replicas) -> tuple[Replica, Replica]:
    return await replicas.start(), await replicas.start()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.002)


async def test_every_replica_knows_a_node_before_it_is_let_in(pair: tuple[Replica, Replica]) -> None:
    first, second = pair
    await first.take_in()
    assert [node.node_id for node in second.directory.nodes()] == ["n1"]
    assert (second.outcome(1), second.outcome(2)) == (APPLIED, PENDING)


async def test_every_replica_knows_where_a_node_stands_and_how_busy_it_is(pair: tuple[Replica, Replica]) -> None:
    first, second = pair
    facts = NodeFacts("0.1", location=(50.11, 8.68), bias=-20)
    await first.directory.connected("n1", facts, at(1), lease_s=LEASE_S, record_version=1)
    assert second.directory.node("n1").facts == facts
    told: list[float] = []
    second.directory.watch(lambda: told.append(second.directory.load("n1")))
    first.directory.heard_load("n1", 0.6)
    await first.hear()
    assert (second.directory.load("n1"), told) == (0.6, [0.6])
    await first.hear()
    assert told == [0.6], "no news"


async def test_an_acknowledgement_at_one_ends_the_waiting_at_another(pair: tuple[Replica, Replica]) -> None:
    first, second = pair
    await first.take_in()
    waiting = asyncio.create_task(second.directory.wait_complete(at(7), 0.0, 5.0))
    prepared = asyncio.create_task(second.directory.wait_prepared("s", "d", 5.0))
    await asyncio.sleep(0)
    first.directory.applied("n1", at(7))
    first.directory.prepared("n1", "s", "d", "no room")
    assert (await waiting).is_complete
    assert dict((await prepared).failed) == {"n1": "no room"}


async def test_a_lease_heard_elsewhere_keeps_a_receipt_open(replicas: Replicas, pair: tuple[Replica, Replica]) -> None:
    first, second = pair
    await first.take_in()
    for _ in range(3):
        replicas.clock.now += LEASE_S
        await first.hear()
        await asyncio.sleep(0.03)  # it is looked whether leases are over
        assert second.outcome(9) is PENDING
    replicas.clock.now += LEASE_S + 1
    await until(lambda: second.outcome(9) is EXCUSED)
    assert first.outcome(9) is PENDING, "its connection stands"


async def test_a_replica_that_is_cut_off_renews_no_lease_and_completes_nothing(
    pair: tuple[Replica, Replica],
) -> None:
    first, second = pair
    await first.take_in()
    await first.hear()
    first.feed.is_cut = True
    with pytest.raises(Unavailable):
        await first.hear()
    assert not await first.directory.settle()
    assert await second.directory.settle()
    with pytest.raises(Unavailable):
        await first.take_in("n2")


async def test_what_was_said_while_cut_off_is_told_later(pair: tuple[Replica, Replica]) -> None:
    first, second = pair
    await first.take_in()
    first.feed.is_cut = True
    first.directory.applied("n1", at(5))
    await asyncio.sleep(0.02)
    assert second.outcome(5) is PENDING
    first.feed.is_cut = False
    await until(lambda: second.outcome(5) is APPLIED)


async def test_acknowledgements_are_told_together_and_not_line_by_line(
    replicas: Replicas, pair: tuple[Replica, Replica]
) -> None:
    first, second = pair
    names = [f"n{number}" for number in range(20)]
    for name in names:
        await first.take_in(name)
    before = replicas.table.revision
    for sequence in range(2, 52):
        for name in names:
            first.directory.applied(name, at(sequence))
        await asyncio.sleep(0)
    await until(lambda: all(second.outcome(51, name) is APPLIED for name in names))
    assert replicas.table.revision - before < 50


async def test_what_a_replica_says_of_an_earlier_connection_counts_for_nothing(
    replicas: Replicas, pair: tuple[Replica, Replica]
) -> None:
    first, second = pair
    third = await replicas.start()
    await first.take_in()
    first.directory.applied("n1", at(5))
    await until(lambda: third.outcome(5) is APPLIED)
    (name,) = [name for name in replicas.table.values if name.startswith("+")]
    said, _ = replicas.table.values[name]
    await second.take_in(sequence=3)  # it lost its copy and has another from before
    third.directory._take(said, replicas.table.revision + 1)
    second.directory._take(said, replicas.table.revision + 1)
    assert (third.outcome(5), second.outcome(5)) == (PENDING, PENDING)
    await first.take_in(sequence=3)
    third.directory._take(said, replicas.table.revision + 2)
    assert third.outcome(5) is PENDING


async def test_positions_that_are_not_understood_change_nothing(pair: tuple[Replica, Replica]) -> None:
    first, second = pair
    await first.take_in()
    second.directory._take(Told("+x-0", first.feed.teller, b"{}"), 99)
    assert [node.node_id for node in second.directory.nodes()] == ["n1"]
    assert second.outcome(2) is PENDING


async def test_a_node_moves_when_its_replica_is_silent_and_the_old_one_no_longer_speaks_for_it(
    pair: tuple[Replica, Replica],
) -> None:
    first, second = pair
    await first.take_in()
    await second.take_in(sequence=3)
    assert first.outcome(3) is APPLIED
    with pytest.raises(DirectoryUnavailable, match="follows another control"):
        await first.directory.renew("n1")
    first.directory.disconnected("n1")
    await second.hear()
    assert second.directory.node("n1").is_connected
    assert first.directory.node("n1").is_connected


async def test_a_node_that_is_alive_elsewhere_is_refused(replicas: Replicas) -> None:
    first, second = await replicas.start(), await replicas.start(patience_s=5.0)
    await first.take_in()
    coming = asyncio.create_task(second.take_in())
    await asyncio.sleep(0.02)
    await first.hear()
    with pytest.raises(NodeDoubled):
        await coming
    await first.hear()


async def test_a_node_whose_connection_ended_elsewhere_is_let_in_at_once(replicas: Replicas) -> None:
    first, second = await replicas.start(), await replicas.start(patience_s=60.0)
    await first.take_in()
    first.directory.disconnected("n1")
    await until(lambda: not second.directory.node("n1").is_connected)
    async with asyncio.timeout(2):
        await second.take_in()


async def test_a_replica_that_starts_knows_what_the_others_know(replicas: Replicas) -> None:
    first = await replicas.start()
    await first.take_in(sequence=4)
    third = await replicas.start()
    assert third.outcome(4) is APPLIED
    assert [each.node_id for each in third.directory.kept()] == ["n1"]


async def test_a_forgotten_node_is_forgotten_everywhere(replicas: Replicas, pair: tuple[Replica, Replica]) -> None:
    first, second = pair
    await first.take_in()
    with pytest.raises(Conflict):
        await second.directory.forget("n1")
    first.directory.left("n1")
    await until(lambda: not second.directory.node("n1").is_connected)
    await second.directory.forget("n1")
    assert first.directory.nodes() == second.directory.nodes() == ()
    with pytest.raises(NotFound):
        await second.directory.forget("n1")
    await first.take_in()
    assert len(second.directory.nodes()) == 1


async def test_a_lost_answer_costs_nothing(pair: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pair
    await first.take_in()
    put = first.feed.put

    async def forgetful(name: str, facts: bytes, *, expected_revision: int) -> int | None:
        await put(name, facts, expected_revision=expected_revision)
        monkeypatch.undo()
        raise JournalUnavailable("the answer was lost")

    monkeypatch.setattr(first.feed, "put", forgetful)
    with pytest.raises(Unavailable):
        await first.directory.renew("n1")
    await first.hear()
    first.directory.applied("n1", at(8))
    await until(lambda: second.outcome(8) is APPLIED)
