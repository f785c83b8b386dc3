"""The work on one domain: look, verify, order, renew, release. One task of one replica at a time does it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

import msgspec

from cdn.control.certificate_office import ACTOR, CertificateOffice, Wanted
from cdn.control.certificate_records import UPLOAD, CertificateRecords
from cdn.control.domain_documents import DomainDocument, DomainDocuments, Held, Looks, Ordering
from cdn.control.domain_office import DomainStanding, Step, StepSeen
from cdn.control.domain_sight import DomainSight, Sight
from cdn.control.domain_times import DAY_S, look_again_s, next_daily, renew_at
from cdn.control.name_offices import NameOffice, NameOffices
from cdn.control.state import ControlState
from cdn.errors import Conflict, NotFound, Unavailable
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.certificate_fold import CertificateFacts, CertificateFold
from cdn.journal.claim_fold import Claim, ClaimFold
from cdn.journal.record import Change, DomainRemoved, DomainVerified
from cdn.sites.onboarding import Stage
from cdn.tls.issuer import ChallengeMethod

NEVER = float("inf")

DNS_ONLY = (ChallengeMethod.DNS,)

ELSEWHERE_PAUSE_S = 30.0
"""Before it is looked whether another replica, which worked on the name, has done what was due."""

NO_WINDOW_ASK_S = 86_400.0
"""How often an authority is asked for a renewal's window that named none: most never do."""

SOONEST_ASK_S = 600.0
LATEST_ASK_S = 86_400.0
"""Bounds of what an authority says of when to ask again (RFC 9773 4.3.2)."""

MAX_URL_CHARS = 500
"""Of an explanation that an authority names."""

ASKED_PAUSE_S = 30.0
"""Between two orders for one name that somebody asks for: authorities count those that fail."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a site has of a domain: a claim that is open, or the domain, with the claim that proved it if there was
    one."""

    claim: Claim | None
    is_owned: bool

    @property
    def token(self) -> str | None:
        """What has to be in DNS; None: nothing."""
        return None if self.claim is None else self.claim.token


class DomainWork:
    """Everything is read again once the name's office is held: others may have done it meanwhile."""

    def __init__(
        self,
        *,
        state: ControlState,
        catalog_fold: CatalogFold,
        claims: ClaimFold,
        certificates: CertificateFold,
        documents: DomainDocuments,
        records: CertificateRecords,
        office: CertificateOffice,
        offices: NameOffices,
        sight: DomainSight,
        own_zone: str | None,
        methods: tuple[ChallengeMethod, ...],
        lapse_s: float,
        clock: Callable[[], float],
    ) -> None:
        """`own_zone`: the CDN's zone, for which a certificate is got; None: for none. `clock` is wall time."""
        self._state = state
        self._catalog_fold = catalog_fold
        self._claims = claims
        self._certificates = certificates
        self._documents = documents
        self._records = records
        self._office = office
        self._offices = offices
        self._sight = sight
        self._own_zone = own_zone
        self._methods = methods
        self._lapse_s = lapse_s
        self._clock = clock

    @property
    def generation(self) -> object:
        """Another one as soon as names may have come or gone."""
        return self._claims.changes

    def names(self) -> set[tuple[str, str]]:
        """Every domain with the site that has or wants it, and with "" the CDN's own zone."""
        found = {(claim.domain, claim.site_id) for claim in self._claims.claims()}
        found |= set(self._catalog_fold.catalog.domains().items())
        if self._own_zone is not None and self._office.has_issuer:
            found.add((f"*.{self._own_zone}", ""))
        return found

    def first_due_at(self, domain: str, site_id: str, now: float) -> float:
        """When a name of which nothing is remembered is worked on: what has its certificate has its time of day."""
        facts = self._certificates.certificate(domain)
        if facts is None or self._holding(domain, site_id) is None:
            return now
        return min(next_daily(domain, now), self._renew_at(facts, None, now))

    def holding(self, domain: str, site_id: str) -> Holding:
        """Raises NotFound when the site has neither a claim on the domain nor the domain."""
        found = self._holding(domain, site_id)
        if found is None:
            raise NotFound(f"The site has no domain {domain}, and no claim on it.")
        return found

    def _holding(self, domain: str, site_id: str) -> Holding | None:
        if self._catalog_fold.catalog.domain_owner(domain) == site_id:
            return Holding(self._claims.proof(domain), is_owned=True)
        claim = self._claims.claim(domain, site_id)
        return None if claim is None else Holding(claim, is_owned=False)

    # What is due is done.

    async def advance(
        self, domain: str, site_id: str, *, is_asked: bool = False, looked: asyncio.Event | None = None
    ) -> float:
        """Do what is due; the wall time at which it is next. `is_asked`: look, and try, although it is not due yet.
        `looked` is set once it is known what there is to see.

        Raises Unavailable.
        """
        async with self._offices.held(domain) as office:
            if office is None:
                return self._clock() + ELSEWHERE_PAUSE_S
            await self._state.catch_up((await self._state.journal.position()).sequence)
            held = await self._documents.read(domain, site_id)
            if not site_id:
                return await self._certify(Wanted((domain, domain.removeprefix("*.")), "", DNS_ONLY), held, office)
            holding = self._holding(domain, site_id)
            if holding is None:
                await self._documents.remove(domain, site_id)
                return NEVER
            if is_asked or self._clock() >= held.document.looks.next_look_at:
                seen = await self._look(held, holding)
                if seen is None:
                    return self._clock()
                held, holding = seen
            if looked is not None:
                looked.set()
            if not holding.is_owned or self._why_not(held.document) is not None:
                return held.document.looks.next_look_at
            wanted = Wanted((domain,), site_id, self._methods_for(held.document))
            next_at = await self._certify(wanted, held, office, is_asked=is_asked)
            return min(next_at, held.document.looks.next_look_at)

    async def _look(self, held: Held, holding: Holding) -> tuple[Held, Holding] | None:
        """See what there is, and record what follows; None: the site has lost the domain by it."""
        domain, site_id = held.document.domain, held.document.site_id
        sight = await self._sight.look(domain, holding.token)
        looks = self._after(held.document, holding, sight)
        written = await self._documents.write(held, msgspec.structs.replace(held.document, looks=looks))
        if written is None:
            raise Unavailable(f"another control looks after {domain}: it goes on there")
        if holding.claim is not None and not holding.is_owned and sight.is_owned:
            await self._verify(holding.claim)
            return written, self.holding(domain, site_id)
        if holding.is_owned and holding.claim is not None and self._has_lapsed(looks, holding.claim, sight):
            await self._release(holding.claim)
            return None
        return written, holding

    def _after(self, document: DomainDocument, holding: Holding, sight: Sight) -> Looks:
        domain, before, now = document.domain, document.looks, self._clock()
        is_right = sight.is_owned is not False and sight.may_sign is not False and sight.points_here is not False
        is_known = sight.is_owned is not None or holding.token is None
        failures = 0 if is_right and is_known else before.failures + 1
        pending_s = look_again_s(domain, failures)
        return Looks(
            failures=failures,
            looked_at=now,
            next_look_at=next_daily(domain, now) if not failures else now + pending_s,
            owned_at=now if sight.is_owned else before.owned_at,
            points_here=before.points_here if sight.points_here is None else sight.points_here,
            may_sign=before.may_sign if sight.may_sign is None else sight.may_sign,
            is_in_zone=sight.is_in_zone,
            steps=sight.steps,
        )

    async def _verify(self, claim: Claim) -> None:
        """Raises Conflict when the claim is over meanwhile, or another site was first."""

        def decide() -> Change:
            now = self._claims.claim(claim.domain, claim.site_id)
            if now is None or now.token != claim.token:
                raise Conflict(f"The claim on {claim.domain} is over meanwhile.")
            if self._catalog_fold.catalog.domain_owner(claim.domain) not in {None, claim.site_id}:
                raise Conflict(f"{claim.domain} is another site's meanwhile.")
            return DomainVerified(claim.domain, claim.site_id, now.redirect_to)

        await self._state.append(f"domain/{claim.domain}", decide, ACTOR)
        log.info("%s is verified", claim.domain)

    def _has_lapsed(self, looks: Looks, claim: Claim, sight: Sight) -> bool:
        """Whether the domain's own servers have not shown the token for too long; silence does not count."""
        return sight.is_owned is False and self._clock() - (looks.owned_at or claim.claimed_at) > self._lapse_s

    async def _release(self, claim: Claim) -> None:
        domain, site_id = claim.domain, claim.site_id

        def decide() -> Change:
            if self._catalog_fold.catalog.domain_owner(domain) != site_id:
                raise Conflict(f"{domain} is no longer the site's.")
            return DomainRemoved(domain, site_id)

        await self._state.append(f"domain/{domain}", decide, ACTOR)
        log.warning("%s is released: its servers have not shown its token for %g days", domain, self._lapse_s / DAY_S)
        await self._documents.remove(domain, site_id)

    # Its certificate.

    def _why_not(self, document: DomainDocument) -> str | None:
        """Why no certificate is ordered now; None: nothing stands in the way."""
        looks, domain = document.looks, document.domain
        if not self._office.is_validated:
            return None
        if looks.may_sign is False:
            return "A CAA record forbids it."
        if domain.startswith("*.") and not looks.is_in_zone:
            return (
                f"An authority validates a wildcard by DNS alone, and the zone of {domain[2:]} is not served here: "
                "import it (cdn zone import FILE) and delegate it, or bring a certificate (cdn domain certificate set)."
            )
        if not looks.points_here and not looks.is_in_zone:
            return "An authority would not find us there: it does not point here yet."
        return None

    def _methods_for(self, document: DomainDocument) -> tuple[ChallengeMethod, ...]:
        looks = document.looks
        if document.domain.startswith("*."):
            return DNS_ONLY
        usable = {ChallengeMethod.DNS} if looks.is_in_zone else set()
        if looks.points_here or not self._office.is_validated:
            usable |= {ChallengeMethod.HTTP, ChallengeMethod.TLS_ALPN}
        return tuple(method for method in self._methods if method in usable) or (ChallengeMethod.HTTP,)

    async def _certify(self, wanted: Wanted, held: Held, office: NameOffice, *, is_asked: bool = False) -> float:
        """Order what is due; when this has to be looked at again."""
        facts, now = self._certificates.certificate(wanted.name), self._clock()
        if facts is not None and facts.issuer == UPLOAD and not held.document.ordering.is_released:
            return NEVER
        if facts is not None and facts.issuer != UPLOAD:
            held = await self._asked_window(held, facts, now)
            renew_at = self._renew_at(facts, held.document, now)
            if now < renew_at:
                return min(renew_at, held.document.ordering.ask_window_at or NEVER)
        if (wait_until := _patience(held.document, now, is_asked=is_asked)) is not None:
            return wait_until
        held = await self._office.obtain(wanted, held, office)
        if (next_try_at := held.document.ordering.next_try_at) is not None:
            return next_try_at
        fresh = self._certificates.certificate(wanted.name)
        return self._clock() if fresh is None else self._renew_at(fresh, held.document, self._clock())

    async def _asked_window(self, held: Held, facts: CertificateFacts, now: float) -> Held:
        """With what the authority says of the certificate's renewal, where it is time to ask (RFC 9773 4.3)."""
        ordering = held.document.ordering
        is_same = ordering.window_of == facts.certificate_id
        if is_same and now < ordering.ask_window_at:
            return held
        chain = await self._records.chain(facts.certificate_id)
        window = None if chain is None else await self._office.renewal_window(chain)
        ask_again_s = NO_WINDOW_ASK_S if window is None else max(window.ask_again_s, SOONEST_ASK_S)
        known = ordering.window if is_same else None
        ordering = msgspec.structs.replace(
            ordering,
            window_of=facts.certificate_id,
            window=known if window is None else (window.start, window.end),
            explanation="" if window is None else window.explanation[:MAX_URL_CHARS],
            ask_window_at=now + min(ask_again_s, LATEST_ASK_S),
        )
        return await self._noted(held, ordering)

    def _renew_at(self, facts: CertificateFacts, document: DomainDocument | None, now: float) -> float:
        ordering = None if document is None else document.ordering
        window = None if ordering is None or ordering.window_of != facts.certificate_id else ordering.window
        return renew_at(facts.certificate_id, facts.not_before, facts.not_after, window)

    async def _noted(self, held: Held, ordering: Ordering) -> Held:
        document = msgspec.structs.replace(held.document, ordering=ordering)
        written = await self._documents.write(held, document)
        if written is None:
            raise Unavailable(f"another control looks after {document.domain}: it goes on there")
        return written

    async def forget(self, domain: str, site_id: str) -> None:
        """The site has the domain no more: nothing of it stays. Raises Unavailable."""
        async with self._offices.held(domain) as office:
            if office is None or self._holding(domain, site_id) is not None:
                return
            await self._documents.remove(domain, site_id)

    # What is known.

    def standing_of(self, document: DomainDocument, holding: Holding) -> DomainStanding:
        """How far the domain is, by its document and the records."""
        looks, ordering, now = document.looks, document.ordering, self._clock()
        facts = self._certificates.certificate(document.domain)
        stage = self._stage(document, holding, facts, now)
        steps = (*looks.steps, self._certificate_step(ordering, facts, now))
        fault, waits_for, next_try_at = _fault_of(looks), "", looks.next_look_at or None
        why_not = self._why_not(document) if holding.is_owned else None
        match stage:
            case Stage.LIVE:
                fault = ordering.reason or None
                next_try_at = ordering.next_try_at if fault else None
            case Stage.ISSUING:
                fault = ordering.reason or None
                waits_for = "" if fault else "the certificate is being got"
                next_try_at = ordering.next_try_at
            case Stage.VERIFIED:
                fault = fault or why_not
            case Stage.ADDED:
                waits_for = "" if fault else "the name servers of the domain are asked for its TXT record"
            case _:
                assert_never(stage)
        failures = ordering.failures if stage in {Stage.LIVE, Stage.ISSUING} else looks.failures
        return DomainStanding(
            document.domain,
            document.site_id,
            stage,
            steps,
            fault,
            waits_for,
            failures,
            looks.looked_at,
            next_try_at,
        )

    def _stage(self, document: DomainDocument, holding: Holding, facts: CertificateFacts | None, now: float) -> Stage:
        if not holding.is_owned:
            return Stage.ADDED
        if facts is not None and facts.not_after > now:
            return Stage.LIVE
        is_looked_at = document.looks.looked_at is not None
        return Stage.ISSUING if is_looked_at and self._why_not(document) is None else Stage.VERIFIED

    def _certificate_step(self, ordering: Ordering, facts: CertificateFacts | None, now: float) -> StepSeen:
        if facts is None:
            says = ordering.reason or "There is no certificate yet."
            return StepSeen(Step.CERTIFICATE, False if ordering.reason else None, says)
        until = datetime.fromtimestamp(facts.not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")
        whence = "brought by its owner" if facts.issuer == UPLOAD else f"signed by way of {facts.issuer}"
        if facts.not_after <= now:
            return StepSeen(Step.CERTIFICATE, False, f"The certificate, {whence}, was good until {until}.")
        return StepSeen(Step.CERTIFICATE, True, f"The certificate, {whence}, is good until {until}.")


def _fault_of(looks: Looks) -> str | None:
    return next((step.says for step in looks.steps if step.is_right is False), None)


def _patience(document: DomainDocument, now: float, *, is_asked: bool) -> float | None:
    """Until when no try is made; None: one may be made now. Who asks need not wait for the next try that is due, but
    for what the authority asked for, and ASKED_PAUSE_S."""
    ordering = document.ordering
    if ordering.next_try_at is None or now >= ordering.next_try_at:
        return None
    soonest = max(ordering.not_before, (ordering.tried_at or 0.0) + ASKED_PAUSE_S)
    return None if is_asked and now >= soonest else ordering.next_try_at
