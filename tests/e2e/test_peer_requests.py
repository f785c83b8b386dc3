"""What a shield says to nodes that ask for what it does not give: one word each, and nothing is fetched for it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cdn.edge.shield import READY_PATH
from cdn.edge.shield_settings import PeerSettings
from cdn.fleet.peers import shown_by
from tests.e2e.fleet import Fleet
from tests.e2e.gated_upstream import GatedUpstream
from tests.e2e.test_shield_roads import until
from tests.e2e.watched_store import WatchedStore

HOME = b"<p>home</p>"
HOME_DIGEST, OTHER_DIGEST = hashlib.sha256(HOME).hexdigest(), "ab" * 32


@dataclass(slots=True)
class Asker:
    """A node that asks a shield by hand."""

    fleet: Fleet
    url: str
    site_id: str
    bundle_id: str

    @property
    def position(self) -> str:
        return str(self.fleet.nodes["shield"].edge.view.position)

    async def ask(
        self, target: str, *, method: str = "GET", data: bytes | None = None, **fields: str | None
    ) -> tuple[int, str]:
        """Status, and the fault or the content. A field that is None is left out."""
        given: dict[str, str | None] = {
            "host": "pulled.cdn.localhost",
            "cdn-peer-version": "1",
            "cdn-peer-authorization": shown_by(self.fleet.node_token),
            "cdn-peer-node": "e1",
            "cdn-required-sequence": self.position,
            **{name.replace("_", "-"): value for name, value in fields.items()},
        }
        headers = {name: value for name, value in given.items() if value is not None}
        async with self.fleet.client.request(method, f"{self.url}{target}", headers=headers, data=data) as response:
            text = (await response.read()).decode()
            return response.status, response.headers.get("cdn-peer-fault", text)

    async def pull(self, target: str = "/a", **fields: Any) -> tuple[int, str]:
        site: dict[str, Any] = {"cdn_peer_site": self.site_id, "cdn_peer_client": "192.0.2.1"}
        return await self.ask(target, **{**site, "cdn_peer_scheme": "http", **fields})

    async def chunk(self, digest: str, chunk_digest: str, stop: int = len(HOME), **fields: Any) -> tuple[int, str]:
        target = f"/v1/peer/sites/{self.bundle_id}/blobs/{digest}/chunks/{chunk_digest}?start=0&stop={stop}"
        return await self.ask(target, **{"cdn_peer_floor": "0", **fields})


@pytest.fixture
async def upstream() -> AsyncIterator[GatedUpstream]:
    upstream = await GatedUpstream().start()
    yield upstream
    await upstream.aclose()


@pytest.fixture
async def asker(tmp_path: Path, upstream: GatedUpstream) -> AsyncIterator[Asker]:
    fleet = await Fleet(tmp_path).start(WatchedStore(tmp_path / "store"))
    try:
        node = await fleet.add("shield", peers=PeerSettings("127.0.0.1", 0), allows_private_upstreams=True, region="us")
        await until(lambda: len(node.edge.shielding.kept_roll.roll))
        pulled = await fleet.create_site("pulled", origin=upstream.url)
        bundle = await fleet.create_site("blog")
        await fleet.deploy("blog", {"/index.html": HOME})
        url = f"http://127.0.0.1:{node.edge.shielding.port}"
        yield Asker(fleet, url, pulled["id"], bundle["id"])
    finally:
        await fleet.aclose()


async def test_what_is_asked_rightly_is_answered(asker: Asker) -> None:
    assert await asker.ask(READY_PATH) == (200, "")
    assert await asker.pull() == (200, "one")
    assert await asker.pull(method="HEAD") == (200, "")
    assert await asker.chunk(HOME_DIGEST, HOME_DIGEST) == (200, HOME.decode())


async def test_what_is_asked_wrongly_is_not(asker: Asker, upstream: GatedUpstream) -> None:
    epoch, _, sequence = asker.position.rpartition(":")
    ahead = f"{epoch}:{int(sequence) + 1}"
    proof = shown_by(asker.fleet.node_token)
    expected: list[tuple[dict[str, Any], int, str]] = [
        ({"cdn_peer_authorization": None}, 401, "unauthorised"),
        ({"cdn_peer_authorization": proof + "0"}, 401, "unauthorised"),
        ({"cdn_peer_authorization": f"Bearer {asker.fleet.node_token}"}, 401, "unauthorised"),
        ({"cdn_peer_version": None}, 501, "version"),
        ({"cdn_peer_version": "2"}, 501, "version"),
        ({"cdn_peer_node": "shield"}, 508, "loop"),
        ({"cdn_loop": "before.example, CDN.localhost; x=1"}, 508, "loop"),
        ({"cdn_required_sequence": None}, 400, "malformed"),
        ({"cdn_required_sequence": sequence}, 400, "malformed"),
        ({"cdn_required_sequence": ahead}, 503, "behind"),
        ({"cdn_required_sequence": f"other:{sequence}"}, 503, "behind"),
        ({"cdn_peer_site": "nowhere"}, 404, "unknown-site"),
        ({"cdn_peer_site": asker.bundle_id}, 400, "malformed"),
        ({"cdn_peer_scheme": "ftp"}, 400, "malformed"),
        ({"cdn_peer_newer": "soon"}, 400, "malformed"),
        ({"method": "POST"}, 400, "malformed"),
        ({"data": b"content"}, 400, "malformed"),
    ]
    for fields, status, fault in expected:
        assert await asker.pull(**fields) == (status, fault), fields
    assert not upstream.asked


async def test_blobs_are_given_by_digest_only(asker: Asker) -> None:
    assert await asker.chunk(HOME_DIGEST, OTHER_DIGEST) == (502, "damaged")
    assert await asker.chunk(OTHER_DIGEST, HOME_DIGEST) == (502, "missing")
    assert await asker.chunk(HOME_DIGEST, HOME_DIGEST, stop=3) == (502, "damaged")
    assert await asker.chunk(HOME_DIGEST, HOME_DIGEST, cdn_peer_floor=None) == (400, "malformed")
    assert await asker.ask(f"/v1/peer/sites/{asker.bundle_id}/manifests/{OTHER_DIGEST}") == (502, "store")
    assert await asker.ask(f"/v1/peer/sites/nowhere/manifests/{OTHER_DIGEST}") == (404, "unknown-site")
    assert await asker.ask("/v1/peer/sites/") == (400, "malformed")


async def test_no_node_asks_one_site_for_the_blobs_of_another(asker: Asker) -> None:
    """A blob is there below the site that proved it, and nowhere else (DESIGN I7)."""
    other = await asker.fleet.create_site("other")
    await until(lambda: asker.fleet.nodes["shield"].edge.view.catalog.site(other["id"]))
    target = f"/v1/peer/sites/{other['id']}/blobs/{HOME_DIGEST}/chunks/{HOME_DIGEST}?start=0&stop={len(HOME)}"
    assert (await asker.chunk(HOME_DIGEST, HOME_DIGEST))[0] == 200
    assert await asker.ask(target, cdn_peer_floor="0") == (502, "missing")


async def test_a_chunk_from_before_the_floor_is_asked_for_again(asker: Asker) -> None:
    store = asker.fleet.store
    floor = asker.position.rpartition(":")[2]
    for _ in range(2):
        await asker.chunk(HOME_DIGEST, HOME_DIGEST)
    assert len(store.asked) == 1
    await asker.fleet.create_site("another")
    await until(lambda: asker.position.rpartition(":")[2] != floor)
    newer = asker.position.rpartition(":")[2]
    await asker.chunk(HOME_DIGEST, HOME_DIGEST, cdn_peer_floor=floor)
    assert len(store.asked) == 1
    await asker.chunk(HOME_DIGEST, HOME_DIGEST, cdn_peer_floor=newer)
    assert len(store.asked) == 2


async def test_a_pinned_site_is_refused_and_nothing_of_it_fetched(asker: Asker, upstream: GatedUpstream) -> None:
    pinned = await asker.fleet.create_site("pinned", origin=upstream.url, region=["eu"])
    await asker.fleet.purge("pinned", everything=True)
    assert await asker.pull(cdn_peer_site=pinned["id"]) == (421, "ineligible")
    assert await asker.ask(f"/v1/peer/sites/{pinned['id']}/manifests/{OTHER_DIGEST}") == (421, "ineligible")
    assert not upstream.asked


async def test_one_that_drains_sends_nodes_past_itself(asker: Asker) -> None:
    asker.fleet.nodes["shield"].edge.shielding.withdraw()
    assert await asker.pull() == (503, "draining")


async def test_stale_responses_are_never_given_to_a_node(asker: Asker, upstream: GatedUpstream) -> None:
    upstream.fields[""] = {"Cache-Control": "max-age=0, stale-while-revalidate=600, stale-if-error=600"}
    assert await asker.pull() == (200, "one")
    upstream.content[""] = b"two"
    assert await asker.pull() == (200, "two")
    assert await asker.pull(cache_control="max-stale=600") == (200, "two")
    await upstream.aclose()
    assert await asker.pull() == (502, "upstream connect-refused")


async def test_what_is_newer_than_asked_for_is_given_and_what_is_older_validated(
    asker: Asker, upstream: GatedUpstream
) -> None:
    await asker.pull()
    assert await asker.pull(cdn_peer_newer="3600000") == (200, "one")
    assert len(upstream.asked) == 1
    upstream.content[""] = b"two"
    assert await asker.pull(cdn_peer_newer="0") == (200, "two")
    assert len(upstream.asked) == 2
