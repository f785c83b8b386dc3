"""Domains from a claim to HTTPS, over a real control plane, journal and store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cdn.journal.record import DomainClaimed
from cdn.sites.onboarding import Stage
from tests.control.control_room import Control, ControlMaker
from tests.control.domain_room import SigningIssuer, TestSight, issuing

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


@pytest.fixture
async def room(make_control: ControlMaker) -> Room:
    control = await make_control()
    issuer, sight = SigningIssuer(control.clock), TestSight()
    control.issuing, control.sight = issuing(issuer), sight
    await control.reopen()
    made = Room(control, issuer, sight)
    created = await control.api.post("/v1/sites", {"name": "blog"})
    assert created.status == 201, created
    made.site_id = control.plane.services.catalog.site_named("blog").id
    await control.following_node()
    return made


async def test_a_claim_whose_token_is_there_becomes_live_by_itself(room: Room) -> None:
    await room.claim()
    await room.rounds(room.certificate)
    assert room.control.plane.services.catalog.domain_owner(WWW) == room.site_id
    assert room.sight.asked[0] == (WWW, "token-1")
    facts = room.certificate()
    assert (facts.site_id, facts.names, facts.issuer) == (room.site_id, (WWW,), "https://acme.test/dir")
    standing = await room.parts.desk.check(room.site_id, WWW, 0)
    assert standing.stage is Stage.LIVE, standing
    assert len(room.issuer.requests) == 1
