"""How a fleet comes to one state: a site activated many times a second, a node that missed ten thousand purges."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from bench.fleet_purges import running_followers
from bench.fleet_roles import RunningControl, running_control
from bench.table import Fact, Row
from bench.worker_process import WorkerProcess

SITE, ALIAS = "fleet", "production"
PER_S = 20
CONVERGED_WITHIN_S = 1.0
CAUGHT_UP_WITHIN_S = 2.0
SETTLE_TIMEOUT_S = 30.0
PARALLEL = 32
"""Purges sent at a time while the node is away."""


def run_activations(folder: Path, *, duration_s: float, followers: int) -> list[Row | Fact]:
    """Every node stands at the last of many activations of one site."""
    with running_control(folder) as control, running_followers(folder, control, followers) as nodes:
        control.call("POST", "/v1/sites", {"name": SITE})
        deploys = [control.deploy(SITE, {"index.html": b"%d" % number}) for number in range(4)]
        answered_s, sequence, last_at = asyncio.run(_activate(control, deploys, duration_s))
        last = deploys[(int(duration_s * PER_S) - 1) % len(deploys)]
        converged_s = _converged_s(nodes, sequence, last_at)
        wrong = sum(
            found != last for node in nodes for found in node.ask({"do": "active", "site": SITE, "alias": ALIAS})
        )
    _say(
        f"  {len(answered_s)} activations, {PER_S} a second, answered after "
        f"{statistics.median(answered_s) * 1000:.1f} ms (median; the slowest {max(answered_s) * 1000:.0f} ms)"
    )
    _say(f"  {followers} nodes at the last one {converged_s * 1000:.0f} ms after it was asked for")
    return [
        Row(
            f"{PER_S} activations a second, {followers} nodes at the last one",
            "s",
            converged_s,
            CONVERGED_WITHIN_S,
            "promise",
            1.0,
        ),
        Fact("nodes that stand at another deploy than the last", wrong, 0),
    ]


def run_missed(folder: Path, *, purges: int, runs: int) -> list[Row | Fact]:
    """A node that was cut off, and what it does before it may answer from its cache."""
    took: list[float] = []
    leased = 0
    with running_control(folder) as control, running_followers(folder, control, 1) as nodes:
        node = next(node for node in nodes if node.ask({"do": "standing"}))
        control.call("POST", "/v1/sites", {"name": SITE})
        for run in range(runs):
            node.ask({"do": "disconnect"})
            asyncio.run(_purge(control, purges))
            answer = node.ask({"do": "connect"})
            took.append(answer["took_s"])
            leased += answer["leased_below"]
            _say(f"  run {run + 1}: {purges:,} missed purges applied after {took[-1]:.2f} s")
    return [
        Row(
            f"{purges:,} missed purges applied by a node that returns",
            "s",
            statistics.median(took),
            CAUGHT_UP_WITHIN_S,
            "promise",
            1.0,
        ),
        Fact("of them applied when the node could already answer from its cache", leased, 0),
    ]


async def _activate(control: RunningControl, deploys: list[str], duration_s: float) -> tuple[list[float], int, float]:
    """How long each call took, the last one's sequence, and when it was asked for."""
    answered: list[float] = []
    sequence, asked_at = 0, 0.0
    async with _session(control) as session:
        began = time.monotonic()
        for number in range(int(duration_s * PER_S)):
            await asyncio.sleep(max(0.0, began + number / PER_S - time.monotonic()))
            url = f"{control.url.rstrip('/')}/v1/sites/{SITE}/deploys/{deploys[number % len(deploys)]}/activate"
            asked_at = time.monotonic()
            async with session.post(url, json={}) as answer:
                document: dict[str, Any] = await answer.json()
            if answer.status >= 300:
                raise RuntimeError(f"an activation was refused: {document}")
            answered.append(time.monotonic() - asked_at)
            sequence = document["receipt"]["position"]["sequence"]
    return answered, sequence, asked_at


async def _purge(control: RunningControl, purges: int) -> None:
    """As many purges, each of one tag."""
    room = asyncio.Semaphore(PARALLEL)
    async with _session(control) as session:

        async def one(number: int) -> None:
            async with (
                room,
                session.post(
                    f"{control.url.rstrip('/')}/v1/sites/{SITE}/purges", json={"tags": [f"t{number}"]}
                ) as answer,
            ):
                if answer.status >= 300:
                    raise RuntimeError(f"a purge was refused: {await answer.text()}")

        await asyncio.gather(*(one(number) for number in range(purges)))


def _session(control: RunningControl) -> aiohttp.ClientSession:
    fields = {"Authorization": f"Bearer {control.admin_token}"}
    return aiohttp.ClientSession(headers=fields, connector=aiohttp.TCPConnector(limit=PARALLEL))


def _converged_s(nodes: list[WorkerProcess], sequence: int, since: float) -> float:
    """Seconds from `since` until the last node stood at `sequence`."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        times = [times for node in nodes for times in node.ask({"do": "times", "after": sequence - 1})]
        if all(times):
            return max(float(of_node[0][1]) for of_node in times) - since
        time.sleep(0.05)
    raise RuntimeError(f"not every node reached {sequence} within {SETTLE_TIMEOUT_S:g} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
