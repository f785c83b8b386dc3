"""Plays a scenario: all its clients at once, its upstream behind the edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from tests.scenarios.client import Edge, ScriptedClient
from tests.scenarios.command import Scenario
from tests.scenarios.stage import PATIENCE_S, Stage
from tests.scenarios.upstream import ScriptedUpstream

MakeEdge = Callable[[int, dict[str, Any]], AbstractAsyncContextManager[Edge]]
"""From the upstream's port and the site's settings."""


class ScenarioFailed(AssertionError):
    """The first fault that was found."""


async def play(scenario: Scenario, make_edge: MakeEdge, *, patience_s: float = PATIENCE_S) -> None:
    """Raises ScenarioFailed."""
    stage = Stage(patience_s=patience_s)
    upstream = ScriptedUpstream(scenario.upstreams, stage)
    await upstream.up()
    try:
        async with make_edge(upstream.port, scenario.settings) as edge:
            stage.values |= {"host": edge.host, "port": str(edge.port), "origin": f"127.0.0.1:{upstream.port}"}
            clients = [ScriptedClient(script, stage, edge, upstream) for script in scenario.clients]
            await _until_played(clients, upstream, stage)
    finally:
        await upstream.aclose()
    if stage.faults:
        raise ScenarioFailed(str(stage.faults[0]))


async def _until_played(clients: list[ScriptedClient], upstream: ScriptedUpstream, stage: Stage) -> None:
    async def all_of_it() -> None:
        await asyncio.gather(*(client.play() for client in clients))
        await upstream.finish()

    tasks = [asyncio.create_task(all_of_it()), asyncio.create_task(stage.until_failed())]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


@asynccontextmanager
async def no_edge(upstream_port: int, settings: dict[str, Any]) -> AsyncIterator[Edge]:
    """The clients talk to the upstream itself."""

    async def purge(request: dict[str, Any]) -> None:
        raise AssertionError("nothing to purge")

    yield Edge("direct.test", upstream_port, purge)
