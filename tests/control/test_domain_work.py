"""Domains from a claim to HTTPS, over a real control plane, journal and store."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509

from cdn.control.domain_parts import DomainFleet, DomainFolds, DomainParts
from cdn.errors import Conflict, InvalidInput, NotFound
from cdn.fleet.node import NodeFacts
from cdn.journal.record import DomainClaimed
from cdn.origin.layout import certificate_key
from cdn.sites.onboarding import Stage
from cdn.tls.certificate import read_certificate
from cdn.tls.certificate_key import certificate_request, make_certificate_key
from cdn.tls.issuer import ChallengeMethod, IssueRefused, RenewalWindow
from cdn.tls.local_names import LocalNames
from cdn.tls.sealed import KeyRing, SealingKey
from cdn.tls.sealed_certificate import CertificateObject, RingSet
from tests.control.control_room import Control, ControlMaker
from tests.control.domain_room import SigningIssuer, TestSight, issuing, ring

DAY_S = 86_400.0
WWW = "www.example.com"


class Room:
    """One control with a site, whose rounds the test makes."""

    def __init__(self, control: Control, issuer: SigningIssuer, sight: TestSight) -> None:
        self.control = control
        self.issuer = issuer
        self.sight = sight
        self.site_id = ""

    @property
    def parts(self) -> Any:
        return self.control.plane.domains

    @property
    def state(self) -> Any:
        return self.control.plane.state

    async def claim(self, domain: str = WWW) -> None:
        change = DomainClaimed(domain, self.site_id, "token-1")
        await self.state.append(f"domain/{domain}", lambda: change, "test")

    async def rounds(self, until: Any, most: int = 400) -> None:
        """Return once it is so; rounds are made by the watch itself."""
        async with asyncio.timeout(10):
            while not until():
                await asyncio.sleep(0.005)

    def certificate(self, domain: str = WWW) -> Any:
        return self.control.plane.services.certificates.certificate(domain)


async def room_of(control: Control, **more: Any) -> Room:
    issuer, sight = SigningIssuer(control.clock), TestSight()
    control.issuing, control.sight = issuing(issuer, **more), sight
    await control.reopen()
    made = Room(control, issuer, sight)
    created = await control.api.post("/v1/sites", {"name": "blog"})
    assert created.status == 201, created
    made.site_id = control.plane.services.catalog.site_named("blog").id
    await control.following_node()
    return made


@pytest.fixture
async def room(make_control: ControlMaker) -> Room:
    return await room_of(await make_control())


async def keys_below(room: Room, *prefixes: str) -> list[str]:
    return [each.key for prefix in prefixes async for each in room.control.store.scan(prefix)]


async def checked(room: Room) -> Any:
    """How it stands once all that could be done at once is done."""
    await room.parts.desk.check(room.site_id, WWW, 0)
    await room.rounds(lambda: not room.parts.desk.looking)
    return await room.parts.desk.standing(room.site_id, WWW)


def public_key_of(csr: bytes) -> Any:
    return x509.load_der_x509_csr(csr).public_key()


async def test_a_claim_whose_token_is_there_becomes_live_by_itself(room: Room) -> None:
    await room.claim()
    await room.rounds(room.certificate)
    assert room.control.plane.services.catalog.domain_owner(WWW) == room.site_id
    assert room.sight.asked[0] == (WWW, "token-1")
    facts = room.certificate()
    assert (facts.site_id, facts.names, facts.issuer) == (room.site_id, (WWW,), "https://acme.test/dir")
    standing = await checked(room)
    assert standing.stage is Stage.LIVE, standing
    assert len(room.issuer.requests) == 1


async def test_nothing_is_ordered_before_the_token_is_seen(room: Room) -> None:
    room.sight.shows(is_shown=False, ownership_says="ns1 says no")
    await room.claim()
    standing = await checked(room)
    assert (standing.stage, standing.fault) == (Stage.ADDED, "ns1 says no")
    assert room.control.plane.services.catalog.domain_owner(WWW) is None
    assert room.issuer.requests == []
    room.sight.shows(is_shown=True, ownership_says="", leads_here=False, pointing_says="points elsewhere")
    standing = await checked(room)
    assert (standing.stage, standing.fault) == (Stage.VERIFIED, "points elsewhere")
    assert room.issuer.requests == []
    room.sight.shows(leads_here=True, pointing_says="")
    assert (await room.parts.desk.check(room.site_id, WWW, 5)).stage is Stage.LIVE


async def test_a_refusal_is_shown_as_it_is_and_tried_again_when_it_is_time(room: Room) -> None:
    room.issuer.outcomes = [IssueRefused("urn:ietf:params:acme:error:dns: nobody there")]
    await room.claim()
    standing = await checked(room)
    assert (standing.stage, standing.fault) == (Stage.ISSUING, "urn:ietf:params:acme:error:dns: nobody there")
    now = room.control.clock.now
    assert standing.failures == 1
    assert standing.next_try_at is not None
    assert now + 60 <= standing.next_try_at <= now + 90
    await checked(room)
    assert len(room.issuer.requests) == 1, "who asks at once does not make the authority count another failure"
    room.control.clock.now += 31
    assert (await checked(room)).stage is Stage.LIVE


async def test_the_patience_that_an_authority_asks_for_is_kept_whoever_asks(room: Room) -> None:
    room.issuer.outcomes = [IssueRefused("rateLimited", retry_after_s=3600.0)]
    await room.claim()
    standing = await checked(room)
    retry_at = standing.next_try_at
    assert room.control.clock.now + 3600 <= retry_at < room.control.clock.now + 3620
    room.control.clock.now = retry_at - 1
    await checked(room)
    assert len(room.issuer.requests) == 1
    room.control.clock.now += 2
    assert (await checked(room)).stage is Stage.LIVE


async def test_an_order_that_a_restart_cut_off_is_gone_on_with_by_the_same_key(room: Room) -> None:
    room.issuer.gate = asyncio.Event()
    await room.claim()
    await room.rounds(lambda: room.issuer.requests)
    await room.control.reopen()
    await room.control.following_node()
    room.issuer.gate.set()
    await room.rounds(room.certificate)
    first, second = room.issuer.requests
    assert public_key_of(first.csr) == public_key_of(second.csr)


async def test_a_certificate_is_renewed_when_it_is_time_and_replaces_the_one_before(room: Room) -> None:
    room.issuer.life_s = 6 * DAY_S
    await room.claim()
    await room.rounds(room.certificate)
    first = room.certificate()
    room.control.clock.now += 2.5 * DAY_S
    await room.parts.work.advance(WWW, room.site_id)
    assert room.certificate() == first
    room.control.clock.now += 0.9 * DAY_S
    await room.parts.work.advance(WWW, room.site_id)
    second = room.certificate()
    assert second.certificate_id != first.certificate_id
    assert room.issuer.requests[-1].replaces is not None
    assert (await room.parts.desk.standing(room.site_id, WWW)).stage is Stage.LIVE


async def test_an_authority_says_when_a_certificate_is_to_be_renewed(room: Room) -> None:
    await room.claim()
    await room.rounds(room.certificate)
    first, now = room.certificate(), room.control.clock.now
    room.issuer.window = RenewalWindow(now - 20, now - 10, "https://acme.test/why", 3600.0)
    room.control.clock.now += DAY_S + 1  # it is asked again once a day
    await room.parts.work.advance(WWW, room.site_id)
    assert room.certificate().certificate_id != first.certificate_id


async def test_a_domain_whose_token_is_gone_for_long_is_released(room: Room) -> None:
    await room.claim()
    await room.rounds(room.certificate)
    room.sight.shows(is_shown=False, ownership_says="gone")
    for _ in range(16):
        assert room.control.plane.services.catalog.domain_owner(WWW) == room.site_id
        room.control.clock.now += 1.2 * DAY_S
        if await room.parts.work.advance(WWW, room.site_id) == float("inf"):
            break
    assert room.control.plane.services.catalog.domain_owner(WWW) is None
    assert room.certificate() is None
    with pytest.raises(NotFound):
        await room.parts.desk.standing(room.site_id, WWW)


async def test_servers_that_are_silent_take_no_domain_away(room: Room) -> None:
    await room.claim()
    await room.rounds(room.certificate)
    room.sight.shows(is_shown=None)
    for _ in range(20):
        room.control.clock.now += 1.2 * DAY_S
        await room.parts.work.advance(WWW, room.site_id)
    assert room.control.plane.services.catalog.domain_owner(WWW) == room.site_id


CLEAR = (b"PRIVATE KEY", base64.b64encode(b"-----BEGIN PRIVATE KEY-----")[:28])
"""How a key in PEM form begins, as it is and in base64."""


async def test_keys_stand_nowhere_in_clear(room: Room) -> None:
    room.issuer.outcomes = [IssueRefused("once")]
    await room.claim()
    for has_certificate in (False, True):  # while an order is open, and after it
        await checked(room)
        assert (room.certificate() is not None) == has_certificate
        for path in room.control.root.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            assert not any(clear in content for clear in CLEAR), path
        room.control.clock.now += 3600


async def test_a_certificate_of_the_owner_is_served_until_it_is_released(room: Room) -> None:
    await room.claim()
    await room.rounds(room.certificate)
    key = make_certificate_key()
    brought = room.issuer.signed(certificate_request(key, (WWW,))).chain
    desk = room.parts.desk
    facts = await desk.take_certificate(room.site_id, WWW, brought, key.decode(), "somebody")
    assert facts.issuer == "upload"
    room.control.clock.now += 89 * DAY_S
    orders = len(room.issuer.requests)
    await room.parts.work.advance(WWW, room.site_id)
    assert len(room.issuer.requests) == orders
    await desk.release_certificate(room.site_id, WWW, "somebody")
    await room.rounds(lambda: room.certificate().issuer != "upload")
    with pytest.raises(NotFound):
        await desk.release_certificate(room.site_id, WWW, "somebody")
    other = room.issuer.signed(certificate_request(key, ("other.example.com",))).chain
    with pytest.raises(InvalidInput, match="not for www"):
        await desk.take_certificate(room.site_id, WWW, other, key.decode(), "somebody")


async def test_a_certificate_of_the_owner_that_is_over_is_a_fault_and_not_replaced(room: Room) -> None:
    await room.claim()
    await room.rounds(room.certificate)
    key, desk = make_certificate_key(), room.parts.desk
    brought = room.issuer.signed(certificate_request(key, (WWW,))).chain
    await desk.take_certificate(room.site_id, WWW, brought, key.decode(), "somebody")
    orders = len(room.issuer.requests)
    room.control.clock.now += 91 * DAY_S
    standing = await checked(room)
    assert len(room.issuer.requests) == orders
    assert standing.stage is not Stage.LIVE
    assert "bring another" in standing.fault
    assert standing.waits_for == ""
    assert standing.next_try_at > room.control.clock.now
    await desk.release_certificate(room.site_id, WWW, "somebody")
    await room.rounds(lambda: room.certificate().issuer != "upload")
    assert (await checked(room)).stage is Stage.LIVE


async def test_a_certificate_is_released_wherever_the_office_of_all_domains_is(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.claim()
    await room.rounds(room.certificate)
    key, desk = make_certificate_key(), room.parts.desk
    brought = room.issuer.signed(certificate_request(key, (WWW,))).chain
    await desk.take_certificate(room.site_id, WWW, brought, key.decode(), "somebody")
    monkeypatch.setattr(room.parts.watch, "due_at", lambda domain, site_id: None)
    monkeypatch.setattr(room.parts.watch, "look_soon", lambda domain, site_id: None)
    await desk.release_certificate(room.site_id, WWW, "somebody")
    await room.rounds(lambda: room.certificate().issuer != "upload")
    assert (await checked(room)).stage is Stage.LIVE


async def test_what_an_owner_brings_while_an_order_ends_stays(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    await room.claim()
    await room.rounds(room.certificate)
    key, records = make_certificate_key(), room.parts.records
    mine = read_certificate(room.issuer.signed(certificate_request(key, (WWW,))).chain, key)
    other = make_certificate_key()
    ordered = read_certificate(room.issuer.signed(certificate_request(other, (WWW,))).chain, other)
    put = room.control.store.put
    brought: list[Any] = []

    async def slow_put(name: str, *rest: Any, **more: Any) -> Any:
        if name == certificate_key(ordered.certificate_id) and not brought:
            brought.append(await records.keep(WWW, mine, room.site_id, "upload", "somebody"))
        return await put(name, *rest, **more)

    monkeypatch.setattr(room.control.store, "put", slow_put)
    with pytest.raises(Conflict, match="brought a certificate meanwhile"):
        await records.keep(WWW, ordered, room.site_id, "https://acme.test/dir", "control")
    assert room.certificate().certificate_id == mine.certificate_id
    await records.keep(WWW, ordered, room.site_id, "https://acme.test/dir", "control")  # it was released
    assert room.certificate().certificate_id == ordered.certificate_id


async def test_the_zones_own_certificate_is_got_by_dns(make_control: ControlMaker) -> None:
    control = await make_control()
    issuer, sight = SigningIssuer(control.clock), TestSight()
    control.issuing, control.sight = issuing(issuer, own_zone=True), sight
    await control.reopen()
    await control.following_node()
    certificates = control.plane.services.certificates
    async with asyncio.timeout(10):
        while (facts := certificates.certificate("*.cdn.localhost")) is None:
            await asyncio.sleep(0.005)
    assert (facts.site_id, facts.names) == ("", ("*.cdn.localhost", "cdn.localhost"))
    assert issuer.requests[0].methods == (ChallengeMethod.DNS,)
    assert sight.asked == []


async def test_two_controls_that_race_make_one_order(room: Room) -> None:
    """Two desks over one journal, one store and the same offices, as replicas have them."""
    room.sight.shows(is_shown=False)
    await room.claim()
    await room.rounds(lambda: room.sight.asked)
    plane, state = room.control.plane, room.control.plane.state
    services = plane.services
    parts = [
        DomainParts(
            services.settings,
            state,
            services.store,
            folds=DomainFolds(services.catalog_fold, services.claims, services.certificates, services.zones),
            fleet=DomainFleet(services.directory, plane.hub.dns, services.colleagues, None),
            issuing=replace(room.control.issuing, holder=f"control-{number}"),
            sight=room.sight,
            clock=room.control.clock,
            monotonic=services.monotonic,
        )
        for number in (2, 3)
    ]
    room.issuer.gate = asyncio.Event()
    room.sight.shows(is_shown=True)
    checks = [asyncio.create_task(each.desk.check(room.site_id, WWW, 9)) for each in parts]
    await room.rounds(lambda: room.issuer.requests)
    await asyncio.sleep(0.05)
    room.issuer.gate.set()
    standings = await asyncio.gather(*checks)
    assert [each.stage for each in standings] == [Stage.LIVE, Stage.LIVE]
    assert len(room.issuer.requests) == 1
    for each in parts:
        await each.aclose()


async def test_a_certificate_is_sealed_anew_with_a_new_key_and_the_old_one_stays_good_until_then(
    make_control: ControlMaker,
) -> None:
    old, new = SealingKey(b"o" * 32), SealingKey(b"n" * 32)
    room = await room_of(await make_control(), rings={"": KeyRing([old], "edge")})
    await room.claim()
    await room.rounds(room.certificate)
    first = room.certificate()
    room.control.issuing = replace(room.control.issuing, rings={"": KeyRing([new, old], "edge")})
    await room.control.reopen()
    await room.control.following_node()
    await room.parts.work.advance(WWW, room.site_id)
    second = room.certificate()
    assert second.certificate_id == first.certificate_id
    assert second.sequence > first.sequence
    stored = CertificateObject.from_bytes(
        await room.control.store.get(certificate_key(first.certificate_id)), first.certificate_id
    )
    assert RingSet({"": KeyRing([new], "edge")}).opened(first.certificate_id, stored.sealed_keys)
    await room.parts.work.advance(WWW, room.site_id)
    assert room.certificate().sequence == second.sequence
    assert room.parts.counters["certificates_resealed"] == 1
    assert len(room.issuer.requests) == 1


async def test_a_key_opens_only_where_the_site_may_be_and_moves_with_it(make_control: ControlMaker) -> None:
    rings = {"": ring("any"), "eu": ring("eu"), "us": ring("us")}
    room = await room_of(await make_control(), rings=rings)
    settings = await room.control.api.patch("/v1/sites/blog", {"settings": {"region": ["eu"]}})
    assert settings.status == 200, settings
    await room.claim()
    await room.rounds(room.certificate)

    async def groups() -> set[str]:
        certificate_id = room.certificate().certificate_id
        raw = await room.control.store.get(certificate_key(certificate_id))
        return set(CertificateObject.from_bytes(raw, certificate_id).sealed_keys)

    assert await groups() == {"eu"}
    room.parts.work.moved()
    await room.control.api.patch("/v1/sites/blog", {"settings": {"region": ["eu", "asia"]}})
    assert room.parts.work.moved() == {(WWW, room.site_id)}
    assert room.parts.work.moved() == set()
    await room.parts.work.advance(WWW, room.site_id)
    assert await groups() == {"eu", ""}


async def test_certificates_that_were_replaced_leave_the_store_after_a_while(room: Room) -> None:
    room.issuer.life_s = 6 * DAY_S
    await room.claim()
    await room.rounds(room.certificate)
    for _ in range(8):
        room.control.clock.now += 3.4 * DAY_S
        await room.parts.work.advance(WWW, room.site_id)
    kept = await keys_below(room, "certificates/")
    assert len(room.issuer.requests) == 9
    assert 2 <= len(kept) <= 5
    assert certificate_key(room.certificate().certificate_id) in kept
    removed = await room.control.api.delete(f"/v1/sites/blog/domains/{WWW}")
    assert removed.status == 200, removed
    async with asyncio.timeout(10):
        while True:
            left = await keys_below(room, "certificates/", "control/domains/")
            if not left:
                break
            await asyncio.sleep(0.01)


async def test_a_site_that_is_removed_leaves_nothing_of_its_domains(room: Room) -> None:
    await room.claim()
    await room.rounds(room.certificate)
    assert await keys_below(room, "certificates/", "control/domains/")
    removed = await room.control.api.delete("/v1/sites/blog")
    assert removed.status == 200, removed
    async with asyncio.timeout(10):
        while await keys_below(room, "certificates/", "control/domains/"):
            await asyncio.sleep(0.01)


async def test_what_went_while_nobody_looked_is_swept_when_somebody_looks_again(room: Room) -> None:
    await room.claim()
    await room.rounds(room.certificate)
    given = room.control.issuing
    room.control.issuing = None
    await room.control.reopen()
    await room.control.following_node()
    assert (await room.control.api.delete("/v1/sites/blog")).status == 200
    assert await keys_below(room, "certificates/", "control/domains/")
    room.control.issuing = given
    await room.control.reopen()
    async with asyncio.timeout(10):
        while await keys_below(room, "certificates/", "control/domains/"):
            await asyncio.sleep(0.01)


async def test_what_the_development_authority_signed_is_replaced_once_a_real_one_is_set(room: Room) -> None:
    room.issuer.name = "development"
    await room.control.reopen()
    await room.control.following_node()
    room.sight.shows(leads_here=False, pointing_says="elsewhere")
    await room.claim()
    await room.rounds(room.certificate)
    assert room.certificate().issuer == "development"
    room.issuer.name = "https://acme.test/dir"
    await room.control.reopen()
    await room.control.following_node()
    await room.parts.work.advance(WWW, room.site_id)
    assert room.certificate().issuer == "development", "a real one would not find it here"
    room.sight.shows(leads_here=True, pointing_says="")
    await checked(room)
    await room.rounds(lambda: room.certificate().issuer != "development")


async def test_names_that_no_real_authority_signs_keep_what_the_development_authority_signed(
    make_control: ControlMaker,
) -> None:
    control = await make_control()
    local, public = SigningIssuer(control.clock, name="development"), SigningIssuer(control.clock)
    signer: Any = LocalNames("cdn.localhost", local, public)
    control.issuing, control.sight = issuing(signer, own_zone=True, local_zone="cdn.localhost"), TestSight()
    await control.reopen()
    await control.following_node()
    parts: Any = control.plane.domains
    certificates = control.plane.services.certificates
    async with asyncio.timeout(10):
        while certificates.certificate("*.cdn.localhost") is None:
            await asyncio.sleep(0.005)
    await parts.work.advance("*.cdn.localhost", "", is_asked=True)
    assert (len(local.requests), len(public.requests)) == (1, 0)
    facts = certificates.certificate("*.cdn.localhost")
    assert facts is not None
    assert facts.issuer == "development"


async def test_nothing_is_ordered_while_a_node_would_not_understand_the_certificate(make_control: ControlMaker) -> None:
    control = await make_control()
    issuer = SigningIssuer(control.clock)
    control.issuing, control.sight = issuing(issuer, own_zone=True), TestSight()
    await control.directory.connected(
        "old", NodeFacts("1.0"), control.plane.state.position, lease_s=10.0, record_version=2
    )
    await control.reopen()
    parts: Any = control.plane.domains
    next_at = await parts.work.advance("*.cdn.localhost", "")
    standing = await parts.desk.standing("", "*.cdn.localhost")
    assert issuer.requests == []
    assert "node old (program 1.0, up to 2)" in (standing.fault or "")
    assert next_at == control.clock.now + 60
    await control.directory.connected(
        "old", NodeFacts("1.1"), control.plane.state.position, lease_s=10.0, record_version=3
    )
    control.clock.now = next_at
    await parts.work.advance("*.cdn.localhost", "")
    assert control.plane.services.certificates.certificate("*.cdn.localhost") is not None
