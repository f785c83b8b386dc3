"""Fetches end to end: collapsed (DESIGN I6), detached by a floor (I1), chunk by chunk (I5)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.origin.layout import blob_key
from cdn.sites.manifest import CHUNK_BYTES, FileEntry, Manifest
from tests.e2e.fleet import Answer, Fleet
from tests.e2e.watched_store import WatchedStore

VISITORS = 200
HOST = "one.cdn.localhost"
FILES = {"/index.html": b"home", "/cold.txt": b"cold" * 100, "/404.html": b"missing"}


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[tuple[Fleet, WatchedStore]]:
    """One node over a watched store, with a deployed site."""
    fleet = await Fleet(tmp_path).start()
    store = WatchedStore(tmp_path / "store")
    await fleet.add("n1", store)
    await fleet.create_site("one")
    assert (await fleet.deploy("one", FILES))["receipt"]["complete"]
    yield fleet, store
    store.gate.set()
    await fleet.aclose()
    await store.aclose()


def visit(fleet: Fleet, target: str = "/cold.txt", **fields: str) -> asyncio.Task[Answer]:
    return asyncio.create_task(fleet.visit("n1", HOST, target, **fields))


async def test_200_visitors_of_a_cold_file_ask_the_store_once(watched: tuple[Fleet, WatchedStore]) -> None:
    fleet, store = watched
    store.close_gate()
    waiting = [visit(fleet) for _ in range(VISITORS)]
    async with asyncio.timeout(10):
        while fleet.nodes["n1"].edge.counters.misses < VISITORS:
            await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    store.gate.set()
    answers = await asyncio.gather(*waiting)
    assert {answer.content for answer in answers} == {FILES["/cold.txt"]}
    assert len(store.asked) == 1
    assert sum("collapsed" in answer.cache_status for answer in answers) == VISITORS - 1
    assert (await visit(fleet)).is_hit
    assert len(store.asked) == 1


async def test_a_purge_during_a_fetch_keeps_its_answer_out(watched: tuple[Fleet, WatchedStore]) -> None:
    fleet, store = watched
    store.close_gate()
    waiting = [visit(fleet) for _ in range(3)]
    await store.arrived.wait()
    receipt = await fleet.purge("one", urls=["/cold.txt"])
    assert receipt["complete"], "a purge does not wait for fetches"
    store.gate.set()
    for answer in await asyncio.gather(*waiting):
        assert answer.content == FILES["/cold.txt"], "who came before the purge keeps the old answer"
        assert "stored" not in answer.cache_status
    assert len(store.asked) == 1
    assert fleet.nodes["n1"].edge.fetcher.counters.detached == 1
    after = await visit(fleet)
    assert not after.is_hit, after.cache_status
    assert len(store.asked) == 2, "nothing of the detached fetch was stored"
    assert (await visit(fleet)).is_hit
    assert len(store.asked) == 2


async def test_who_comes_after_the_purge_does_not_join_the_fetch_before_it(
    watched: tuple[Fleet, WatchedStore],
) -> None:
    fleet, store = watched
    store.close_gate()
    before = [visit(fleet) for _ in range(3)]
    await store.arrived.wait()
    await fleet.purge("one", everything=True)
    store.arrived.clear()
    after = [visit(fleet) for _ in range(3)]
    await store.arrived.wait()
    assert len(store.asked) == 2
    store.gate.set()
    for answer in await asyncio.gather(*before, *after):
        assert answer.content == FILES["/cold.txt"]
    assert (await visit(fleet)).is_hit
    assert len(store.asked) == 2


async def test_a_soft_purge_during_a_fetch_makes_its_answer_stale(watched: tuple[Fleet, WatchedStore]) -> None:
    fleet, store = watched
    store.close_gate()
    waiting = visit(fleet)
    await store.arrived.wait()
    await fleet.purge("one", urls=["/cold.txt"], soft=True)
    store.gate.set()
    assert (await waiting).content == FILES["/cold.txt"]
    after = await visit(fleet)
    assert "soft-purged" in after.cache_status or not after.is_hit, after.cache_status


async def test_a_removed_site_is_not_answered_by_a_fetch_that_ends_later(tmp_path: Path) -> None:
    """Also on a node that has just started, where nothing was applied to the site since."""
    fleet = await Fleet(tmp_path).start()
    store = WatchedStore(tmp_path / "store")
    await fleet.add("n1", store)
    try:
        await fleet.create_site("one")
        await fleet.deploy("one", FILES)
        await fleet.restart("n1")
        await fleet.nodes["n1"].edge.follower.wait_caught_up()
        store.close_gate()
        waiting = visit(fleet)
        await store.arrived.wait()
        await fleet.call("DELETE", "/v1/sites/one?wait=10")
        store.gate.set()
        assert (await waiting).status in {200, 404}
        assert (await visit(fleet)).status == 404
    finally:
        store.gate.set()
        await fleet.aclose()
        await store.aclose()


async def test_a_cold_range_of_5_gb_fetches_only_its_chunks(watched: tuple[Fleet, WatchedStore]) -> None:
    fleet, store = watched
    size_bytes = 5_000_000_000
    count = -(-size_bytes // CHUNK_BYTES)
    zeros = hashlib.sha256(bytes(CHUNK_BYTES)).hexdigest()
    last = hashlib.sha256(bytes(size_bytes - (count - 1) * CHUNK_BYTES)).hexdigest()
    entry = FileEntry(
        hashlib.sha256(b"stands for 5 GB of zeros").hexdigest(), size_bytes, (zeros,) * (count - 1) + (last,)
    )
    site_id = (await fleet.call("GET", "/v1/sites/one"))["id"]
    blob = fleet.root / "store" / "objects" / blob_key(site_id, entry.digest)
    blob.parent.mkdir(parents=True)
    with blob.open("wb") as file:
        file.truncate(size_bytes)  # a hole: nothing of it is on the disk
    manifest = Manifest({"/film.bin": entry}).to_bytes()
    await fleet.call("POST", "/v1/sites/one/deploys?wait=10", {"manifest": json.loads(manifest)})

    first = 3000 * CHUNK_BYTES - 50
    part = await visit(fleet, "/film.bin", Range=f"bytes={first}-{first + 99}")
    assert (part.status, part.content) == (206, bytes(100))
    assert part.fields["content-range"] == f"bytes {first}-{first + 99}/{size_bytes}"
    assert sorted((each.start, each.stop) for each in store.asked) == [
        (2999 * CHUNK_BYTES, 3000 * CHUNK_BYTES),
        (3000 * CHUNK_BYTES, 3001 * CHUNK_BYTES),
    ]
    again = await visit(fleet, "/film.bin", Range=f"bytes={first + 20}-{first + 29}")
    assert again.is_hit
    assert len(store.asked) == 2
    end = await visit(fleet, "/film.bin", Range="bytes=-1")
    assert (end.status, end.content) == (206, b"\0")
    assert len(store.asked) == 3
    head = await fleet.client.head(f"http://127.0.0.1:{fleet.nodes['n1'].edge.port}/film.bin", headers={"Host": HOST})
    assert head.headers["content-length"] == str(size_bytes)
    assert [(each.start, each.stop) for each in store.asked[3:]] == [(0, CHUNK_BYTES)], "it says what GET would say"


async def test_everything_starts_while_the_store_is_down(tmp_path: Path) -> None:
    """Control replays its journal, the node serves what it has; when the store is back, so are deploys."""
    store = WatchedStore(tmp_path / "store")
    fleet = await Fleet(tmp_path).start(store)
    await fleet.add("n1")
    try:
        await fleet.create_site("one")
        await fleet.deploy("one", FILES)
        assert not (await visit(fleet)).is_hit
        store.is_down = True
        await fleet.stop_control()
        await fleet.start_control()
        await fleet.restart("n1")
        assert (await visit(fleet)).is_hit
        assert (await visit(fleet, "/index.html")).status == 502
        assert (await fleet.purge("one", urls=["/cold.txt"]))["complete"]
        assert (await visit(fleet)).status == 502
        store.is_down = False
        assert (await visit(fleet)).content == FILES["/cold.txt"]
        assert (await fleet.deploy("one", {"/index.html": b"new"}))["receipt"]["complete"]
        assert (await visit(fleet, "/")).content == b"new"
    finally:
        await fleet.aclose()
