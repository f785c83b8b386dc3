"""A site that names regions is answered, fetched and stored there only (DESIGN I12), on real nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from cdn.origin.store import ObjectStore
from tests.e2e.fleet import Fleet, outcomes
from tests.e2e.watched_store import WatchedStore

HOST = "one.cdn.localhost"
FILES = {"/index.html": b"<p>only here", "/app.3f2a9c1b.js": b"alert(1)"}
PATIENCE_S = 20.0


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A node in eu, one in us, and one of which nobody says where it is."""
    fleet = await Fleet(tmp_path).start()
    stores: list[ObjectStore] = []
    for node_id, region in (("eu1", "eu"), ("us1", "us"), ("any", "")):
        stores.append(WatchedStore(tmp_path / "store"))
        await fleet.add(node_id, stores[-1], region=region)
    yield fleet
    await fleet.aclose()
    for store in stores:
        await store.aclose()


async def test_only_nodes_in_the_region_answer_fetch_and_store(fleet: Fleet) -> None:
    await fleet.create_site("one", region=["eu"], prepare_timeout_s=30)
    deployed = await fleet.deploy("one", FILES)
    assert set(outcomes(deployed["receipt"]).values()) == {"applied"}
    assert deployed["unprepared"] == []
    assert (await fleet.visit("eu1", HOST)).content == FILES["/index.html"]
    for node_id, reason in (("us1", "outside-region"), ("any", "unplaced")):
        for target in ("/", "/app.3f2a9c1b.js", "/nothing"):
            answer = await fleet.visit(node_id, HOST, target)
            assert answer.status == 421
            assert answer.cache_status == f"cdn; detail={reason}"
            assert answer.fields["cache-control"] == "no-store"
            assert b"only here" not in answer.content
        edge = fleet.nodes[node_id].edge
        assert edge.disk.facts().responses == 0
        assert list(edge.settings.manifests_dir.glob("*/*")) == []
        store = fleet.nodes[node_id].store
        assert isinstance(store, WatchedStore)
        assert store.asked == [], "not a byte was fetched"
    explained = await fleet.call("GET", f"/v1/explain?url=http://{HOST}/&node=us1")
    result = explained["nodes"][0]["result"]
    assert (result["eligibility"], result["answer"][:3]) == ("outside-region", "421")


async def test_a_site_that_leaves_a_region_leaves_its_disks(fleet: Fleet) -> None:
    await fleet.create_site("one")
    await fleet.deploy("one", FILES)
    for node_id in fleet.nodes:
        for target in ("/", "/", "/app.3f2a9c1b.js"):
            assert (await fleet.visit(node_id, HOST, target)).status == 200
    changed = await fleet.call("PATCH", "/v1/sites/one", {"settings": {"region": ["eu", "us"]}})
    assert changed["settings"]["region"] == ["eu", "us"]
    edge = fleet.nodes["any"].edge
    async with asyncio.timeout(PATIENCE_S):
        while (await fleet.visit("any", HOST)).status != 421 or edge.disk.facts().responses:
            await asyncio.sleep(0.01)
        while list(edge.settings.manifests_dir.glob("*/*")):
            await asyncio.sleep(0.01)
    for node_id in ("eu1", "us1"):
        assert (await fleet.visit(node_id, HOST)).content == FILES["/index.html"]


async def test_a_node_that_was_moved_forgets_at_its_start(fleet: Fleet) -> None:
    await fleet.create_site("one", region=["eu"])
    await fleet.deploy("one", FILES)
    assert (await fleet.visit("eu1", HOST)).status == 200
    node = fleet.nodes["eu1"]
    node.settings = replace(node.settings, region="us")
    await fleet.restart("eu1")
    assert (await fleet.visit("eu1", HOST)).status == 421
    async with asyncio.timeout(PATIENCE_S):
        while node.edge.disk.facts().responses:
            await asyncio.sleep(0.01)
