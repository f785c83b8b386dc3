"""How often nodes acknowledge: at once in a small fleet, in steps in a large one, and never less than the last word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cdn.control.follow_connection import FollowConnection
from cdn.control.hub import APPLIED_PER_S, FollowHub
from cdn.fleet.receipt import NodeOutcome
from cdn.journal import follow_session
from cdn.journal.wire import Applied, FromNode
from tests.journal.ledger import purge
from tests.journal.plane import PATIENCE_S, Plane, node, plane


@pytest.fixture
def acknowledged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sequences of all acknowledgements that control hears."""
    heard: list[int] = []
    heed = FollowConnection._heed

    async def noted(self: FollowConnection, message: FromNode) -> None:
        if isinstance(message, Applied):
            heard.append(message.position.sequence)
        await heed(self, message)

    monkeypatch.setattr(FollowConnection, "_heed", noted)
    return heard


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.002)


async def one_by_one(control: Plane, count: int) -> None:
    for number in range(count):
        await control.append(purge(f"/{number}"))
        await asyncio.sleep(0)


async def test_a_small_fleet_acknowledges_at_once(tmp_path: Path, acknowledged: list[int]) -> None:
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        await control.complete(edge)
        for number in range(10):
            await control.append(purge(f"/{number}"))
            await control.complete(edge)
        assert len(acknowledged) >= 10


async def test_a_large_fleet_acknowledges_in_steps_and_the_last_word_counts(
    tmp_path: Path, acknowledged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FollowHub, "applied_every_s", 0.5)
    monkeypatch.setattr(follow_session, "MAX_APPLIED_AT_ONCE", 1)
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        await control.complete(edge)
        session = edge.follower._session
        assert session is not None
        await until(lambda: session._applied_every_s == 0.5)
        acknowledged.clear()
        async with asyncio.timeout(PATIENCE_S):
            await one_by_one(control, 60)
            receipt = await control.complete(edge)
        assert receipt.nodes[0].outcome is NodeOutcome.APPLIED
        assert acknowledged[-1] == receipt.position.sequence
        assert len(acknowledged) < 60, "one stands for many"
        assert acknowledged == sorted(acknowledged)


async def test_after_a_pause_the_first_goes_at_once(
    tmp_path: Path, acknowledged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    an_hour_s = 3600.0
    monkeypatch.setattr(follow_session, "LONGEST_APPLIED_EVERY_S", an_hour_s)
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        await control.complete(edge)
        monkeypatch.setattr(FollowHub, "applied_every_s", an_hour_s)
        session = edge.follower._session
        assert session is not None
        await until(lambda: session._applied_every_s == an_hour_s)
        acknowledged.clear()
        first = await control.append(purge("/1"))
        await until(lambda: acknowledged == [first.sequence])
        second = await control.append(purge("/2"))
        await until(lambda: edge.follower.position == second.position)
        assert acknowledged == [first.sequence], "the second waits for its time"


@pytest.mark.parametrize(("said", "kept"), [(-1.0, 0.0), (1e9, follow_session.LONGEST_APPLIED_EVERY_S)])
async def test_what_control_asks_for_is_taken_within_bounds(
    tmp_path: Path, said: float, kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FollowHub, "applied_every_s", said)
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        await control.complete(edge)
        session = edge.follower._session
        assert session is not None
        await until(lambda: session._follower.lease.sent_at is not None)
        assert session._applied_every_s == kept
        await control.append(purge("/"))
        assert (await control.complete(edge)).is_complete


async def test_control_asks_for_fewer_the_more_nodes_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with plane(tmp_path) as control:
        hub = control.hub

        def asked(nodes: int) -> float:
            monkeypatch.setattr(hub, "_by_node", dict.fromkeys(range(nodes)))
            return hub.applied_every_s

        assert [asked(nodes) for nodes in (0, 1, 50, 99)] == [0.0] * 4
        for nodes in (100, 1_000, 4_000):
            assert nodes / asked(nodes) == pytest.approx(APPLIED_PER_S)
        asked(0)
