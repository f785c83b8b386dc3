"""What status says of real nodes: serving, away and detached behind a cut line, draining, gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.e2e.fleet import Fleet

PATIENCE_S = 20.0


async def states(fleet: Fleet) -> dict[str, str]:
    nodes = (await fleet.call("GET", "/v1/status"))["nodes"]
    return {node["node"]: f"{node['state']} {node['reason']}" for node in nodes}


async def until(fleet: Fleet, node_id: str, state: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await states(fleet))[node_id] != state:
            await asyncio.sleep(0.01)


async def test_status_says_how_every_node_is(tmp_path: Path) -> None:
    fleet = await Fleet(tmp_path).start()
    try:
        for node_id in ("a", "b"):
            await fleet.add(node_id, region="eu")
            await until(fleet, node_id, "serving current")
        fleet.nodes["b"].line.cut()
        await until(fleet, "b", "detached disconnected")
        assert (await states(fleet))["a"] == "serving current"
        fleet.nodes["b"].line.mend()
        await until(fleet, "b", "joining returning")
        edge = fleet.nodes["a"].edge
        await edge.follower.drain()
        await until(fleet, "a", "draining asked")
        assert edge.follower.has_lease()
        await edge.follower.leave()
        await until(fleet, "a", "gone left")
    finally:
        await fleet.aclose()
