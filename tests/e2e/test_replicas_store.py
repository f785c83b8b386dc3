"""Two replicas of control over one store: one archives for both, and both know what the store has lost."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdn.control.archive_layout import part_name, part_prefix
from cdn.control.restoration import restore
from cdn.origin.directory import DirectoryStore
from cdn.origin.layout import blob_key
from tests.e2e.roles import RoleFleet, RoleProcess
from tests.servers.nats import NatsLayout, start_single, stop_layout

PATIENCE_S = 40.0


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


def replicas(fleet: RoleFleet, nats: NatsLayout) -> tuple[RoleProcess, RoleProcess]:
    journal = f"[journal]\nservers = {list(nats.urls)}\nreplicas = 1\nmax_bytes = 1_000_000_000"
    return fleet.start_control(journal), fleet.start_replica("control-2", journal)


def archived_parts(control: RoleProcess) -> float:
    return control.metrics()["cdn_control_archived_parts_total"]


async def nothing(epoch: str, after: int) -> None:
    return


async def test_the_archive_goes_on_when_the_replica_that_writes_it_dies(fleet: RoleFleet, nats: NatsLayout) -> None:
    first, second = replicas(fleet, nats)
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    store = DirectoryStore(fleet.root / "store")
    epoch = fleet.call("GET", "/v1/status")["position"]["epoch"]

    async def reached() -> int:
        names = sorted([part_name(each.key) async for each in store.scan(part_prefix(epoch))], key=lambda one: one.last)
        return names[-1].last if names else 0

    async def until_archived(end: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await reached() < end:
                await asyncio.sleep(0.02)

    def purge(control: RoleProcess) -> int:
        receipt = fleet.call("POST", "/v1/sites/blog/purges?wait=0", {"everything": True}, control=control)
        return int(receipt["position"]["sequence"])

    await until_archived(purge(second))
    counts = {each.config.stem: archived_parts(each) for each in (first, second)}
    writer, other = (first, second) if counts["control"] else (second, first)
    assert archived_parts(other) == 0, "one writes for both"
    for _ in range(5):
        purge(other)
    writer.end(signal.SIGKILL)
    await until_archived(end := purge(other))
    async with asyncio.timeout(PATIENCE_S):  # it says so once it knows that the part is there
        while fleet.call("GET", "/v1/status", control=other)["archive"]["archived"] < end:
            await asyncio.sleep(0.02)
    assert archived_parts(other) > 0
    writer.start()
    await writer.until_ready()
    await until_archived(end := purge(writer))
    for each in (first, second):
        assert each.end(signal.SIGTERM) == 0
    restored = await restore(store, nothing)
    assert (restored.former.sequence >= end, restored.sites, restored.missing) == (True, 1, None)
    await store.aclose()


async def test_what_one_replica_finds_lost_the_other_asks_for_again(fleet: RoleFleet, nats: NatsLayout) -> None:
    _, second = replicas(fleet, nats)
    edge = fleet.start_edge("e1")
    await edge.until_ready()
    site_id = fleet.call("POST", "/v1/sites", {"name": "blog"})["id"]
    files = {"/index.html": b"kept", "/film.txt": b"to be lost"}
    fleet.deploy("blog", files, control=second)
    digest = hashlib.sha256(files["/film.txt"]).hexdigest()
    announced = {"blobs": {hashlib.sha256(content).hexdigest(): len(content) for content in files.values()}}
    assert fleet.call("POST", "/v1/sites/blog/uploads", announced, control=second)["missing"] == []
    (fleet.root / "store" / "objects" / blob_key(site_id, digest)).unlink()
    assert fleet.visit("e1", "blog", "/film.txt").status >= 500  # e1 follows the first
    async with asyncio.timeout(PATIENCE_S):
        while fleet.call("POST", "/v1/sites/blog/uploads", announced, control=second)["missing"] != [digest]:
            await asyncio.sleep(0.05)
    again = fleet.deploy("blog", files, control=second)
    assert again["uploaded"]["blobs"] == 1
    assert again["receipt"]["complete"]
    assert fleet.visit("e1", "blog", "/film.txt").content == files["/film.txt"]
