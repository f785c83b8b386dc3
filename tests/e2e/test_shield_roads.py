"""Edges and shields in one process, over real listeners: what travels between them and what never does."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cdn.edge.shield_settings import PeerSettings, ShieldSettings
from tests.e2e.fleet import Answer, Fleet
from tests.e2e.gated_upstream import GatedUpstream
from tests.e2e.watched_store import WatchedStore

PATIENCE_S = 20.0
"""Of edges whose shield works: a busy machine is no dead shield."""

HOST = "pulled.cdn.localhost"
BUNDLE = "blog.cdn.localhost"

LEASE_S = 3.0
"""A node without a lease asks no shield: sixty heartbeats, so that none loses it here that is not cut off."""


@pytest.fixture
async def upstream() -> AsyncIterator[GatedUpstream]:
    upstream = await GatedUpstream().start()
    yield upstream
    await upstream.aclose()


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = await Fleet(tmp_path, lease_s=LEASE_S).start(WatchedStore(tmp_path / "store"))
    yield fleet
    await fleet.aclose()


async def add_shield(fleet: Fleet, node_id: str = "shield", **options: Any) -> str:
    """A new edge that others may ask; where."""
    node = await fleet.add(node_id, peers=PeerSettings("127.0.0.1", 0), allows_private_upstreams=True, **options)
    async with asyncio.timeout(30):
        while not len(node.edge.shielding.kept_roll.roll):
            await asyncio.sleep(0.005)
    return f"http://127.0.0.1:{node.edge.shielding.port}"


async def add_edge(fleet: Fleet, node_id: str, *urls: str, patience_s: float = PATIENCE_S, **options: Any) -> None:
    settings = ShieldSettings(urls, patience_s=patience_s, region=options.pop("shield_region", ""))
    await fleet.add(node_id, shield=settings, allows_private_upstreams=True, **options)


async def remove(fleet: Fleet, node_id: str) -> None:
    """Stop a node for good."""
    node = fleet.nodes.pop(node_id)
    await node.edge.stop()
    await node.line.aclose()


async def shielded(fleet: Fleet, upstream: GatedUpstream, *, edges: int = 2, **settings: Any) -> str:
    """A shield and edges that ask it, with a pull site on them; the shield's URL."""
    url = await add_shield(fleet)
    for number in range(edges):
        await add_edge(fleet, f"e{number}", url)
    await fleet.create_site("pulled", origin=upstream.url, **settings)
    await fleet.purge("pulled", everything=True)
    return url


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


def told(answer: Answer) -> str:
    """The detail of the last member of Cache-Status."""
    return answer.cache_status.rpartition("detail=")[2] if "detail=" in answer.cache_status else ""


async def test_the_whole_fleet_asks_upstream_once(fleet: Fleet, upstream: GatedUpstream) -> None:
    await shielded(fleet, upstream, edges=3)
    upstream.gate.clear()
    visits = [
        asyncio.create_task(fleet.visit(node_id, HOST, "/a"))
        for node_id in ("e0", "e1", "e2", "shield")
        for _ in range(5)
    ]
    await upstream.until_asked("/a")
    await until(lambda: fleet.nodes["shield"].edge.counted()["peer_connections"] >= 3)
    upstream.gate.set()
    answers = await asyncio.gather(*visits)
    assert {answer.content for answer in answers} == {b"one"}
    assert len(upstream.asked_for("/a")) == 1
    again = await fleet.visit("e0", HOST, "/a")
    assert "; hit" in again.cache_status.split(", ")[-1]
    assert len(upstream.asked_for("/a")) == 1


async def test_upstream_is_asked_as_if_the_edge_had_asked_itself(fleet: Fleet, upstream: GatedUpstream) -> None:
    await shielded(fleet, upstream, edges=1, upstream_host="visitor")
    await add_edge(fleet, "alone")
    fields = {"user_agent": "test", "via": "1.1 before", "cdn_loop": "other.example", "x_custom": "kept"}
    await fleet.visit("e0", HOST, "/a?q=1", **fields)
    await fleet.visit("alone", HOST, "/b?q=1", **fields)
    through, direct = upstream.asked_for("/a?q=1")[0], upstream.asked_for("/b?q=1")[0]
    assert through.fields == direct.fields
    assert not [name for name in through.fields if name.startswith("cdn-peer") or name == "cdn-required-sequence"]


async def test_a_shields_answer_says_everything_that_upstream_says_to_caches(
    fleet: Fleet, upstream: GatedUpstream
) -> None:
    upstream.fields[""] = {
        "Cache-Control": "max-age=60",
        "CDN-Cache-Control": "max-age=600",
        "Surrogate-Control": "max-age=900",
        "Cache-Tag": "news, sport",
        "X-Custom": "kept",
        "CDN-Peer-Answers": "1",
        "CDN-Peer-Fault": "behind",
    }
    await shielded(fleet, upstream, header_rules=[{"path": "/*", "fields": [["x-rule", "given"]]}])
    first = await fleet.visit("e0", HOST, "/a")
    second = await fleet.visit("e1", HOST, "/a")
    assert [first.fields.get(name) for name in ("x-custom", "surrogate-control", "cache-tag")] == ["kept", None, None]
    assert not [name for name in first.fields if name.startswith("cdn-peer")]
    assert second.fields["x-rule"] == "given"
    assert [part.split(";")[0] for part in second.cache_status.split(", ")] == ["cdn-shield", "cdn"]
    assert "cdn-shield; hit" in second.cache_status
    await fleet.purge("pulled", tags=["sport"])
    upstream.content[""] = b"two"
    assert (await fleet.visit("e1", HOST, "/a")).content == b"two"
    assert (await fleet.visit("e0", HOST, "/a")).content == b"two"
    assert len(upstream.asked_for("/a")) == 2


async def test_what_a_purge_forbids_no_shield_brings_back(fleet: Fleet, upstream: GatedUpstream) -> None:
    """The shield lags: its line to control is silent. What it holds is from before the purge."""
    await shielded(fleet, upstream)
    assert (await fleet.visit("e0", HOST, "/a")).content == b"one"
    upstream.content[""] = b"two"
    fleet.nodes["shield"].line.silence()
    receipt = await fleet.purge("pulled", everything=True)
    assert (await fleet.visit("e0", HOST, "/a")).content == b"two"
    assert receipt
    after = await fleet.visit("e1", HOST, "/a")
    assert after.content == b"two"
    assert told(after) in {"shield-behind", "shield-down"}
    fleet.nodes["shield"].line.mend()
    async with asyncio.timeout(30):
        number = 0
        while "cdn-shield" not in (await fleet.visit("e0", HOST, f"/{number}")).cache_status:
            number += 1
            await asyncio.sleep(0.05)


async def test_a_validation_goes_through_the_shield(fleet: Fleet, upstream: GatedUpstream) -> None:
    await shielded(fleet, upstream)
    await fleet.visit("e0", HOST, "/a")
    await fleet.visit("e1", HOST, "/a")
    await fleet.purge("pulled", everything=True, soft=True)
    answers = [await fleet.visit(node_id, HOST, "/a") for node_id in ("e0", "e1")]
    assert {answer.content for answer in answers} == {b"one"}
    assert all("fwd=stale; fwd-status=304" in answer.cache_status for answer in answers)
    asked = upstream.asked_for("/a")
    assert len(asked) == 2
    assert "if-none-match" in asked[1].fields


async def test_what_a_validation_brings_reaches_every_edge(fleet: Fleet, upstream: GatedUpstream) -> None:
    """A 304 of the shield's says all that upstream's said to the shield."""
    upstream.fields[""] = {"Cache-Control": "max-age=60", "Content-Type": "text/plain", "X-Edition": "first"}
    await shielded(fleet, upstream)
    for node_id in ("e0", "e1"):
        await fleet.visit(node_id, HOST, "/a")
    await fleet.purge("pulled", everything=True, soft=True)
    upstream.fields[""] = {"Cache-Control": "max-age=60", "Content-Type": "text/html", "X-Edition": "second"}
    answers = [await fleet.visit(node_id, HOST, "/a") for node_id in ("e0", "e1")]
    assert len(upstream.asked) == 2
    assert [(answer.fields["content-type"], answer.fields["x-edition"]) for answer in answers] == [
        ("text/html", "second")
    ] * 2


async def test_after_a_change_nothing_older_comes_from_the_shield(fleet: Fleet, upstream: GatedUpstream) -> None:
    """A POST goes past the shield; what the shield holds from before it is obsolete for the edge that sent it."""
    await shielded(fleet, upstream)
    await fleet.visit("e0", HOST, "/a")
    upstream.content[""] = b"two"
    url = f"http://127.0.0.1:{fleet.nodes['e0'].edge.port}/a"
    async with fleet.client.post(url, headers={"Host": HOST}, data=b"change") as response:
        assert response.status == 200
    assert (await fleet.visit("e0", HOST, "/a")).content == b"two"
    asked = len(upstream.asked)
    assert (await fleet.visit("e1", HOST, "/a")).content == b"two"
    assert len(upstream.asked) == asked


async def test_two_nodes_that_shield_each_other_do_not_wait_for_one_another(
    fleet: Fleet, upstream: GatedUpstream
) -> None:
    first = await add_shield(fleet, "s1")
    await fleet.add(
        "s2",
        peers=PeerSettings("127.0.0.1", 0),
        shield=ShieldSettings((first,), patience_s=PATIENCE_S),
        allows_private_upstreams=True,
    )
    second = f"http://127.0.0.1:{fleet.nodes['s2'].edge.shielding.port}"
    await remove(fleet, "s1")
    port = int(first.rpartition(":")[2])
    await fleet.add(
        "s1",
        peers=PeerSettings("127.0.0.1", port),
        shield=ShieldSettings((second,), patience_s=PATIENCE_S),
        allows_private_upstreams=True,
    )
    await fleet.create_site("pulled", origin=upstream.url)
    await fleet.purge("pulled", everything=True)
    await until(lambda: all(len(node.edge.shielding.kept_roll.roll) for node in fleet.nodes.values()))
    upstream.gate.clear()
    visits = [asyncio.create_task(fleet.visit(node_id, HOST, "/a")) for node_id in ("s1", "s2") * 4]
    await upstream.until_asked("/a")
    upstream.gate.set()
    async with asyncio.timeout(30):
        assert {answer.content for answer in await asyncio.gather(*visits)} == {b"one"}


async def test_when_the_visitor_has_gone_the_upstream_is_told(fleet: Fleet, upstream: GatedUpstream) -> None:
    """Nobody wants the rest of what is not stored: neither the edge nor the shield waits for it."""
    await shielded(fleet, upstream, edges=1)
    upstream.fields[""] = {"Cache-Control": "no-store"}
    upstream.content[""] = b"x" * 200_000
    upstream.pauses_after = 100_000
    reader, writer = await asyncio.open_connection("127.0.0.1", fleet.nodes["e0"].edge.port)
    writer.write(f"GET /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    await reader.readexactly(100_000)
    connected: socket.socket = writer.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await until(lambda: not any(len(node.edge.pull.flights) for node in fleet.nodes.values()))
    upstream.gate.set()


async def test_a_dead_shield_is_passed_by_and_found_again(fleet: Fleet, upstream: GatedUpstream) -> None:
    url = await shielded(fleet, upstream, edges=1)
    await remove(fleet, "shield")
    first = await fleet.visit("e0", HOST, "/a")
    assert (first.content, told(first)) == (b"one", "shield-connect-refused")
    second = await fleet.visit("e0", HOST, "/b")
    assert (second.content, told(second)) == (b"one", "shield-down")
    await fleet.add(
        "shield", peers=PeerSettings("127.0.0.1", int(url.rpartition(":")[2])), allows_private_upstreams=True
    )
    number = 0
    async with asyncio.timeout(30):
        while "cdn-shield" not in (await fleet.visit("e0", HOST, f"/again{number}")).cache_status:
            number += 1
            await asyncio.sleep(0.05)


async def test_an_upstream_that_fails_the_shield_is_not_asked_again(fleet: Fleet, upstream: GatedUpstream) -> None:
    await shielded(fleet, upstream, edges=1)
    upstream.breaks_after = 0
    upstream.fields[""] = {"Cache-Control": "max-age=60", "Content-Length": "nonsense"}
    upstream.content["/a"] = b"x" * 100
    answer = await fleet.client.get(f"http://127.0.0.1:{fleet.nodes['e0'].edge.port}/a", headers={"Host": HOST})
    assert answer.status in {200, 502}
    assert len(upstream.asked_for("/a")) == 1


async def test_bundles_come_through_the_shield_and_the_store_is_asked_once(fleet: Fleet) -> None:
    url = await add_shield(fleet)
    for node_id in ("e0", "e1"):
        await add_edge(fleet, node_id, url)
    await fleet.create_site("blog")
    files = {"/index.html": b"<p>home</p>", "/big.bin": random.Random(1).randbytes(3_000_000), "/empty.txt": b""}
    await fleet.deploy("blog", files)
    for node_id in ("e0", "e1", "shield"):
        for path, content in files.items():
            assert (await fleet.visit(node_id, BUNDLE, path.replace("index.html", ""))).content == content
    chunks = 1 + 3
    assert len(fleet.store.asked) == chunks
    await fleet.purge("blog", everything=True)
    for node_id in ("e0", "e1"):
        assert (await fleet.visit(node_id, BUNDLE, "/")).content == files["/index.html"]
    assert len(fleet.store.asked) == chunks + 1
    counted = fleet.nodes["e0"].edge.counted()
    assert counted["shield_requests"] > 0
    assert counted["fetch_upstream_requests"] == 0


async def test_all_edges_at_once_ask_the_store_once(fleet: Fleet) -> None:
    url = await add_shield(fleet)
    for node_id in ("e0", "e1", "e2"):
        await add_edge(fleet, node_id, url)
    await fleet.create_site("blog")
    await fleet.deploy("blog", {"/index.html": b"<p>home</p>"})
    fleet.store.close_gate()
    visits = [
        asyncio.create_task(fleet.visit(node_id, BUNDLE)) for node_id in ("e0", "e1", "e2", "shield") for _ in range(3)
    ]
    shield = fleet.nodes["shield"].edge
    await until(lambda: shield.counted()["peer_connections"] >= 3 and fleet.store.arrived.is_set())
    fleet.store.gate.set()
    assert {answer.content for answer in await asyncio.gather(*visits)} == {b"<p>home</p>"}
    assert len(fleet.store.asked) == 1


async def test_a_pinned_sites_bytes_never_come_by_a_shield_elsewhere(fleet: Fleet, upstream: GatedUpstream) -> None:
    url = await add_shield(fleet, region="us")
    await add_edge(fleet, "honest", url, region="eu", shield_region="us")
    await add_edge(fleet, "mistaken", url, region="eu", shield_region="eu")
    await fleet.create_site("pulled", origin=upstream.url, region=["eu"])
    await fleet.purge("pulled", everything=True)
    honest = await fleet.visit("honest", HOST, "/a")
    mistaken = await fleet.visit("mistaken", HOST, "/a")
    assert (honest.content, told(honest)) == (b"one", "")
    assert (mistaken.content, told(mistaken)) == (b"one", "shield-ineligible")
    assert fleet.nodes["shield"].edge.counted()["peer_refused_ineligible"] == 1
    assert fleet.nodes["shield"].edge.counted()["misses"] == 0


async def test_a_node_whose_token_was_revoked_gets_nothing(fleet: Fleet, upstream: GatedUpstream) -> None:
    url = await add_shield(fleet)
    token = await fleet.plane.create_token(("node:gone",), note="test")
    kept, fleet.node_token = fleet.node_token, token
    await add_edge(fleet, "gone", url)
    fleet.node_token = kept
    await fleet.create_site("pulled", origin=upstream.url)
    await fleet.purge("pulled", everything=True)
    assert "cdn-shield" in (await fleet.visit("gone", HOST, "/a")).cache_status
    await fleet.call("DELETE", f"/v1/tokens/{token.split('_')[1]}")
    await until(lambda: len(fleet.nodes["shield"].edge.shielding.kept_roll.roll) == 1)
    answer = await fleet.visit("gone", HOST, "/b")
    assert told(answer) in {"shield-unauthorised", "detached"}
    assert fleet.nodes["shield"].edge.counted()["peer_refused_unauthorised"] >= 1


async def test_a_shield_is_asked_only_by_nodes(fleet: Fleet, upstream: GatedUpstream) -> None:
    url = await shielded(fleet, upstream, edges=0)
    async with fleet.client.get(f"{url}/a", headers={"Host": HOST}) as response:
        assert (response.status, response.headers["cdn-peer-fault"]) == (401, "unauthorised")
    headers = {"Host": HOST, "Cdn-Peer-Authorization": f"{fleet.node_token}"}
    async with fleet.client.get(f"{url}/a", headers=headers) as response:
        assert (response.status, response.headers["cdn-peer-fault"]) == (401, "unauthorised")
    assert not upstream.asked
