"""Sites that want to be validated when a node is cut off: what visitors see, and what receipts say (DESIGN I8, I9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.e2e.fleet import Fleet, outcomes
from tests.e2e.watched_store import WatchedStore

HOST = "one.cdn.localhost"
FIRST = {"/index.html": b"first", "/app.3f2a9c1b.js": b"of the first"}
SECOND = {"/index.html": b"second"}
PATIENCE_S = 20.0


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Two nodes; `n2` has a store that can fail."""
    fleet = await Fleet(tmp_path).start()
    store = WatchedStore(tmp_path / "store")
    await fleet.add("n1")
    await fleet.add("n2", store, allows_private_upstreams=True)
    yield fleet
    await fleet.aclose()
    await store.aclose()


async def cut(fleet: Fleet) -> None:
    """`n2` loses control, and its lease."""
    fleet.nodes["n2"].line.cut()
    async with asyncio.timeout(PATIENCE_S):
        while fleet.nodes["n2"].edge.follower.has_lease():
            await asyncio.sleep(0.01)


async def settled(fleet: Fleet, receipt: Any) -> dict[str, str]:
    """The receipt's outcomes once it is complete."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await fleet.receipt(receipt))["complete"]:
            await asyncio.sleep(0.01)
    return outcomes(found)


async def warm(fleet: Fleet, target: str = "/") -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not (await fleet.visit("n2", HOST, target)).is_hit:
            await asyncio.sleep(0.01)  # it hears of a new site in a moment


async def test_a_deploy_that_a_cut_off_node_never_heard_of_is_shown(fleet: Fleet) -> None:
    await fleet.create_site("one", on_detach="validate", prepare_timeout_s=0.2)
    await fleet.deploy("one", FIRST)
    await warm(fleet)
    await warm(fleet, "/app.3f2a9c1b.js")
    await cut(fleet)
    still = await fleet.visit("n2", HOST)
    assert (still.content, "detached" in still.cache_status) == (b"first", True)
    receipt = (await fleet.deploy("one", SECOND, wait_s=0))["receipt"]
    assert await settled(fleet, receipt) == {"n1": "applied", "n2": "fenced"}
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await fleet.visit("n2", HOST)).content == b"first":
            await asyncio.sleep(0.01)
    assert (answer.status, answer.content, "detached" in answer.cache_status) == (200, b"second", True)
    assert (await fleet.visit("n2", HOST, "/app.3f2a9c1b.js")).content == b"of the first", "old tabs find their files"
    # Later it hears of it, and of what came since.
    fleet.nodes["n2"].line.mend()
    async with asyncio.timeout(PATIENCE_S):
        while not fleet.nodes["n2"].edge.follower.has_lease():
            await asyncio.sleep(0.01)
    third = await fleet.deploy("one", {"/index.html": b"third"})
    assert (await settled(fleet, third["receipt"]))["n2"] == "applied"
    assert (await fleet.visit("n2", HOST)).content == b"third"


async def test_without_the_store_nothing_is_served_unasked(fleet: Fleet) -> None:
    await fleet.create_site("one", on_detach="validate")
    await fleet.create_site("two")
    for name in ("one", "two"):
        await fleet.deploy(name, FIRST)
        for _ in range(2):
            await fleet.visit("n2", f"{name}.cdn.localhost")
    await cut(fleet)
    store = fleet.nodes["n2"].store
    assert isinstance(store, WatchedStore)
    store.is_down = True
    refused = await fleet.visit("n2", HOST)
    assert (refused.status, refused.cache_status) == (503, "cdn; detail=detached-store-down")
    assert "retry-after" in refused.fields
    assert (await fleet.visit("n2", "two.cdn.localhost")).content == b"first", "the other site chose to serve"


async def test_the_pointer_is_read_once_a_second_at_most(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.edge.detached.READ_EVERY_S", 3600.0)
    await fleet.create_site("one", on_detach="validate")
    await fleet.deploy("one", FIRST)
    await cut(fleet)
    reads: list[str] = []
    store = fleet.nodes["n2"].store
    get = store.get

    async def counted(key: str) -> bytes:
        reads.append(key)
        return await get(key)

    monkeypatch.setattr(store, "get", counted)
    await asyncio.gather(*(fleet.visit("n2", HOST) for _ in range(20)))
    await fleet.visit("n2", HOST, "/app.3f2a9c1b.js")
    assert sum("/active/" in key for key in reads) == 1


async def until_attached(fleet: Fleet) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not fleet.nodes["n2"].edge.follower.has_lease():
            await asyncio.sleep(0.01)


async def test_what_was_decided_without_a_lease_is_not_kept_for_later(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A visitor's question to the store is under way while the node returns and hears of the next deploy."""
    await fleet.create_site("one", on_detach="validate", prepare_timeout_s=0.2)
    await fleet.deploy("one", FIRST)
    await warm(fleet)
    await cut(fleet)
    store = fleet.nodes["n2"].store
    asked, answered = asyncio.Event(), asyncio.Event()
    get = store.get

    async def slowly(key: str) -> bytes:
        content = await get(key)
        if "/active/" in key:
            asked.set()
            await answered.wait()
        return content

    monkeypatch.setattr(store, "get", slowly)
    visiting = asyncio.create_task(fleet.visit("n2", HOST))
    await asked.wait()
    fleet.nodes["n2"].line.mend()
    receipt = (await fleet.deploy("one", SECOND))["receipt"]
    await until_attached(fleet)
    async with asyncio.timeout(PATIENCE_S):
        while outcomes(await fleet.receipt(receipt))["n2"] != "applied":
            await asyncio.sleep(0.01)
    answered.set()
    before = await visiting
    assert (before.content, "detached" in before.cache_status) == (b"first", True)
    for _ in range(3):
        assert (await fleet.visit("n2", HOST)).content == b"second"


async def test_an_answer_that_began_without_a_lease_says_so(fleet: Fleet) -> None:
    await fleet.create_site("one", prepare_timeout_s=0.2)
    await fleet.deploy("one", {"/index.html": b"first", "/cold.txt": b"cold"})
    await warm(fleet)
    await cut(fleet)
    store = fleet.nodes["n2"].store
    assert isinstance(store, WatchedStore)
    store.close_gate()
    visiting = asyncio.create_task(fleet.visit("n2", HOST, "/cold.txt"))
    await store.arrived.wait()
    fleet.nodes["n2"].line.mend()
    await until_attached(fleet)
    store.gate.set()
    assert "detached" in (await visiting).cache_status
    async with asyncio.timeout(30):  # a busy machine may lose so short a lease once more
        while "detached" in (await fleet.visit("n2", HOST, "/cold.txt")).cache_status:
            await asyncio.sleep(0.05)


async def test_a_node_that_was_cut_off_before_the_site_chose_is_excused(fleet: Fleet) -> None:
    await fleet.create_site("one", prepare_timeout_s=0.2)
    await fleet.deploy("one", FIRST)
    await cut(fleet)
    await fleet.call("PATCH", "/v1/sites/one", {"settings": {"on_detach": "validate"}})
    receipt = (await fleet.deploy("one", SECOND, wait_s=0))["receipt"]
    assert await settled(fleet, receipt) == {"n1": "applied", "n2": "excused"}
    assert (await fleet.visit("n2", HOST)).content == b"first"


async def test_changes_that_validating_does_not_show_are_excused(fleet: Fleet) -> None:
    await fleet.create_site("one", on_detach="validate")
    await fleet.deploy("one", FIRST)
    await cut(fleet)
    added = await fleet.call("POST", "/v1/sites/one/domains?wait=0", {"domain": "www.example.com", "verified": True})
    assert (await settled(fleet, added["receipt"]))["n2"] == "excused"
    purged = await fleet.purge("one", wait_s=0, everything=True)
    assert (await settled(fleet, purged))["n2"] == "fenced"


async def test_a_cut_off_node_asks_the_upstream_about_everything_it_stored(fleet: Fleet) -> None:
    asked: list[str | None] = []
    said = {"tag": '"v1"', "content": "one"}

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers.get("If-None-Match"))
        fields = {"ETag": said["tag"], "Cache-Control": "max-age=3600"}
        if asked[-1] == said["tag"]:
            return web.Response(status=304, headers=fields)
        return web.Response(text=said["content"], headers=fields)

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        await fleet.create_site(
            "one", origin=f"http://127.0.0.1:{runner.addresses[0][1]}", on_detach="validate", stale_if_error_s=3600
        )
        await warm(fleet)
        assert asked == [None]
        asked.clear()
        await cut(fleet)
        for _ in range(2):
            same = await fleet.visit("n2", HOST)
            assert (same.content, asked[-1]) == (b"one", '"v1"')
            assert "fwd-status=304" in same.cache_status
            assert "detail=detached" in same.cache_status
        assert len(asked) == 2
        said.update(tag='"v2"', content="two")
        assert await settled(fleet, await fleet.purge("one", wait_s=0, everything=True)) == {
            "n1": "applied",
            "n2": "fenced",
        }
        assert (await fleet.visit("n2", HOST)).content == b"two"
    finally:
        await runner.cleanup()
    failed = await fleet.visit("n2", HOST)
    assert failed.status in {502, 504}, "not even for an error is it served unasked"
