"""Two replicas of control over a NATS cluster of three, none of them special; every part a real process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.roles import RoleFleet, RoleProcess, outcomes
from tests.servers.nats import NatsLayout, start_cluster, stop_layout, stop_node

BOTH = {"e1": "applied", "e2": "applied"}


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsLayout]:
    layout = start_cluster(tmp_path / "nats")
    yield layout
    stop_layout(layout)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RoleFleet]:
    fleet = RoleFleet(tmp_path, 'url = "store"', {})
    yield fleet
    fleet.close()


def journal_on(nats: NatsLayout) -> str:
    return f"[journal]\nservers = {list(nats.urls)}\nreplicas = {nats.replicas}\nmax_bytes = 1_000_000_000"


async def replicas(fleet: RoleFleet, nats: NatsLayout) -> tuple[RoleProcess, RoleProcess]:
    """Two replicas; e1 follows the first, e2 the second, and each knows where the other one is."""
    first = fleet.start_control(journal_on(nats))
    second = fleet.start_replica("control-2", journal_on(nats))
    urls = [each.ready["control_url"] for each in (first, second)]
    fleet.start_edge("e1", f'other_control_urls = ["{urls[1]}"]')
    fleet.start_edge("e2", f'other_control_urls = ["{urls[0]}"]', control=second)
    for process in (first, second, *fleet.edges.values()):
        await process.until_ready()
    return first, second


def followed(fleet: RoleFleet, control: RoleProcess) -> set[str]:
    """The nodes whose WebSocket this replica holds: those that it can ask for an explanation."""
    told = fleet.call("GET", "/v1/explain?url=http://blog.cdn.localhost/", control=control)["nodes"]
    return {each["node"] for each in told if each.get("failure") is None}


def node_states(fleet: RoleFleet, control: RoleProcess) -> dict[str, tuple[bool, Any]]:
    nodes = fleet.call("GET", "/v1/status", control=control)["nodes"]
    return {node["node"]: (node["connected"], node["position"]) for node in nodes}


async def test_deploys_and_purges_through_either_are_seen_by_all(fleet: RoleFleet, nats: NatsLayout) -> None:
    first, second = await replicas(fleet, nats)
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    assert followed(fleet, first) == {"e1"}
    assert followed(fleet, second) == {"e2"}
    for number, control in enumerate((first, second, first, second)):
        content = b"number %d" % number
        receipt = fleet.deploy("blog", {"/a.txt": content}, control=control)["receipt"]
        assert (receipt["complete"], outcomes(receipt)) == (True, BOTH)
        assert [fleet.visit(node, "blog", "/a.txt").content for node in BOTH] == [content, content]
        receipt = fleet.call("POST", "/v1/sites/blog/purges?wait=20", {"everything": True}, control=control)
        assert (receipt["complete"], outcomes(receipt)) == (True, BOTH)
        for asked in (first, second):
            again = fleet.call("GET", f"/v1/receipts/{receipt['position']['sequence']}?wait=5", control=asked)
            assert (again["position"], outcomes(again)) == (receipt["position"], BOTH)
        assert "; hit" not in fleet.visit("e2", "blog", "/a.txt").fields["cache-status"]
    states = [node_states(fleet, each) for each in (first, second)]
    assert states[0] == states[1]
    assert all(connected for connected, _ in states[0].values())


async def test_nothing_is_lost_when_a_control_and_a_nats_server_die(fleet: RoleFleet, nats: NatsLayout) -> None:
    first, second = await replicas(fleet, nats)
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    fleet.deploy("blog", {"/a.txt": b"0"})
    acknowledged: list[int] = []
    died = asyncio.Event()

    async def change(number: int, control: RoleProcess) -> bool:
        """Deploy a number; once it is acknowledged no node may answer with an older one. Whether it was."""
        content = b"%d" % number
        try:
            receipt = (await asyncio.to_thread(fleet.deploy, "blog", {"/a.txt": content}, control=control))["receipt"]
        except (AssertionError, OSError):
            assert died.is_set(), "refused although everything runs"
            return False
        if receipt["complete"] and set(outcomes(receipt).values()) == {"applied"}:
            for node in BOTH:
                assert (await asyncio.to_thread(fleet.visit, node, "blog", "/a.txt")).content == content
        acknowledged.append(receipt["position"]["sequence"])
        return True

    for number in range(1, 5):
        assert await change(number, (first, second)[number % 2])
    died.set()
    first.end(signal.SIGKILL)
    stop_node(nats.nodes[0].pid)
    number = 5
    async with asyncio.timeout(60):
        while not await change(number, second):
            number += 1
        while followed(fleet, second) != {"e1", "e2"}:
            await asyncio.sleep(0.1)
    last = fleet.deploy("blog", {"/a.txt": b"last"}, control=second)["receipt"]
    assert (last["complete"], outcomes(last)) == (True, BOTH)
    assert [fleet.visit(node, "blog", "/a.txt").content for node in BOTH] == [b"last", b"last"]
    first.start()
    await first.until_ready()
    for sequence in acknowledged:
        receipts = [fleet.call("GET", f"/v1/receipts/{sequence}?wait=20", control=each) for each in (first, second)]
        assert [outcomes(each) for each in receipts] == [BOTH, BOTH]
    assert [process.end(signal.SIGTERM) for process in (first, second)] == [0, 0]
