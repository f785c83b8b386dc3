"""States of nodes as the directory sees them: what nodes report, what time alone does, and what status says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.control.node_directory import NodeDirectory
from cdn.fleet.condition import DEFAULT_CONDITION_SETTINGS
from cdn.fleet.lease import LEASE_MARGIN_S
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position

LEASE_S = 10.0
SETTINGS = DEFAULT_CONDITION_SETTINGS


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def directory(tmp_path: Path, clock: Clock) -> AsyncIterator[NodeDirectory]:
    opened = await NodeDirectory.open(tmp_path / "nodes.db", clock=clock)
    opened.journal_reached(at(10))
    yield opened
    await opened.aclose()


def at(sequence: int, epoch: str = "e") -> Position:
    return Position(epoch, sequence)


async def connect(directory: NodeDirectory, node_id: str, position: Position | None, *, version: int = 1) -> None:
    await directory.connected(node_id, NodeFacts("0.1"), position, lease_s=LEASE_S, record_version=version)


def beat(directory: NodeDirectory, *node_ids: str) -> None:
    for node_id in node_ids:
        directory.heartbeat_answered(node_id, {})


def shown(directory: NodeDirectory, node_id: str = "a") -> str:
    condition = directory.condition(node_id)
    return f"{condition.state.value} {condition.reason.value}"


async def test_a_node_joins_serves_lags_and_serves_again(directory: NodeDirectory, clock: Clock) -> None:
    await connect(directory, "a", at(3))
    assert shown(directory) == "joining new"
    beat(directory, "a")
    assert shown(directory) == "serving current", "ten records were there a moment ago, none is old yet"
    directory.applied("a", at(10))
    clock.now += 1
    directory.journal_reached(at(11))
    for _ in range(4):
        clock.now += SETTINGS.lagging_after_s / 4
        beat(directory, "a")
    assert shown(directory) == "lagging behind"
    assert directory.lag_s("a") == SETTINGS.lagging_after_s
    directory.applied("a", at(11))
    assert (shown(directory), directory.lag_s("a")) == ("lagging steadying", 0.0)
    clock.now += SETTINGS.steady_s
    assert shown(directory) == "serving current"
    assert directory.condition("a").since == clock.now


async def test_lag_that_nobody_looked_at_counts_when_it_is_over(directory: NodeDirectory, clock: Clock) -> None:
    await connect(directory, "a", at(10))
    beat(directory, "a")
    directory.journal_reached(at(11))
    clock.now += SETTINGS.lagging_after_s
    directory.applied("a", at(11))
    assert shown(directory) == "lagging steadying"


async def test_acknowledgements_of_a_node_that_serves_cost_no_look(
    directory: NodeDirectory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connect(directory, "a", at(10))
    beat(directory, "a")
    looked: list[float] = []
    monkeypatch.setattr("cdn.control.node_conditions.next_condition", lambda *arguments: looked.append(clock.now))
    for sequence in range(11, 200):
        directory.journal_reached(at(sequence))
        clock.now += 0.01
        directory.applied("a", at(sequence))
    assert looked == []


async def test_a_node_that_is_cut_off_detaches_and_proves_itself_when_it_returns(
    directory: NodeDirectory, clock: Clock
) -> None:
    await connect(directory, "a", at(10))
    beat(directory, "a")
    cut_at = clock.now
    directory.disconnected("a")
    assert shown(directory) == "serving away"
    clock.now += 100
    assert shown(directory) == "detached disconnected"
    assert directory.condition("a").since == cut_at + LEASE_S + LEASE_MARGIN_S
    await connect(directory, "a", at(10))
    assert shown(directory) == "joining returning"
    beat(directory, "a")
    clock.now += SETTINGS.steady_s
    beat(directory, "a")
    assert shown(directory) == "serving current"


async def test_a_silent_connection_detaches_too(directory: NodeDirectory, clock: Clock) -> None:
    await connect(directory, "a", at(10))
    beat(directory, "a")
    clock.now += LEASE_S + LEASE_MARGIN_S
    assert shown(directory) == "detached silent"


async def test_a_node_drains_leaves_and_comes_as_if_new(directory: NodeDirectory, clock: Clock) -> None:
    await connect(directory, "a", at(10))
    beat(directory, "a")
    directory.heartbeat_answered("a", {}, is_draining=True)
    assert shown(directory) == "draining asked"
    directory.left("a")
    assert shown(directory) == "gone left"
    await connect(directory, "a", at(10))
    beat(directory, "a")
    assert shown(directory) == "serving current"


async def test_a_node_that_met_an_unknown_record_lags(directory: NodeDirectory) -> None:
    await connect(directory, "a", at(10))
    beat(directory, "a")
    directory.stopped("a", "record 11 is of version 9")
    assert shown(directory) == "lagging stopped"


async def test_another_epoch_is_lag(directory: NodeDirectory, clock: Clock) -> None:
    await connect(directory, "a", at(10))
    beat(directory, "a")
    directory.journal_reached(at(1, "new"))
    clock.now += SETTINGS.lagging_after_s
    assert shown(directory) == "lagging other-epoch"


async def test_after_a_restart_nodes_serve_until_their_leases_are_surely_over(tmp_path: Path, clock: Clock) -> None:
    before = await NodeDirectory.open(tmp_path / "n.db", clock=clock)
    for node_id in ("a", "b"):
        await connect(before, node_id, at(10))
    await before.aclose()
    after = await NodeDirectory.open(tmp_path / "n.db", clock=clock)
    assert shown(after) == "serving remembered"
    after.journal_reached(at(10))
    await connect(after, "a", at(10))
    beat(after, "a")
    clock.now += LEASE_S
    beat(after, "a")
    clock.now += LEASE_MARGIN_S
    assert [shown(after, node_id) for node_id in ("a", "b")] == ["serving current", "detached disconnected"]
    await after.aclose()


async def test_a_node_that_is_gone_holds_no_record_version_back(directory: NodeDirectory, clock: Clock) -> None:
    await connect(directory, "a", at(10), version=3)
    await connect(directory, "old", at(10), version=1)
    beat(directory, "a", "old")
    directory.disconnected("old")
    assert directory.record_version() == 1
    clock.now += SETTINGS.gone_after_s - 1
    beat(directory, "a")
    assert directory.record_version() == 1
    clock.now += 1
    assert (shown(directory, "old"), directory.record_version()) == ("gone long-away", 3)
