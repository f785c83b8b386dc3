"""A journal on NATS that is lost comes back from the object store; one in a folder moves there. Every part is real."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.roles import RoleFleet, RoleProcess, outcomes
from tests.servers.nats import NatsLayout, start_single, stop_layout, stop_node

PATIENCE_S = 40.0
BOTH = {"e1": "applied", "e2": "applied"}


@pytest.fixture
def start_nats(tmp_path: Path) -> Iterator[Callable[[str], NatsLayout]]:
    made: list[NatsLayout] = []

    def start(name: str) -> NatsLayout:
        made.append(start_single(tmp_path / name))
        return made[-1]

    yield start
    for layout in made:
        stop_layout(layout)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RoleFleet]:
    fleet = RoleFleet(tmp_path, 'url = "store"', {})
    yield fleet
    fleet.close()


def journal_on(nats: NatsLayout) -> str:
    return f"[journal]\nservers = {list(nats.urls)}\nreplicas = 1\nmax_bytes = 1_000_000_000"


def run(fleet: RoleFleet, *words: str) -> subprocess.CompletedProcess[str]:
    """`cdn control ...` with the settings of the first control."""
    assert fleet.control is not None
    command = [sys.executable, "-m", "cdn", "control", *words, "--config", str(fleet.control.config), "--json"]
    return subprocess.run(
        command, env=dict(fleet.control.environ), capture_output=True, text=True, timeout=120, check=False
    )


def done(fleet: RoleFleet, *words: str) -> Any:
    ended = run(fleet, *words)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def move_to(fleet: RoleFleet, control: RoleProcess, nats: NatsLayout) -> None:
    """Name other NATS servers in the settings of a control that is stopped."""
    before, _, rest = control.config.read_text().partition("[journal]")
    after = rest[rest.index("[store]") :] if rest else before[before.index("[store]") :]
    control.config.write_text(before.partition("[store]")[0] + journal_on(nats) + "\n\n" + after)


def same_port(process: RoleProcess) -> None:
    """Edges find it where it was."""
    port = process.ready["control_url"].rpartition(":")[2]
    text = process.config.read_text()
    process.config.write_text(text.replace('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"', 1))


async def until_archived(fleet: RoleFleet, control: RoleProcess) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            status = fleet.call("GET", "/v1/status", control=control)
            end = int(status["position"]["sequence"])
            if control.metrics()["cdn_control_archived_sequence"] >= end:
                return end
            await asyncio.sleep(0.05)


async def until_all_applied(fleet: RoleFleet, control: RoleProcess, site: str) -> Any:
    """The receipt of a purge that both edges have applied, however long it takes them to come."""
    receipt = fleet.call("POST", f"/v1/sites/{site}/purges?wait=0", {"everything": True}, control=control)
    path = f"/v1/receipts/{receipt['position']['sequence']}?wait=5"
    async with asyncio.timeout(PATIENCE_S):
        while outcomes(receipt := await asyncio.to_thread(fleet.call, "GET", path, control=control)) != BOTH:
            await asyncio.sleep(0.05)
    return receipt


async def test_a_journal_that_nats_lost_comes_back_as_replicas(
    fleet: RoleFleet, start_nats: Callable[[str], NatsLayout]
) -> None:
    lost = start_nats("lost")
    first = fleet.start_control(journal_on(lost))
    second = fleet.start_replica("control-2", journal_on(lost))
    for each in (first, second):
        same_port(each)
    urls = [each.ready["control_url"] for each in (first, second)]
    fleet.start_edge("e1", f'other_control_urls = ["{urls[1]}"]')
    fleet.start_edge("e2", f'other_control_urls = ["{urls[0]}"]', control=second)
    for process in fleet.edges.values():
        await process.until_ready()
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    fleet.deploy("blog", {"/index.html": b"first", "/more.txt": b"more"}, control=second)
    assert [fleet.visit(node, "blog").content for node in BOTH] == [b"first", b"first"]
    refused = run(fleet, "restore")
    assert refused.returncode == 1
    assert "another cdn uses" in refused.stderr
    end = await until_archived(fleet, first)
    for each in (first, second):
        each.end(signal.SIGKILL)
    living = run(fleet, "restore")
    assert living.returncode == 1
    assert "is not lost" in living.stderr

    stop_node(lost.nodes[0].pid)
    shutil.rmtree(lost.nodes[0].folder)
    found = start_nats("found")
    for each in (first, second):
        move_to(fleet, each, found)
    restored = done(fleet, "restore")
    assert (restored["sequence"], restored["sites"], restored["missing"]) == (end, 1, None)
    assert restored["nodes"] == ["e1", "e2"]
    assert time.time() - 120 < restored["complete_until"] < time.time()
    assert run(fleet, "restore").returncode == 1, "what counts now is never written over"

    for each in (first, second):
        each.start()
        await each.until_ready()
    for each in (first, second):
        status = fleet.call("GET", "/v1/status", control=each)
        assert status["position"]["epoch"] == restored["epoch"] != restored["former_epoch"]
        assert {node["node"] for node in status["nodes"]} == {"e1", "e2"}, "they are known before they have come"
    purged = await until_all_applied(fleet, second, "blog")
    assert purged["position"]["epoch"] == restored["epoch"]
    deployed = fleet.deploy("blog", {"/index.html": b"second"}, control=first)["receipt"]
    assert (deployed["complete"], outcomes(deployed)) == (True, BOTH)
    assert [fleet.visit(node, "blog").content for node in BOTH] == [b"second", b"second"]


async def test_a_control_with_a_journal_of_its_own_becomes_replicas_and_loses_nothing(
    fleet: RoleFleet, start_nats: Callable[[str], NatsLayout]
) -> None:
    alone = fleet.start_control()
    same_port(alone)
    fleet.start_edge("e1")
    fleet.start_edge("e2")
    for process in fleet.edges.values():
        await process.until_ready()
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    fleet.deploy("blog", {"/index.html": b"first"})
    assert [fleet.visit(node, "blog").content for node in BOTH] == [b"first", b"first"]
    for number in range(20):
        last = fleet.call("POST", "/v1/sites/blog/purges?wait=0", {"tags": [f"t{number}"]})
    alone.end(signal.SIGKILL)  # whether the last records are archived or not
    assert "there is nothing to move to" in run(fleet, "move").stderr
    nats = start_nats("nats")
    move_to(fleet, alone, nats)
    assert "cdn control move" in run(fleet, "restore").stderr
    moved = done(fleet, "move")
    assert (moved["sequence"], moved["sites"]) == (last["position"]["sequence"], 1)
    assert moved["nodes"] == ["e1", "e2"] or moved["nodes"] == []  # as of the last mark
    assert "is not lost" in run(fleet, "move").stderr

    alone.start()
    second = fleet.start_replica("control-2", journal_on(nats))
    for each in (alone, second):
        await each.until_ready()
    status = fleet.call("GET", "/v1/status", control=second)
    assert {node["node"] for node in status["nodes"]} == {"e1", "e2"}
    await until_all_applied(fleet, second, "blog")
    deployed = fleet.deploy("blog", {"/index.html": b"second"}, control=second)["receipt"]
    assert (deployed["complete"], outcomes(deployed)) == (True, BOTH)
    assert [fleet.visit(node, "blog").content for node in BOTH] == [b"second", b"second"]

    alone.end(signal.SIGKILL)
    second.end(signal.SIGKILL)
    text = alone.config.read_text()
    start, end = text.index("[journal]"), text.index("[store]")
    alone.config.write_text(text[:start] + text[end:])
    with pytest.raises(AssertionError, match="no longer counts"):
        alone.start()
