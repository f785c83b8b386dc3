"""Several nodes: receipts while lines break, stores fail, nodes stop and control restarts (DESIGN I4, I8, I9)."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cdn.fleet.lease import LEASE_MARGIN_S
from cdn.journal.follower import Follower
from cdn.journal.record import Record
from tests.e2e.acknowledged import Shown, SiteAcknowledged
from tests.e2e.fleet import Answer, Fleet, outcomes
from tests.e2e.watched_store import WatchedStore

HOST = "one.cdn.localhost"
FILES = {"/index.html": b"first", "/kept.txt": b"kept"}
NODES = ("n1", "n2", "n3")
PATIENCE_S = 20.0
"""For what has to happen soon, on a machine that does other things."""


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Three nodes with a deployed site, all warm."""
    fleet = await Fleet(tmp_path).start()
    stores = {node_id: WatchedStore(tmp_path / "store") for node_id in NODES}
    for node_id, store in stores.items():
        await fleet.add(node_id, store)
    await fleet.create_site("one", prepare_timeout_s=0.3)
    assert outcomes((await fleet.deploy("one", FILES))["receipt"]) == dict.fromkeys(NODES, "applied")
    await warm(fleet)
    yield fleet
    await fleet.aclose()
    for store in stores.values():
        await store.aclose()


async def warm(fleet: Fleet) -> None:
    for node_id in fleet.nodes:
        for target in FILES:
            await fleet.visit(node_id, HOST, target)
            assert (await fleet.visit(node_id, HOST, target)).is_hit


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def until_complete(fleet: Fleet, receipt: Any, node_id: str) -> Any:
    """Look at the receipt until it is complete: the node is pending as long as it has its lease."""
    follower = fleet.nodes[node_id].edge.follower
    async with asyncio.timeout(PATIENCE_S):
        while True:
            had_lease = follower.has_lease()
            found = await fleet.receipt(receipt)
            if found["complete"]:
                assert outcomes(found)[node_id] == "applied" or not follower.has_lease(), "complete during the lease"
                return found
            assert outcomes(found)[node_id] == "pending" or not had_lease, found


@pytest.mark.parametrize("fault", ["cut", "silence"])
async def test_a_node_without_a_line_is_pending_until_its_lease_is_over(fleet: Fleet, fault: str) -> None:
    line = fleet.nodes["n3"].line
    getattr(line, fault)()
    receipt = await fleet.purge("one", wait_s=0, everything=True)
    complete = await until_complete(fleet, receipt, "n3")
    follower = fleet.nodes["n3"].edge.follower
    assert outcomes(complete)["n3"] == "excused"
    assert follower.lease_left_s() <= -LEASE_MARGIN_S, "excused before its lease was surely over"
    await until_applied(fleet, receipt, {"n1", "n2"})
    # Excused: it goes on serving what it has, and says that it is on its own.
    alone = await fleet.visit("n3", HOST, "/kept.txt", CDN_Debug="1")
    assert "detached" in alone.cache_status, alone
    for node_id in ("n1", "n2"):
        assert not (await fleet.visit(node_id, HOST, "/kept.txt")).is_hit

    line.mend()
    async with asyncio.timeout(PATIENCE_S):
        while outcomes(found := await fleet.receipt(receipt, wait_s=1))["n3"] != "applied":
            pass
    assert found["complete"]
    assert not (await fleet.visit("n3", HOST, "/kept.txt")).is_hit


async def test_a_node_that_returns_is_not_attached_before_it_has_caught_up(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fleet.nodes["n2"]
    follower = node.edge.follower
    node.line.cut()
    await until(lambda: not follower.has_lease())
    receipt = await fleet.purge("one", wait_s=0, everything=True)
    await fleet.deploy("one", {**FILES, "/index.html": b"second"}, wait_s=0)
    gate = asyncio.Event()
    apply = follower.replica.apply

    async def apply_later(records: Sequence[Record]) -> None:
        await gate.wait()
        await apply(records)

    monkeypatch.setattr(follower.replica, "apply", apply_later)
    node.line.mend()
    for _ in range(5):  # heartbeats are answered again, and give no lease
        before = answered_at(fleet, "n2")
        await until(lambda before=before: answered_at(fleet, "n2") != before)  # type: ignore[misc]
        assert not follower.has_lease()
    assert "detached" in (await fleet.visit("n2", HOST, "/", CDN_Debug="1")).cache_status
    assert outcomes(await fleet.receipt(receipt))["n2"] != "applied"
    gate.set()
    await until(follower.has_lease)
    assert outcomes(await fleet.receipt(receipt))["n2"] == "applied"
    answer = await fleet.visit("n2", HOST, "/", CDN_Debug="1")
    assert (answer.content, "detached" in answer.cache_status) == (b"second", False)
    assert not (await fleet.visit("n2", HOST, "/kept.txt")).is_hit


def answered_at(fleet: Fleet, node_id: str) -> float | None:
    (view,) = [node for node in fleet.plane.services.directory.nodes() if node.node_id == node_id]
    answered: float | None = view.answered_at
    return answered


async def test_no_stale_answer_follows_a_complete_receipt(fleet: Fleet) -> None:
    """Random purges and deploys while lines break and mend and visitors never stop."""
    seed = int(os.environ.get("CDN_FLEET_SEED") or secrets.randbits(32))
    print(f"replay with CDN_FLEET_SEED={seed}")
    await no_stale_answer(fleet, random.Random(seed), rounds=8)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_no_stale_answer_follows_a_complete_receipt_for_long(fleet: Fleet) -> None:
    seed = int(os.environ.get("CDN_FLEET_SEED") or secrets.randbits(32))
    print(f"replay with CDN_FLEET_SEED={seed}")
    await no_stale_answer(fleet, random.Random(seed), rounds=600)


class Lapses:
    """When a node was without its lease, as the node itself saw it."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._last_ended_at = float("-inf")
        self._renew = follower.renewed
        follower.renewed = self._note  # type: ignore[method-assign]

    def was_one_since(self, at: float) -> bool:
        """Whether the node had no lease at any moment from `at` (its monotonic time) until now."""
        return not self._follower.has_lease() or self._last_ended_at >= at

    def _note(self, sent_at: float, lease_s: float) -> None:
        if not self._follower.has_lease():
            self._last_ended_at = self._follower.clock()
        self._renew(sent_at, lease_s)


async def no_stale_answer(fleet: Fleet, rng: random.Random, rounds: int) -> None:
    is_over = asyncio.Event()
    lapses = {node_id: Lapses(node.edge.follower) for node_id, node in fleet.nodes.items()}
    known = SiteAcknowledged("one", is_pull=False)
    visitors = [
        asyncio.create_task(keep_visiting(fleet, node_id, known, lapses[node_id], is_over))
        for node_id in NODES
        for _ in range(2)
    ]
    content = b"first"
    try:
        for _ in range(rounds):
            node_id = rng.choice(NODES)
            fault = rng.choice((None, None, "cut", "silence"))
            if fault is not None:
                getattr(fleet.nodes[node_id].line, fault)()
            asked_at = fleet.nodes[node_id].edge.follower.clock()
            if rng.random() < 0.3:
                number = known.attempt()
                content = b"round %d" % number
                receipt = (await fleet.deploy("one", {**FILES, "/index.html": content}, wait_s=20))["receipt"]
                purged_at = None
                known.acknowledge(number, receipt, asked_at)
            else:
                what = rng.choice(({"everything": True}, {"urls": ["/kept.txt"]}, {"prefixes": ["/k"]}))
                purged_at = asyncio.get_running_loop().time()
                receipt = await fleet.purge("one", wait_s=20, **what)
            assert receipt["complete"], receipt
            for other, outcome in outcomes(receipt).items():
                if outcome == "applied":
                    await check_current(fleet, other, content, purged_at)
                else:
                    # On a slow machine the lease of a node that nobody cut off may lapse as well: then it is listed,
                    # and only then.
                    assert outcome == "excused", (other, receipt)
                    assert lapses[other].was_one_since(asked_at), f"{other} is excused and never lost its lease"
            if fault is not None:
                fleet.nodes[node_id].line.mend()
                if rng.random() < 0.7:
                    await until(fleet.nodes[node_id].edge.follower.has_lease)
    finally:
        is_over.set()
        await asyncio.gather(*visitors)


async def check_current(fleet: Fleet, node_id: str, content: bytes, purged_at: float | None) -> None:
    """The node shows the last deploy, and nothing that it fetched before the purge."""
    home = await fleet.visit(node_id, HOST)
    assert home.content == content, f"{node_id} has applied the deploy and shows {home}"
    if purged_at is None:
        return
    kept = await fleet.visit(node_id, HOST, "/kept.txt")
    store = fleet.nodes[node_id].store
    assert isinstance(store, WatchedStore)
    fetched = [each for each in store.asked if each.at > purged_at and each.stop == len(FILES["/kept.txt"])]
    assert fetched, f"{node_id} has applied the purge and answers without a fetch since: {kept}"


async def keep_visiting(
    fleet: Fleet, node_id: str, known: SiteAcknowledged, lapses: Lapses, is_over: asyncio.Event
) -> None:
    """No answer is older than what was acknowledged before it was asked for.

    Except for what a receipt excused the node from, and only when the node was without its lease meanwhile.
    """
    follower = fleet.nodes[node_id].edge.follower
    while not is_over.is_set():
        began = follower.clock()
        due = known.due(node_id, began)
        home = await fleet.visit(node_id, HOST)
        assert home.status == 200
        number = 0 if home.content == FILES["/index.html"] else int(home.content.removeprefix(b"round "))
        known.judge(due, Shown(node_id, number, lapses.was_one_since(began), home.cache_status))
        assert (await fleet.visit(node_id, HOST, "/kept.txt")).content == FILES["/kept.txt"]
        await asyncio.sleep(0.002)


async def test_a_node_that_cannot_load_the_manifest_fails_that_site_alone(fleet: Fleet) -> None:
    await fleet.create_site("two")
    await fleet.deploy("two", {"/index.html": b"two"})
    broken = fleet.nodes["n2"].store
    assert isinstance(broken, WatchedStore)
    broken.hides_manifests = True
    done = await fleet.deploy("one", {**FILES, "/index.html": b"second"})
    assert done["receipt"]["complete"]
    assert outcomes(done["receipt"])["n2"] == "applied"
    assert [each["node"] for each in done["unprepared"]] == ["n2"]
    assert "manifest" in done["unprepared"][0]["reason"]
    for node_id in ("n1", "n3"):
        assert (await fleet.visit(node_id, HOST)).content == b"second"
    refused = await fleet.visit("n2", HOST)
    assert refused.status == 503
    assert "no-manifest" in refused.cache_status
    assert (await fleet.visit("n2", "two.cdn.localhost")).content == b"two"
    broken.hides_manifests = False
    async with asyncio.timeout(PATIENCE_S):
        while (healed := await fleet.visit("n2", HOST)).status != 200:
            pass
    assert healed.content == b"second"


async def test_a_silent_node_holds_an_activation_up_for_prepare_timeout_only(fleet: Fleet) -> None:
    await fleet.call("PATCH", "/v1/sites/one", {"settings": {"prepare_timeout_s": 0.2}})
    fleet.nodes["n3"].line.silence()
    began = asyncio.get_running_loop().time()
    done = await fleet.deploy("one", {**FILES, "/index.html": b"second"}, wait_s=0)
    assert asyncio.get_running_loop().time() - began >= 0.2
    assert done["unprepared"] == [{"node": "n3", "reason": "not prepared after 0.2 s"}]
    await until_applied(fleet, done["receipt"], {"n1", "n2"})
    for node_id in ("n1", "n2"):
        assert (await fleet.visit(node_id, HOST)).content == b"second"
    assert outcomes(done["receipt"])["n3"] == "pending"
    assert (await fleet.visit("n3", HOST)).content == b"first"
    fleet.nodes["n3"].line.mend()
    await until_applied(fleet, done["receipt"], set(NODES))
    assert (await fleet.visit("n3", HOST)).content == b"second"


async def until_applied(fleet: Fleet, receipt: Any, nodes: set[str]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = outcomes(await fleet.receipt(receipt))
            if all(found[node_id] == "applied" for node_id in nodes):
                return


async def test_control_that_restarts_waits_for_the_nodes_it_knew(fleet: Fleet) -> None:
    for node in fleet.nodes.values():
        node.line.cut()
    await fleet.stop_control()
    alone = await fleet.visit("n1", HOST, "/kept.txt")
    assert alone.is_hit, "control's absence stops no visitor"
    await fleet.start_control()
    receipt = await fleet.purge("one", wait_s=0, everything=True)
    assert outcomes(receipt) == dict.fromkeys(NODES, "pending")
    assert not receipt["complete"]
    fleet.nodes["n1"].line.mend()
    fleet.nodes["n2"].line.mend()
    complete = await fleet.receipt(receipt, wait_s=PATIENCE_S)
    assert complete["complete"]
    assert outcomes(complete)["n3"] == "excused"
    assert not fleet.nodes["n3"].edge.follower.has_lease()
    for node_id, outcome in outcomes(complete).items():
        if outcome == "applied":
            assert not (await fleet.visit(node_id, HOST, "/kept.txt")).is_hit
    fleet.nodes["n3"].line.mend()
    await until_applied(fleet, receipt, set(NODES))
    for node_id in NODES:
        assert (await fleet.visit(node_id, HOST, "/kept.txt")).content == b"kept"


async def test_a_node_that_starts_without_control_remembers_its_floors(fleet: Fleet) -> None:
    assert (await fleet.purge("one", urls=["/kept.txt"]))["complete"]
    await fleet.stop_control()
    await fleet.restart("n1")
    purged = await fleet.visit("n1", HOST, "/kept.txt", CDN_Debug="1")
    assert (purged.content, purged.is_hit) == (b"kept", False)
    home = await fleet.visit("n1", HOST)
    assert home.is_hit, "what was not purged is warm"
    assert "detached" in home.cache_status
    await fleet.start_control()
    await fleet.nodes["n1"].edge.follower.wait_caught_up()


async def test_a_process_that_was_stopped_is_excused_and_returns(tmp_path: Path) -> None:
    fleet = await Fleet(tmp_path).start()
    try:
        await fleet.add("n1")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.e2e.edge_process",
            "n2", str(tmp_path / "n2"), fleet.url, fleet.node_token, str(tmp_path / "store"),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            port = int(await process.stdout.readline())
            await stop_and_go_on(fleet, process, port)
        finally:
            process.kill()
            await process.wait()
    finally:
        await fleet.aclose()


async def stop_and_go_on(fleet: Fleet, process: asyncio.subprocess.Process, port: int) -> None:
    await fleet.create_site("one", prepare_timeout_s=0.2)
    done = await fleet.deploy("one", FILES)
    assert outcomes(done["receipt"]) == {"n1": "applied", "n2": "applied"}

    async def visit() -> Answer:
        headers = {"Host": HOST}
        async with fleet.client.get(f"http://127.0.0.1:{port}/kept.txt", headers=headers) as response:
            return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read())

    await visit()
    assert (await visit()).is_hit
    process.send_signal(signal.SIGSTOP)
    receipt = await fleet.purge("one", wait_s=0, everything=True)
    assert outcomes(receipt)["n2"] == "pending"
    receipt = await fleet.receipt(receipt, wait_s=PATIENCE_S)
    assert outcomes(receipt) == {"n1": "applied", "n2": "excused"}
    process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(PATIENCE_S):
        while outcomes(await fleet.receipt(receipt))["n2"] != "applied":
            pass
    assert not (await visit()).is_hit
