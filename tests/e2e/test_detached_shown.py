"""A node that has lost control says so to visitors, and receipts and status say why and since when (DESIGN I8, I9)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.e2e.fleet import Fleet

PATIENCE_S = 30.0
LEASE_S = 2.0
"""A machine that is busy with other things does not take that long to come back to a node."""
FILES = {"/index.html": b"first", "/app.3f2a9c1b.js": b"script"}


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="pulled", headers={"Cache-Control": "max-age=1000"})

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = await Fleet(tmp_path, lease_s=LEASE_S).start()
    for node_id in ("n1", "n2"):
        await fleet.add(node_id, allows_private_upstreams=True)
    yield fleet
    await fleet.aclose()


async def cut(fleet: Fleet) -> None:
    """`n2` loses control, and its lease."""
    fleet.nodes["n2"].line.cut()
    async with asyncio.timeout(PATIENCE_S):
        while fleet.nodes["n2"].edge.follower.has_lease():
            await asyncio.sleep(0.01)


async def settled(fleet: Fleet, receipt: Any) -> dict[str, Any]:
    """Its lines by node, once it is complete."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await fleet.receipt(receipt))["complete"]:
            await asyncio.sleep(0.01)
    return {line["node"]: line for line in found["nodes"]}


async def applied(fleet: Fleet, site: str) -> None:
    """Both nodes have applied everything there is."""
    purged = await fleet.purge(site, wait_s=0, everything=True)
    async with asyncio.timeout(PATIENCE_S):
        while (await fleet.receipt(purged))["counts"]["applied"] < 2:
            await asyncio.sleep(0.01)


async def test_visitors_are_told_whatever_the_site_and_the_tier(fleet: Fleet, upstream: str) -> None:
    await fleet.create_site("serves", on_detach="serve")
    await fleet.create_site("validates", on_detach="validate")
    await fleet.create_site("pulls", origin=upstream, on_detach="serve")
    await fleet.create_site("asks", origin=upstream, on_detach="validate")
    for name in ("serves", "validates"):
        await fleet.deploy(name, FILES)
    names = ("serves", "validates", "pulls", "asks")
    for name in names:
        async with asyncio.timeout(PATIENCE_S):
            while not (attached := await fleet.visit("n2", f"{name}.cdn.localhost")).is_hit:
                await asyncio.sleep(0.01)
        assert "detached" not in attached.cache_status, name
    await cut(fleet)
    for name in names:
        for target in ("/", "/", "/app.3f2a9c1b.js"):  # prepared, prepared anew, and asked for the first time
            said = ""
            async with asyncio.timeout(PATIENCE_S):
                while "; detail=detached" not in said:  # the node looks at its lease now and then
                    said = (await fleet.visit("n2", f"{name}.cdn.localhost", target)).cache_status
        assert said.startswith("cdn; "), name
        assert "detached" not in (await fleet.visit("n1", f"{name}.cdn.localhost")).cache_status
    fleet.nodes["n2"].line.mend()
    for name in names:
        async with asyncio.timeout(PATIENCE_S):
            while "detached" in (await fleet.visit("n2", f"{name}.cdn.localhost")).cache_status:
                await asyncio.sleep(0.01)


async def test_receipts_say_who_is_fenced_or_excused_why_and_since_when(fleet: Fleet) -> None:
    await fleet.create_site("serves", on_detach="serve")
    await fleet.create_site("validates", on_detach="validate")
    await applied(fleet, "validates")  # every node has heard of both
    begun = time.time()
    await cut(fleet)
    excused = await settled(fleet, await fleet.purge("serves", wait_s=0, everything=True))
    fenced = await settled(fleet, await fleet.purge("validates", wait_s=0, everything=True))
    assert (excused["n2"]["outcome"], fenced["n2"]["outcome"]) == ("excused", "fenced")
    for line in (excused["n2"], fenced["n2"]):
        assert (line["state"], line["reason"], line["applied_at"]) == ("detached", "disconnected", None)
        assert begun - 1 < line["since"] < time.time() + 1
    assert (excused["n1"]["outcome"], excused["n1"]["state"]) == ("applied", None)
    status = await fleet.call("GET", "/v1/status")
    assert status["on_detach"] == {"serve": 1, "validate": 1}
    assert sum(status["states"].values()) == status["node_count"] == 2
    shown = {node["node"]: node for node in status["nodes"]}
    assert (shown["n2"]["lease_left_s"], shown["n2"]["state"]) == (0.0, "detached")
    assert shown["n1"]["lease_left_s"] > 0
    assert (shown["n2"]["share_reason"], shown["n1"]["share_reason"]) == ("withdrawn", "ramping")
    fleet.nodes["n2"].line.mend()
    async with asyncio.timeout(PATIENCE_S):
        while not fleet.nodes["n2"].edge.follower.has_lease():
            await asyncio.sleep(0.01)
    await applied(fleet, "serves")
    await fleet.nodes["n2"].edge.follower.leave()
    gone = await settled(fleet, await fleet.purge("serves", wait_s=20, everything=True))
    assert (gone["n2"]["outcome"], gone["n2"]["state"], gone["n2"]["reason"]) == ("excused", "gone", "left")
