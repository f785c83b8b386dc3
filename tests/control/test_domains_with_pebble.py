"""Domains from a claim to HTTPS by a real authority: Pebble, with its refused nonces and its delays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509

from cdn.control.acme_memory import StoredAcmeMemory
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.journal.record import RECORD_VERSION, DomainClaimed
from cdn.origin.layout import certificate_key
from cdn.sites.onboarding import Stage
from cdn.tls.acme.authority import Authority
from cdn.tls.acme.issuer import AcmeIssuer
from cdn.tls.sealed_certificate import CertificateObject, RingSet
from tests.control.control_room import Control, ControlMaker
from tests.control.domain_room import TestSight, issuing
from tests.servers.names import Names
from tests.servers.pebble import Pebble

WWW = "www.example.com"
NEW_ORDER = "POST /order-plz"


@pytest.fixture
def names() -> Iterator[Names]:
    with Names() as running:
        yield running


@pytest.fixture
def pebble(tmp_path: Path, names: Names) -> Iterator[Pebble]:
    folder = tmp_path / "pebble"
    folder.mkdir()
    with Pebble(folder, names=names.address) as running:
        yield running


class Fleet:
    """One control whose only node answers http-01 by the records that it has, and whose name server is the test's."""

    def __init__(self, control: Control, pebble: Pebble, names: Names) -> None:
        self.control = control
        self.pebble = pebble
        self.names = names
        self.sight = TestSight()
        self.lies = False
        self.holds_back = False
        self.site_id = ""
        self.own_zone = False

    def role(self, holder: str) -> Any:
        control = self.control
        kept = control.issuing
        more: dict[str, Any] = {} if kept is None else {"control_ring": kept.control_ring, "rings": kept.rings}
        made = issuing(None, holder=holder, **more)
        memory = StoredAcmeMemory(control.store, made.control_ring)
        authority = Authority(self.pebble.directory_url, ca_file=self.pebble.ca_file)
        issuer: Any = AcmeIssuer(authority, memory)
        rings = {"control_ring": made.control_ring, "rings": made.rings}
        return issuing(issuer, holder=holder, own_zone=self.own_zone, **rings)

    async def open(self, holder: str = "control-1") -> None:
        control = self.control
        control.issuing, control.sight = self.role(holder), self.sight
        await control.reopen()
        await control.node()
        dns = control.plane.hub.dns
        await dns.connected("ns1", NodeFacts("test"), None, lease_s=10.0, record_version=RECORD_VERSION)
        control.plane.state.watch(self._apply)

    def _apply(self, position: Position) -> None:
        if self.holds_back:
            return
        services = self.control.plane.services
        values: dict[str, list[str]] = {}
        for each in services.zones.challenges():
            values.setdefault(each.name, []).append(f'"{each.value}"')
        for name, quoted in values.items():
            self.names.set(name, "TXT", *quoted)
        self.control.plane.hub.dns.applied("ns1", position)
        services.directory.applied("edge-1", position)

    async def answer(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        certificates = self.control.plane.services.certificates
        value = certificates.answer("http-01", request.host.partition(":")[0], token, self.control.clock())
        return web.Response(text="nothing" if self.lies or value is None else value)

    async def claim(self) -> None:
        change = DomainClaimed(WWW, self.site_id, "token-1")
        await self.control.plane.state.append(f"domain/{WWW}", lambda: change, "test")

    async def check(self, wait_s: float = 40.0) -> Any:
        return await self.control.plane.domains.desk.check(self.site_id, WWW, wait_s)

    @property
    def orders(self) -> int:
        return self.pebble.log.read_text(errors="replace").count(NEW_ORDER)

    async def stored(self, domain: str) -> CertificateObject:
        facts = self.control.plane.services.certificates.certificate(domain)
        raw = await self.control.store.get(certificate_key(facts.certificate_id))
        return CertificateObject.from_bytes(raw, facts.certificate_id)


@pytest.fixture
async def fleet(make_control: ControlMaker, pebble: Pebble, names: Names) -> AsyncIterator[Fleet]:
    made = Fleet(await make_control(), pebble, names)
    created = await made.control.api.post("/v1/sites", {"name": "blog"})
    assert created.status == 201, created
    made.site_id = made.control.plane.services.catalog.site_named("blog").id
    node = web.Application()
    node.router.add_get("/.well-known/acme-challenge/{token}", made.answer)
    runner = web.AppRunner(node, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", pebble.ports.http).start()
    await made.open()
    yield made
    await runner.cleanup()


async def test_a_claim_becomes_live_by_http_01(fleet: Fleet) -> None:
    await fleet.claim()
    standing = await fleet.check()
    assert standing.stage is Stage.LIVE, standing
    stored = await fleet.stored(WWW)
    leaf, issuer, *_ = x509.load_pem_x509_certificates(stored.chain.encode())
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(x509.load_pem_x509_certificate(fleet.pebble.root().encode()))
    key = RingSet(fleet.control.issuing.rings).opened(stored.certificate_id, stored.sealed_keys)
    assert b"BEGIN PRIVATE KEY" in key
    assert fleet.control.plane.services.certificates.answers() == ()
    assert fleet.orders == 1


async def test_a_challenge_that_fails_is_told_as_the_authority_told_it(fleet: Fleet) -> None:
    fleet.lies = True
    await fleet.claim()
    async with asyncio.timeout(40):
        while not (standing := await fleet.check(0)).failures:
            await asyncio.sleep(0.1)
    assert standing.stage is Stage.ISSUING
    assert "The key authorization file from the server did not match" in standing.fault
    assert standing.next_try_at > fleet.control.clock()
    fleet.lies = False
    fleet.control.clock.now += 3600
    assert (await fleet.check()).stage is Stage.LIVE


async def test_a_control_that_restarts_in_the_middle_goes_on_with_its_order(fleet: Fleet) -> None:
    fleet.holds_back = True
    await fleet.claim()
    async with asyncio.timeout(30):
        while not fleet.control.plane.services.certificates.answers():
            await asyncio.sleep(0.02)
    assert fleet.orders == 1
    fleet.holds_back = False
    await fleet.open("control-2")
    standing = await fleet.check()
    assert standing.stage is Stage.LIVE, standing
    assert fleet.orders == 1
    stored = await fleet.stored(WWW)
    RingSet(fleet.control.issuing.rings).opened(stored.certificate_id, stored.sealed_keys)


async def test_a_wildcard_is_validated_by_dns(fleet: Fleet) -> None:
    change = DomainClaimed("*.example.com", fleet.site_id, "token-1")
    await fleet.control.plane.state.append("domain/*.example.com", lambda: change, "test")
    fleet.sight.shows(has_our_dns=True)
    zone = await fleet.control.api.get("/v1/zones")
    assert zone.status == 200
    standing = await fleet.control.plane.domains.desk.check(fleet.site_id, "*.example.com", 5)
    assert standing.stage is Stage.ISSUING
    assert "import its zone" in standing.fault


async def test_the_cdns_own_zone_has_a_wildcard_by_dns(fleet: Fleet) -> None:
    fleet.own_zone = True
    await fleet.open("control-2")
    certificates = fleet.control.plane.services.certificates
    async with asyncio.timeout(40):
        while (facts := certificates.certificate("*.cdn.localhost")) is None:
            await asyncio.sleep(0.05)
    assert set(facts.names) == {"*.cdn.localhost", "cdn.localhost"}
    assert facts.site_id == ""
    assert fleet.control.plane.services.zones.challenges() == ()
