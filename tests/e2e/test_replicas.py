"""Two replicas of control over a NATS cluster of three, none of them special; every part a real process."""

from __future__ import annotations

import asyncio
import hashlib
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


def followed(control: RoleProcess) -> float:
    """How many nodes hold a WebSocket to this replica."""
    return control.metrics()["cdn_control_connections"]


def explained(fleet: RoleFleet, control: RoleProcess) -> dict[str, Any]:
    """What each node explains of one URL, or why it does not."""
    told = fleet.call("GET", "/v1/explain?url=http://blog.cdn.localhost/a.txt", control=control)["nodes"]
    return {each["node"]: each["failure"] or each["result"]["site"] for each in told}


def node_states(fleet: RoleFleet, control: RoleProcess) -> dict[str, tuple[bool, Any]]:
    nodes = fleet.call("GET", "/v1/status", control=control)["nodes"]
    return {node["node"]: (node["connected"], node["position"]) for node in nodes}


async def test_deploys_and_purges_through_either_are_seen_by_all(fleet: RoleFleet, nats: NatsLayout) -> None:
    first, second = await replicas(fleet, nats)
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    assert [followed(each) for each in (first, second)] == [1, 1]
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
    for asked in (first, second):
        assert explained(fleet, asked) == {"e1": "blog", "e2": "blog"}, "whoever it follows"
        shown = fleet.call("GET", "/v1/status", control=asked)["nodes"]
        assert {node["node"] for node in shown if node["counters"]} == set(BOTH)
    states = [node_states(fleet, each) for each in (first, second)]
    assert states[0] == states[1]
    assert all(connected for connected, _ in states[0].values())


async def test_another_replica_goes_on_with_an_upload(fleet: RoleFleet, nats: NatsLayout) -> None:
    first, second = await replicas(fleet, nats)
    fleet.call("POST", "/v1/sites", {"name": "blog"}, control=first)
    content = b"opened at the second, uploaded at the first"
    digest = hashlib.sha256(content).hexdigest()
    wanted = {"blobs": {digest: len(content)}}
    upload = fleet.call("POST", "/v1/sites/blog/uploads", wanted, control=second)
    assert upload["missing"] == [digest]
    fleet.call("PUT", f"/v1/sites/blog/uploads/{upload['id']}/blobs/{digest}", content, control=first)
    for control in (first, second):
        assert fleet.call("POST", "/v1/sites/blog/uploads", wanted, control=control)["missing"] == []


@pytest.mark.soak
async def test_a_replica_that_hangs_is_left_and_no_receipt_counts_on_it(fleet: RoleFleet, nats: NatsLayout) -> None:
    first, second = await replicas(fleet, nats)
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    fleet.deploy("blog", {"/a.txt": b"old"})
    assert [fleet.visit(node, "blog", "/a.txt").content for node in BOTH] == [b"old", b"old"]
    first.send(signal.SIGSTOP)
    try:
        deployed = await asyncio.to_thread(fleet.deploy, "blog", {"/a.txt": b"new"}, control=second)
        before = outcomes(deployed["receipt"])
        assert before["e2"] == "applied"
        assert fleet.visit("e2", "blog", "/a.txt").content == b"new"
        if before["e1"] == "applied":
            assert fleet.visit("e1", "blog", "/a.txt").content == b"new"
        path = f"/v1/receipts/{deployed['receipt']['position']['sequence']}?wait=5"
        async with asyncio.timeout(40):
            while outcomes(await asyncio.to_thread(fleet.call, "GET", path, control=second)) != BOTH:
                await asyncio.sleep(0.1)
        assert fleet.visit("e1", "blog", "/a.txt").content == b"new"
    finally:
        first.send(signal.SIGCONT)
    last = fleet.deploy("blog", {"/a.txt": b"last"}, control=first)["receipt"]
    assert (last["complete"], outcomes(last)) == (True, BOTH)
    assert followed(second) == 2


async def test_nothing_is_lost_when_a_control_and_a_nats_server_die(fleet: RoleFleet, nats: NatsLayout) -> None:
    """While two users deploy and purge without pause, one at each replica, until the first one's dies."""
    first, second = await replicas(fleet, nats)
    sites = {"blog": first, "shop": second}
    for site in sites:
        fleet.call("POST", "/v1/sites", {"name": site})
    acknowledged: list[int] = []
    done: dict[str, int] = dict.fromkeys(sites, 0)
    killed, stopping = asyncio.Event(), asyncio.Event()

    async def change(site: str, number: int, control: RoleProcess) -> bool:
        """Deploy a number and purge; once that is acknowledged no node may answer with an older one."""
        content = b"%d" % number
        try:
            deployed = await asyncio.to_thread(fleet.deploy, site, {"/a.txt": content}, control=control)
            purged = await asyncio.to_thread(
                fleet.call, "POST", f"/v1/sites/{site}/purges?wait=20", {"everything": True}, control=control
            )
        except (AssertionError, OSError):
            assert killed.is_set(), "refused although everything runs"
            return False
        for receipt in (deployed["receipt"], purged):
            acknowledged.append(receipt["position"]["sequence"])
            if receipt["complete"] and "excused" not in outcomes(receipt).values():
                for node in BOTH:
                    assert (await asyncio.to_thread(fleet.visit, node, site, "/a.txt")).content == content
        return True

    async def user(site: str) -> None:
        number, control = 0, sites[site]
        while not stopping.is_set():
            number += 1
            if await change(site, number, control):
                done[site] += 1
            else:
                control = second

    async def until_done(more: int) -> None:
        goal = {site: count + more for site, count in done.items()}
        while any(done[site] < goal[site] for site in sites):
            assert not any(each.done() for each in users), [each.exception() for each in users if each.done()]
            await asyncio.sleep(0.05)

    users = [asyncio.create_task(user(site)) for site in sites]
    async with asyncio.timeout(90):
        await until_done(3)
        killed.set()
        first.end(signal.SIGKILL)
        stop_node(nats.nodes[0].pid)
        await until_done(3)
        while explained(fleet, second) != {"e1": "blog", "e2": "blog"}:
            await asyncio.sleep(0.1)
        stopping.set()
        await asyncio.gather(*users)
    for site in sites:
        last = fleet.deploy(site, {"/a.txt": b"last"}, control=second)["receipt"]
        assert (last["complete"], outcomes(last)) == (True, BOTH)
        assert [fleet.visit(node, site, "/a.txt").content for node in BOTH] == [b"last", b"last"]
    first.start()
    await first.until_ready()
    for sequence in acknowledged:
        receipts = [fleet.call("GET", f"/v1/receipts/{sequence}?wait=20", control=each) for each in (first, second)]
        assert [outcomes(each) for each in receipts] == [BOTH, BOTH]
    assert [process.end(signal.SIGTERM) for process in (first, second)] == [0, 0]
