"""What the API says of domains: facts from the folds, and beside them what the office has seen."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cdn.control.domain_names import PublicSuffix, is_apex, twin_of
from cdn.control.domain_office import DomainStanding, StepSeen
from cdn.control.domain_records import Surroundings, WantedRecord, wanted_records
from cdn.control.domain_schema import (
    CertificateState,
    CertificateView,
    DomainDetail,
    DomainView,
    RecordView,
    ServerAnswerView,
    StepView,
)
from cdn.control.services import Services
from cdn.control.views import host_of
from cdn.control.zone_names import is_within
from cdn.errors import Unavailable
from cdn.fleet.withdrawal import ShareReason
from cdn.journal.certificate_fold import CertificateFacts
from cdn.sites.onboarding import Stage
from cdn.sites.site import Site


class DomainViews:
    """Makes them."""

    def __init__(self, services: Services, is_public_suffix: PublicSuffix) -> None:
        self._services = services
        self._is_public_suffix = is_public_suffix

    def brief(self, site: Site, domain: str) -> DomainView:
        """From records alone: one of thousands in a list."""
        services = self._services
        catalog, claim = services.catalog, services.claims.claim(domain, site.id)
        is_verified = catalog.domain_owner(domain) == site.id
        claimed_redirect = "" if claim is None else claim.redirect_to
        redirect_to = catalog.asked_redirect_of(domain) if is_verified else claimed_redirect
        facts = services.certificates.for_host(domain) if is_verified else None
        if facts is not None and facts.site_id not in (site.id, ""):
            facts = None  # a wildcard of another site's says nothing to this one
        return DomainView(
            domain=domain,
            site=site.name,
            stage=self._stage(facts, is_verified=is_verified).value,
            verified=is_verified,
            redirect_to=redirect_to,
            certificate=None if facts is None else self.certificate(facts),
        )

    async def detail(self, site: Site, domain: str, standing: DomainStanding | None = None) -> DomainDetail:
        """With the records to set and what was seen last, as `standing` says or else the office knows."""
        services, office = self._services, self._services.domain_office
        waits_for = ""
        if standing is None and office is not None:
            try:
                standing = await office.standing(site.id, domain)
            except Unavailable as error:
                waits_for = f"what was seen of it last is not known now: {error.message}"
        claim = services.claims.claim(domain, site.id) or services.claims.proof(domain)
        token = None if claim is None or claim.site_id != site.id else claim.token
        detail = DomainDetail(
            **msgspec.structs.asdict(self.brief(site, domain)),
            records=tuple(map(_record, wanted_records(domain, token, self._around(site, domain)))),
            waits_for=waits_for,
            twin=twin_of(domain, self._is_public_suffix),
        )
        return detail if standing is None else _with_standing(detail, standing)

    def certificate(self, facts: CertificateFacts) -> CertificateView:
        """A certificate as it is now."""
        site = self._services.catalog.site(facts.site_id)
        return CertificateView(
            id=facts.certificate_id,
            name=facts.name,
            site=None if site is None else site.name,
            names=facts.names,
            not_before=facts.not_before,
            not_after=facts.not_after,
            issuer=facts.issuer,
            state=certificate_state(facts, self._services.clock()).value,
        )

    def _stage(self, facts: CertificateFacts | None, *, is_verified: bool) -> Stage:
        if not is_verified:
            return Stage.ADDED
        if facts is None:
            return Stage.VERIFIED
        state = certificate_state(facts, self._services.clock())
        return Stage.LIVE if state in (CertificateState.VALID, CertificateState.ENDING) else Stage.ISSUING

    def _around(self, site: Site, domain: str) -> Surroundings:
        zones = [zone.name for zone in self._services.zones.zones() if is_within(domain.removeprefix("*."), zone.name)]
        return Surroundings(
            target=host_of(self._services.settings, site),
            is_apex=is_apex(domain, self._is_public_suffix),
            zone=max(zones, key=len, default=""),
            addresses=tuple(self._addresses()),
        )

    def _addresses(self) -> Iterable[str]:
        """Of the nodes that DNS may answer with now."""
        for node in self._services.fleet.shown.nodes:
            if node.share.reason is not ShareReason.OUT:
                yield from node.facts.public_addresses


def certificate_state(facts: CertificateFacts, now: float) -> CertificateState:
    """What it is worth at the wall time `now`."""
    if now < facts.not_before:
        return CertificateState.EARLY
    if now >= facts.not_after:
        return CertificateState.OVER
    return CertificateState.ENDING if now >= facts.alarm_at else CertificateState.VALID


def _record(record: WantedRecord) -> RecordView:
    return RecordView(record.purpose.value, record.type, record.name, record.value, record.note, record.instead)


def _step(step: StepSeen) -> StepView:
    servers = tuple(ServerAnswerView(each.server, each.answer) for each in step.servers)
    return StepView(step.step.value, step.is_right, step.says, servers)


def _with_standing(detail: DomainDetail, standing: DomainStanding) -> DomainDetail:
    """What holds by records goes before what was seen: a document may be older."""
    says_less = standing.stage is Stage.ADDED and detail.verified
    return msgspec.structs.replace(
        detail,
        stage=detail.stage if says_less else standing.stage.value,
        steps=tuple(map(_step, standing.steps)),
        fault=standing.fault,
        waits_for=standing.waits_for,
        failures=standing.failures,
        checked_at=standing.checked_at,
        next_try_at=standing.next_try_at,
    )
