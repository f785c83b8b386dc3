"""The view that DNS goes by: fed on change, with the share each node would have (DESIGN I16)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cdn.control.fleet_watch import FleetWatch, ShownFleet
from cdn.control.node_directory import NodeDirectory
from cdn.fleet.condition import DEFAULT_CONDITION_SETTINGS, NodeState
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.fleet.view import FREEZE_AFTER_S, THAW_AFTER_S
from cdn.fleet.withdrawal import MAX_WITHDRAWN_SHARE, RAMP_FLOOR, RAMP_S, ShareReason
from tests.control.control_room import Control, ControlMaker

LEASE_S = 10.0
LAGGING_S = DEFAULT_CONDITION_SETTINGS.lagging_after_s
STEADY_S = DEFAULT_CONDITION_SETTINGS.steady_s


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Directory(NodeDirectory):
    """One that can be deaf."""

    deaf_since: float | None = None

    def heard_at(self) -> float:
        return super().heard_at() if self.deaf_since is None else self.deaf_since


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def directory(tmp_path: Path, clock: Clock) -> AsyncIterator[Directory]:
    opened = await Directory.open(tmp_path / "nodes.db", clock=clock)
    assert isinstance(opened, Directory)
    opened.journal_reached(at(10))
    yield opened
    await opened.aclose()


def at(sequence: int) -> Position:
    return Position("e", sequence)


async def comes(directory: NodeDirectory, node_id: str, region: str = "eu", *, weight: int = 100) -> None:
    facts = NodeFacts("0.1", region, ("127.0.0.1:8080",), weight, ("192.0.2.1",))
    await directory.connected(node_id, facts, at(10), lease_s=LEASE_S, record_version=1)
    directory.heartbeat_answered(node_id, {})


def passes(directory: NodeDirectory, clock: Clock, seconds: float, *node_ids: str) -> None:
    """Time goes by with these nodes heard, and what is looked at looked at, twice a second."""
    for _ in range(round(seconds * 2)):
        clock.now += 0.5
        for node_id in node_ids:
            directory.heartbeat_answered(node_id, {})
            directory.condition(node_id)


def shares(shown: ShownFleet) -> dict[str, tuple[float, str]]:
    return {each.node_id: (round(each.share.fraction, 3), each.share.reason.value) for each in shown.nodes}


def parts(shown: ShownFleet) -> dict[str, float]:
    return {each.node_id: round(each.part, 3) for each in shown.nodes}


async def test_visitors_go_by_weight_and_region(directory: Directory, clock: Clock) -> None:
    await comes(directory, "a")
    await comes(directory, "b", weight=300)
    await comes(directory, "c", weight=0)
    await comes(directory, "d", "us", weight=1)
    shown = FleetWatch(directory, clock).look()
    assert parts(shown) == {"a": 0.25, "b": 0.75, "c": 0.0, "d": 1.0}
    assert shares(shown)["c"] == (0.0, "unweighted")


async def test_a_region_without_any_weight_gets_nobody(directory: Directory, clock: Clock) -> None:
    await comes(directory, "a", weight=0)
    assert parts(FleetWatch(directory, clock).look()) == {"a": 0.0}


async def test_lag_takes_a_third_and_comes_back_over_a_minute(directory: Directory, clock: Clock) -> None:
    for node_id in "abc":
        await comes(directory, node_id)
    watch = FleetWatch(directory, clock)
    assert set(shares(watch.look()).values()) == {(1.0, "full")}
    directory.journal_reached(at(11))
    directory.applied("a", at(11))
    passes(directory, clock, LAGGING_S + 0.5, "a", "b", "c")
    lagging = watch.look()
    assert [each.member.state for each in lagging.nodes] == [NodeState.SERVING, NodeState.LAGGING, NodeState.LAGGING]
    out = 3 - sum(each.share.fraction for each in lagging.nodes)
    assert out == pytest.approx(3 * MAX_WITHDRAWN_SHARE)
    for node_id in "bc":
        directory.applied(node_id, at(11))
    passes(directory, clock, STEADY_S, "a", "b", "c")
    watch.look()
    assert shares(watch.shown)["b"] == (RAMP_FLOOR, "ramping")
    passes(directory, clock, RAMP_S / 2, "a", "b", "c")
    assert shares(watch.look())["b"] == (round(RAMP_FLOOR + 0.5, 3), "ramping")
    passes(directory, clock, RAMP_S / 2, "a", "b", "c")
    assert set(shares(watch.look()).values()) == {(1.0, "full")}


async def test_below_half_healthy_lag_is_ignored(directory: Directory, clock: Clock) -> None:
    for node_id in "abc":
        await comes(directory, node_id)
    for node_id in "ab":
        directory.heartbeat_answered(node_id, {}, is_draining=True)
    directory.journal_reached(at(11))
    passes(directory, clock, LAGGING_S + 0.5, "c")
    for node_id in "ab":
        directory.heartbeat_answered(node_id, {}, is_draining=True)
    shown = shares(FleetWatch(directory, clock).look())
    assert shown == {"a": (0.0, "out"), "b": (0.0, "out"), "c": (1.0, "lag-ignored")}


async def test_a_number_rises_with_every_change_and_with_nothing_else(directory: Directory, clock: Clock) -> None:
    await comes(directory, "a")
    await comes(directory, "b")
    watch = FleetWatch(directory, clock)
    number = watch.look().number
    passes(directory, clock, 2, "a", "b")
    directory.journal_reached(at(11))
    for node_id in "ab":
        directory.applied(node_id, at(11))
    assert watch.look().number == number, "a fleet that serves is the same whatever it applies"
    directory.heartbeat_answered("a", {}, is_draining=True)
    assert watch.look().number == number + 1
    await comes(directory, "c")
    assert watch.look().number == number + 2
    await directory.connected("b", NodeFacts("0.2", "eu", weight=7), at(11), lease_s=LEASE_S, record_version=1)
    assert watch.look().number == number + 3


async def test_without_the_journals_word_what_is_known_stays(directory: Directory, clock: Clock) -> None:
    for node_id in "abc":
        await comes(directory, node_id)
    watch = FleetWatch(directory, clock)
    before = watch.look()
    directory.deaf_since = clock.now
    clock.now += FREEZE_AFTER_S
    frozen = watch.look()
    assert (frozen.view.is_frozen, frozen.number) == (True, before.number + 1)
    for node_id in "abc":
        directory.disconnected(node_id)
    clock.now += 100
    await comes(directory, "d")
    assert watch.look().number == frozen.number
    assert [each.member.state for each in watch.shown.nodes] == [NodeState.SERVING] * 3
    assert shares(watch.shown) == shares(before)
    directory.deaf_since = None
    for node_id in "abc":
        await comes(directory, node_id)
    assert watch.look().view.is_frozen, "it counts once it has been back for a while"
    passes(directory, clock, THAW_AFTER_S + STEADY_S, "a", "b", "c", "d")
    assert not watch.look().view.is_frozen
    assert [each.node_id for each in watch.shown.nodes] == ["a", "b", "c", "d"]


async def test_a_change_is_seen_without_anybody_asking(
    directory: Directory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.control.fleet_watch.LOOK_EVERY_S", 3600.0)  # only changes make it look
    await comes(directory, "a")
    watch = FleetWatch(directory, clock)
    watch.start()
    try:
        async with asyncio.timeout(30):
            await watch.wait_beyond(0, 30.0)
            number = watch.shown.number
            waiting = asyncio.create_task(watch.wait_beyond(number, 30.0))
            await asyncio.sleep(0)
            directory.heartbeat_answered("a", {}, is_draining=True)
            shown = await waiting
        assert shown.number > number
        assert shown.nodes[0].share.reason is ShareReason.OUT
        assert (await watch.wait_beyond(shown.number, 0.01)).number == shown.number
    finally:
        await watch.aclose()


async def test_those_who_wait_are_bounded(directory: Directory, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.control.fleet_watch.MAX_WAITS", 1)
    watch = FleetWatch(directory, clock)
    first = asyncio.create_task(watch.wait_beyond(99, 30.0))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert (await watch.wait_beyond(99, 60.0)).number == 0, "answered at once with what there is"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


# Over the API.


@pytest.fixture
async def control(make_control: ControlMaker) -> Control:
    return await make_control()


async def test_the_view_over_the_api(control: Control) -> None:
    end = control.plane.state.position
    for node_id, weight in (("a", 100), ("b", 300)):
        facts = NodeFacts("0.1", "eu", ("127.0.0.1:8080",), weight, ("192.0.2.1", "2001:db8::1"))
        await control.directory.connected(node_id, facts, end, lease_s=LEASE_S, record_version=1)
        control.directory.heartbeat_answered(node_id, {})
    view = (await control.api.get("/v1/fleet/view")).document
    assert not view["frozen"]
    assert view["nodes"][1] == {
        "node": "b",
        "region": "eu",
        "addresses": ["192.0.2.1", "2001:db8::1"],
        "weight": 300,
        "state": "serving",
        "reason": "current",
        "lag_s": 0.0,
        "share": view["nodes"][1]["share"],
        "share_reason": view["nodes"][1]["share_reason"],
        "region_part": view["nodes"][1]["region_part"],
        "location": None,
        "bias": 0,
        "load": 0.0,
    }
    waiting = asyncio.create_task(control.api.get(f"/v1/fleet/view?beyond={view['number'] + 100}&wait=0.2"))
    assert (await waiting).status == 200
    number = (await control.api.get("/v1/fleet/view")).document["number"]
    waiting = asyncio.create_task(control.api.get(f"/v1/fleet/view?beyond={number}&wait=30"))
    control.directory.left("a")
    changed = (await waiting).document
    assert changed["number"] > number, "what came first may be a share that rises"
    (first, _) = (await control.api.get("/v1/status")).document["nodes"]
    assert (first["state"], first["share"], first["share_reason"], first["region_part"]) == ("gone", 0.0, "out", 0.0)


@pytest.mark.parametrize("query", ["beyond=x", "beyond=-1", "beyond=", "wait=x", "beyond=1&beyond=2", "other=1"])
async def test_views_that_cannot_be_asked_for(control: Control, query: str) -> None:
    assert (await control.api.get(f"/v1/fleet/view?{query}")).status == 400


async def test_status_says_what_nodes_without_control_do(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    await control.api.post("/v1/sites", {"name": "shop", "settings": {"on_detach": "validate"}})
    status: Any = (await control.api.get("/v1/status")).document
    assert status["on_detach"] == {"serve": 1, "validate": 1}
    reader = await control.api.token_for("read:shop")
    assert (await reader.get("/v1/status")).document["on_detach"] == {"serve": 0, "validate": 1}
