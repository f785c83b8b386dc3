"""Domains and certificates as hostile or careless owners would have them."""

from __future__ import annotations

import asyncio

import pytest

from cdn.control.acme_settings import IssuingSettings
from cdn.control.claims import Claims
from cdn.control.domain_sight import Sight
from cdn.errors import Unavailable
from cdn.origin.layout import certificate_key
from cdn.tls.certificate_key import certificate_request, make_certificate_key
from tests.control.control_room import ControlMaker
from tests.control.domain_room import TestSight, issuing
from tests.control.test_domain_work import Room, keys_below, room_of

WWW = "www.example.com"
APEX = "example.com"
DAY_S = 86_400.0


@pytest.fixture
async def room(make_control: ControlMaker) -> Room:
    return await room_of(await make_control())


async def given(room: Room, *domains: str) -> None:
    """Names on an administrator's word."""
    for domain in domains:
        added = await room.control.api.post("/v1/sites/blog/domains", {"domain": domain, "verified": True})
        assert added.status == 201, added


async def test_one_certificate_of_two_names_stays_until_the_last_of_them_goes(room: Room) -> None:
    await given(room, APEX, WWW)
    await room.rounds(lambda: room.certificate(APEX) and room.certificate(WWW))
    key = make_certificate_key()
    chain = room.issuer.signed(certificate_request(key, (APEX, WWW))).chain
    for domain in (APEX, WWW):
        await room.parts.desk.take_certificate(room.site_id, domain, chain, key.decode(), "somebody")
    shared = certificate_key(room.certificate(APEX).certificate_id)
    assert room.certificate(WWW).certificate_id == room.certificate(APEX).certificate_id

    assert (await room.control.api.delete(f"/v1/sites/blog/domains/{WWW}")).status == 200
    async with asyncio.timeout(10):
        while await keys_below(room, f"control/domains/{WWW}/"):
            await asyncio.sleep(0.005)
    assert shared in await keys_below(room, "certificates/"), "a node that starts now would not find it"

    assert (await room.control.api.delete(f"/v1/sites/blog/domains/{APEX}")).status == 200
    async with asyncio.timeout(10):
        while await keys_below(room, "certificates/", "control/domains/"):
            await asyncio.sleep(0.005)


async def test_a_name_that_went_meanwhile_is_not_claimed_anew(room: Room) -> None:
    both = {"domain": APEX, "with_twin": True, "redirect": "apex", "verified": True}
    assert (await room.control.api.post("/v1/sites/blog/domains", both)).status == 201
    services = room.control.plane.services
    claims = Claims(services.settings, services.state, services.catalog, services.claims)
    site = services.catalog.site(room.site_id)
    assert site is not None
    assert services.catalog.redirect_of(WWW) == APEX
    await asyncio.gather(claims.remove(site, WWW, "test"), claims.remove(site, APEX, "test"))
    assert not services.catalog.domains()
    assert services.claims.claims() == (), "what was removed wants to be verified again"


class SlowSight(TestSight):
    """Name servers that let it wait."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def look(self, domain: str, token: str | None) -> Sight:
        if domain.endswith(".slow.example"):
            await self.gate.wait()
        return await super().look(domain, token)


async def test_a_site_whose_name_servers_are_slow_leaves_looks_to_others(make_control: ControlMaker) -> None:
    control = await make_control()
    sight = SlowSight()
    control.issuing, control.sight = issuing(None, settings=IssuingSettings(max_checks=4)), sight
    await control.reopen()
    try:
        for site in ("blog", "shop"):
            assert (await control.api.post("/v1/sites", {"name": site})).status == 201
        for number in range(3):
            claim = {"domain": f"{number}.slow.example"}
            assert (await control.api.post("/v1/sites/blog/domains", claim)).status == 201
        assert (await control.api.post("/v1/sites/shop/domains", {"domain": WWW})).status == 201
        desk = control.plane.domains.desk if control.plane.domains is not None else None
        assert desk is not None
        catalog = control.plane.services.catalog
        blog, shop = (site.id for site in catalog.sites())
        slow = [asyncio.create_task(desk.check(blog, f"{number}.slow.example", 0)) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="2 domains of this site"):
            await desk.check(blog, "2.slow.example", 0)
        assert (await desk.check(shop, WWW, 0)).domain == WWW
    finally:
        sight.gate.set()
    await asyncio.gather(*slow)


@pytest.mark.parametrize(("octets", "status"), [(241, 201), (242, 400), (253, 400)])
async def test_a_name_below_which_no_token_fits_is_refused(room: Room, octets: int, status: int) -> None:
    domain = ".".join(["a" * 61] * 4)[: octets - len(".example")] + ".example"
    assert len(domain) == octets
    for name in (domain, f"*.{domain}"):
        answer = await room.control.api.post("/v1/sites/blog/domains", {"domain": name})
        assert answer.status == status, answer
    if octets == 242:
        assert "no room for the TXT record" in answer.document["detail"]
        trusted = await room.control.api.post("/v1/sites/blog/domains", {"domain": domain, "verified": True})
        assert trusted.status == 201, "no token is looked for"
