"""A replica of control and an edge that were stopped while the journal was trimmed, and one whose epoch was ended."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdn.journal.jetstream import JetStreamJournal
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.journal import Trimmed
from cdn.journal.nats_settings import NatsSettings
from tests.e2e.roles import RoleFleet, outcomes
from tests.servers.nats import NatsLayout, start_single, stop_layout

PATIENCE_S = 60.0
BOTH = {"e1": "applied", "e2": "applied"}
TRIMS = "snapshot_every_records = 20\nkeep_records = 1\nkeep_snapshots = 1\n"


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsLayout]:
    layout = start_single(tmp_path / "nats")
    yield layout
    stop_layout(layout)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RoleFleet]:
    fleet = RoleFleet(tmp_path, 'url = "store"', {})
    yield fleet
    fleet.close()


def settings(nats: NatsLayout) -> str:
    return f"{TRIMS}[journal]\nservers = {list(nats.urls)}\nreplicas = 1\nmax_bytes = 1_000_000_000"


async def until_trimmed(nats: NatsLayout, through: int) -> None:
    journal = await JetStreamJournal.open(JetStreamSettings(NatsSettings(nats.urls), "cdn", replicas=1))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not isinstance(await journal.read(through - 1, limit=1), Trimmed):
                await asyncio.sleep(0.05)
    finally:
        await journal.aclose()


async def test_who_was_left_behind_goes_on_from_a_snapshot(fleet: RoleFleet, nats: NatsLayout) -> None:
    first = fleet.start_control(settings(nats))
    second = fleet.start_replica("control-2", settings(nats))
    fleet.start_edge("e1")
    e2 = fleet.start_edge("e2", control=second)
    for process in (first, second, *fleet.edges.values()):
        await process.until_ready()
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    stands = fleet.deploy("blog", {"/index.html": b"old"}, control=second)["receipt"]["position"]["sequence"]
    assert fleet.visit("e2", "blog").content == b"old"

    second.send(signal.SIGSTOP)
    e2.send(signal.SIGSTOP)
    for number in range(45):
        fleet.call("POST", "/v1/sites/blog/purges?wait=0", {"tags": [f"t{number}"]})
    fleet.call("POST", "/v1/sites", {"name": "shop"})
    fleet.deploy("shop", {"/index.html": b"shop"})
    await asyncio.to_thread(fleet.deploy, "blog", {"/index.html": b"new"})
    await until_trimmed(nats, stands + 1)
    second.send(signal.SIGCONT)
    e2.send(signal.SIGCONT)

    purged = fleet.call("POST", "/v1/sites/blog/purges?wait=0", {"everything": True}, control=second)
    path = f"/v1/receipts/{purged['position']['sequence']}?wait=5"
    async with asyncio.timeout(PATIENCE_S):
        while outcomes(await asyncio.to_thread(fleet.call, "GET", path, control=second)) != BOTH:
            await asyncio.sleep(0.05)
    assert "going on from the snapshot" in second.log.read_text()
    assert [fleet.visit(node, "blog").content for node in BOTH] == [b"new", b"new"]
    assert fleet.visit("e2", "shop").content == b"shop"
    last = fleet.deploy("shop", {"/index.html": b"last"}, control=second)["receipt"]
    assert (last["complete"], outcomes(last)) == (True, BOTH)


async def test_a_replica_whose_epoch_was_ended_ends_itself_and_starts_in_the_new_one(
    fleet: RoleFleet, nats: NatsLayout
) -> None:
    first = fleet.start_control(settings(nats))
    second = fleet.start_replica("control-2", settings(nats))
    fleet.call("POST", "/v1/sites", {"name": "blog"}, control=second)
    epoch = fleet.call("GET", "/v1/status")["position"]["epoch"]
    assert first.end(signal.SIGTERM) == 0
    words = ["control", "restore", "--config", str(first.config), "--end-epoch", epoch]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "cdn", *words],
        env=dict(first.environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert second.wait() == 1
    assert "another epoch" in second.log.read_text()
    for each in (first, second):
        each.start()
        await each.until_ready()
        status = fleet.call("GET", "/v1/status", control=each)
        assert status["position"]["epoch"] != epoch
        assert status["sites"] == 1
