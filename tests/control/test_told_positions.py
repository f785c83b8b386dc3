"""Where nodes stand reaches the other replicas in few messages, and only from the replica that they follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from cdn.control import told_positions
from cdn.control.told_positions import NODES_PER_MESSAGE, Standing, ToldPositions, decode_standings, is_standings
from cdn.fleet.position import Position
from cdn.journal.jetstream_node_feed import Told
from cdn.journal.journal import JournalUnavailable


class Table:
    """Keeps what is put; `answers_lost` puts are carried out and answered as if they had not been."""

    teller = "me"

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.revisions: dict[str, int] = {}
        self.puts = 0
        self.is_away = False
        self.answers_lost = 0

    async def put(self, name: str, facts: bytes, *, expected_revision: int) -> int | None:
        await asyncio.sleep(0)
        if self.is_away:
            raise JournalUnavailable("away")
        if self.revisions.get(name, 0) != expected_revision:
            return None
        self.puts += 1
        self.values[name] = facts
        self.revisions[name] = self.puts
        if self.answers_lost:
            self.answers_lost -= 1
            self.revisions[name] += 1000
        return self.puts

    async def get(self, name: str) -> tuple[Told | None, int]:
        return None, self.revisions.get(name, 0)

    def standing(self) -> dict[str, int]:
        """The sequence of each node."""
        told = [decode_standings(value).nodes for value in self.values.values()]
        return {each.node_id: each.sequence for nodes in told for each in nodes}


class Nodes:
    def __init__(self, count: int) -> None:
        self.at: dict[str, tuple[int, Position]] = {f"n{number}": (1, Position("e", 0)) for number in range(count)}

    def standing(self, node_id: str) -> tuple[int, Position] | None:
        return self.at.get(node_id)

    def move(self, told: ToldPositions, sequence: int) -> None:
        for node_id in self.at:
            self.at[node_id] = (1, Position("e", sequence))
            told.moved(node_id)


@asynccontextmanager
async def telling(table: Table, nodes: Nodes) -> AsyncIterator[ToldPositions]:
    told = ToldPositions(table, nodes.standing)
    running = asyncio.create_task(told.run())
    try:
        yield told
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told_positions, "RETRY_S", 0.01)


async def test_a_hundred_records_at_two_hundred_nodes_take_few_messages() -> None:
    table, nodes = Table(), Nodes(200)
    async with telling(table, nodes) as told:
        for sequence in range(1, 101):
            nodes.move(told, sequence)
            await asyncio.sleep(0.001)
        await until(lambda: set(table.standing().values()) == {100})
    assert len(table.values) == 4 == -(-200 // NODES_PER_MESSAGE)
    assert len(table.standing()) == 200
    assert all(map(is_standings, table.values))
    assert table.puts < 100 * 4


async def test_what_the_table_did_not_take_is_told_again() -> None:
    table, nodes = Table(), Nodes(3)
    async with telling(table, nodes) as told:
        table.is_away = True
        nodes.move(told, 7)
        await asyncio.sleep(0.05)
        assert table.standing() == {}
        table.is_away = False
        await until(lambda: table.standing() == {"n0": 7, "n1": 7, "n2": 7})


async def test_a_lost_answer_delays_nothing() -> None:
    table, nodes = Table(), Nodes(1)
    async with telling(table, nodes) as told:
        table.answers_lost = 1
        nodes.move(told, 1)
        await until(lambda: table.standing() == {"n0": 1})
        nodes.move(told, 2)
        await until(lambda: table.standing() == {"n0": 2})


async def test_a_node_that_went_elsewhere_is_no_longer_spoken_of() -> None:
    table, nodes = Table(), Nodes(2)
    async with telling(table, nodes) as told:
        nodes.move(told, 1)
        await until(lambda: table.standing() == {"n0": 1, "n1": 1})
        del nodes.at["n0"]
        nodes.move(told, 2)
        await until(lambda: table.standing() == {"n1": 2})
        nodes.at["n0"] = (5, Position("e", 9))
        told.moved("n0")
        await until(lambda: table.standing() == {"n1": 2, "n0": 9})
    assert Standing("n0", 5, 9) in decode_standings(next(iter(table.values.values()))).nodes


async def test_only_one_epoch_goes_into_a_message() -> None:
    table, nodes = Table(), Nodes(2)
    async with telling(table, nodes) as told:
        nodes.at = {"n0": (1, Position("old", 50)), "n1": (1, Position("new", 3))}
        told.moved("n0")
        told.moved("n1")
        await until(lambda: bool(table.values))
    (standings,) = map(decode_standings, table.values.values())
    assert (standings.epoch, [each.node_id for each in standings.nodes]) == ("new", ["n1"])
