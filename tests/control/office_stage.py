"""Whoever looks after domains, as tests move them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from cdn.control.domain_office import DomainStanding, ServerSaid, Step, StepSeen
from cdn.control.plane import ControlPlane
from cdn.errors import Conflict, NotFound, Unavailable
from cdn.journal.certificate_fold import CertificateFacts
from cdn.journal.record import CertificateSet, DomainVerified
from cdn.sites.onboarding import Stage
from tests.control.control_room import Control

CHAIN = "-----BEGIN CERTIFICATE-----\n"


@dataclass
class StagedOffice:
    """Records what a real office would, when the test says that DNS is right."""

    plane: ControlPlane
    is_right: bool = False
    is_live: bool = False
    is_away: bool = False
    checked: list[tuple[str, str, float]] = field(default_factory=list)
    forgotten: list[tuple[str, str]] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def check(self, site_id: str, domain: str, wait_s: float) -> DomainStanding:
        self.checked.append((site_id, domain, wait_s))
        services = self.plane.services
        if not self.is_right:
            return await self.standing(site_id, domain)
        claim = services.claims.claim(domain, site_id)
        if claim is not None:
            change = DomainVerified(domain, site_id, claim.redirect_to)
            await self.plane.state.append(f"domain/{domain}", lambda: change, "control")
        stage = Stage.LIVE if self.is_live else Stage.VERIFIED
        return replace(await self.standing(site_id, domain), stage=stage, fault=None)

    async def standing(self, site_id: str, domain: str) -> DomainStanding:
        if self.is_away:
            raise Unavailable("The store does not answer.")
        said = (ServerSaid("ns1.example.net (192.0.2.53)", "NXDOMAIN"),)
        step = StepSeen(Step.OWNERSHIP, False, "ns1.example.net has no TXT record there", said)
        return DomainStanding(
            domain, site_id, Stage.ADDED, (step,), "no TXT record", failures=2, checked_at=1.0, next_try_at=61.0
        )

    async def forget(self, domain: str, site_id: str) -> None:
        self.forgotten.append((domain, site_id))

    async def take_certificate(self, site_id: str, domain: str, chain: str, key: str, actor: str) -> CertificateFacts:
        services = self.plane.services
        if services.catalog.domain_owner(domain) != site_id:
            raise Conflict(f"{domain} is not verified yet.")
        self.keys.append(key)
        now = services.clock()
        change = CertificateSet(
            domain, "ab" * 32, site_id, (domain,), now - 60, now + 90 * 86400.0, "upload", chain, {"": "c2VhbGVk"}
        )
        await self.plane.state.append(f"certificate/{domain}", lambda: change, actor)
        facts = services.certificates.certificate(domain)
        assert facts is not None
        return facts

    async def release_certificate(self, site_id: str, domain: str, actor: str) -> None:
        facts = self.plane.services.certificates.certificate(domain)
        if facts is None or facts.issuer != "upload":
            raise NotFound(f"No certificate was brought for {domain}.")
        self.released.append(domain)


async def staff(control: Control, office: StagedOffice) -> None:
    """Put the office into a control plane that runs. Routes hold the services that they were made with: they are made
    anew, at another port."""
    control.plane.services = dataclasses.replace(control.plane.services, domain_office=office)
    await control.api.client.close()
    client: TestClient[Any, Any] = TestClient(TestServer(control.plane.application()))
    await client.start_server()
    control.api.client = client
