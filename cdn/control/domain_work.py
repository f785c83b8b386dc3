"""The work on one domain: look, verify, order, renew, release. One task of one replica at a time does it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import assert_never

import msgspec

from cdn.control.certificate_office import ACTOR, CertificateOffice
from cdn.control.certificate_office import Wanted as WantedCertificate
from cdn.control.certificate_records import UPLOAD, CertificateRecords
from cdn.control.domain_documents import DomainDocument, DomainDocuments, Held, outdated, spread
from cdn.control.domain_office import DomainStanding
from cdn.control.domain_sight import DomainSight, Sight
from cdn.control.domain_standing import is_kept_brought, standing_of
from cdn.control.name_offices import NameOffice, NameOffices
from cdn.control.state import ControlState
from cdn.errors import Conflict, InvalidInput, NotFound, Unavailable
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.certificate_fold import CertificateFacts, CertificateFold
from cdn.journal.claim_fold import Claim, ClaimFold
from cdn.journal.record import Change, DomainRemoved, DomainVerified
from cdn.sites import onboarding
from cdn.sites.onboarding import (
    Asked,
    Event,
    Looked,
    Onboarding,
    OrderFailed,
    Recorded,
    Rules,
    Wanted,
    begin,
    from_document,
    to_document,
)
from cdn.tls.issuer import ChallengeMethod, RenewalWindow
from cdn.tls.renewal import ask_again_at, renew_at

NEVER = float("inf")

DNS_ONLY = (ChallengeMethod.DNS,)

ELSEWHERE_PAUSE_S = 30.0
"""Before it is looked whether another replica, which worked on the name, has done what was due."""

MAX_URL_CHARS = 500
"""Of an explanation that an authority names."""

FIRST_LOOK_S = 6 * 3600.0
"""Within which names that have their certificate are looked at by who begins to look after them: until then a key that
control was started with has sealed them all."""

MAX_STEPS = 8
"""Of one name at one time: look, verify, order, and no more than each once again."""

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
        self._own_name = f"*.{own_zone}" if own_zone is not None and office.has_issuer else None
        self._methods = methods
        self._rules = Rules(lapse_s=lapse_s, is_validated=office.is_validated)
        self._clock = clock
        self._groups: dict[str, tuple[str, ...]] | None = None
        self.counters: Counter[str] = Counter()

    @property
    def generation(self) -> object:
        """Another one as soon as names may have come or gone."""
        return self._claims.changes

    def names(self) -> set[tuple[str, str]]:
        """Every domain with the site that has or wants it, and with "" the CDN's own zone."""
        found = {(claim.domain, claim.site_id) for claim in self._claims.claims()}
        found |= set(self._catalog_fold.catalog.domains().items())
        if self._own_name is not None:
            found.add((self._own_name, ""))
        return found

    def remembered(self) -> AsyncIterator[tuple[str, str]]:
        """Every name of which something is kept. Raises StoreUnavailable."""
        return self._documents.all()

    def first_due_at(self, domain: str, site_id: str, now: float) -> float:
        """When a name of which nothing is remembered is worked on: what has its certificate has some time."""
        facts = self._certificates.certificate(domain)
        if facts is None or self._holding(domain, site_id) is None or self._office.supersedes(facts):
            return now
        return min(now + spread(domain) * FIRST_LOOK_S, max(now, self._renew_at(facts, None)))

    def holding(self, domain: str, site_id: str) -> Holding:
        """Raises NotFound when the site has neither a claim on the domain nor the domain."""
        found = self._holding(domain, site_id)
        if found is None:
            raise NotFound(f"The site has no domain {domain}, and no claim on it.")
        return found

    def _holding(self, domain: str, site_id: str) -> Holding | None:
        if not site_id:
            return Holding(None, is_owned=True) if domain == self._own_name else None
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

        Raises Unavailable; Conflict where another site was first.
        """
        async with self._offices.held(domain) as office:
            if office is None:
                return self._clock() + ELSEWHERE_PAUSE_S
            await self._state.catch_up((await self._state.journal.position()).sequence)
            holding = self._holding(domain, site_id)
            held = await self._documents.read(domain, site_id)
            if holding is None:
                await self._dropped(held.document)
                return NEVER
            if (facts := self._certificates.certificate(domain)) is not None:
                held = await self._tended(held, facts)
            return await self._advance(held, holding, office, is_asked=is_asked, looked=looked or asyncio.Event())

    async def _advance(
        self, held: Held, holding: Holding, office: NameOffice, *, is_asked: bool, looked: asyncio.Event
    ) -> float:
        domain, site_id = held.document.domain, held.document.site_id
        state = self.onboarding_of(held.document, holding)
        want = onboarding.wanted(state, self._clock(), self._rules)
        if is_asked:
            state, want = self._step(self._with_patience(held.document, state), Asked())
        for _ in range(MAX_STEPS):
            match want:
                case Wanted.NOTHING:
                    break
                case Wanted.LOOK:
                    sight = await self._look(held.document, holding)
                    state, want = self._step(state, sight.looked)
                    document = msgspec.structs.replace(held.document, steps=sight.steps)
                    held = await self._noted(held, document, state, holding)
                case Wanted.VERIFY:
                    await self._verify(domain, holding)
                    holding = self.holding(domain, site_id)
                    state, want = self._step(state, self._recorded(held.document, holding))
                case Wanted.RELEASE:
                    await self._release(domain, site_id)
                    await self._dropped(held.document)
                    return NEVER
                case Wanted.ORDER if is_kept_brought(held.document, self._certificates.certificate(domain)):
                    break  # its owner said that none is to be ordered
                case Wanted.ORDER:
                    looked.set()
                    methods = self._methods_for(state)
                    names = (domain,) if site_id else (domain, domain.removeprefix("*."))
                    ordered = WantedCertificate(names, site_id, methods)
                    held, failed = await self._office.obtain(ordered, held, office, state.order_failures)
                    event: Event = self._recorded(held.document, holding)
                    if failed is not None:
                        event = OrderFailed(failed.says, failed.retry_at)
                    state, want = self._step(state, event)
                case _:
                    assert_never(want)
        looked.set()
        held = await self._noted(held, held.document, state, holding)
        return self._next_at(held.document, state)

    def _step(self, state: Onboarding, event: Event) -> tuple[Onboarding, Wanted]:
        now = self._clock()
        return onboarding.advance(state, event, now, self._rules, spread(f"{state.domain} {now}"))

    def onboarding_of(self, document: DomainDocument, holding: Holding) -> Onboarding:
        """How far it is by the document, with what the records say now."""
        claim, now = holding.claim, self._clock()
        has_token = holding.token is not None
        state = None
        if document.claimed_by == (0 if claim is None else claim.sequence):
            state = from_document(document.onboarding)
        if state is None or state.has_token != has_token:
            wished_at = now if claim is None else min(claim.claimed_at, now)
            state = replace(begin(document.domain, wished_at, has_token=has_token), next_try_at=now)
        state, _ = self._step(state, self._recorded(document, holding))
        return state

    def _recorded(self, document: DomainDocument, holding: Holding) -> Recorded:
        facts, now = self._certificates.certificate(document.domain), self._clock()
        if facts is None or facts.not_after <= now:
            return Recorded(holding.is_owned, has_certificate=False)
        if facts.issuer == UPLOAD:
            return Recorded(holding.is_owned, True, is_renewal_due=document.ordering.is_released)
        is_due = now >= self._renew_at(facts, document) or self._office.supersedes(facts)
        return Recorded(holding.is_owned, True, is_renewal_due=is_due)

    def _with_patience(self, document: DomainDocument, state: Onboarding) -> Onboarding:
        """Who asks need not wait until the next try is due, but for what the authority asked for, and ASKED_PAUSE_S."""
        ordering = document.ordering
        if self._clock() < max(ordering.not_before, ordering.tried_at + ASKED_PAUSE_S):
            return state
        return replace(state, order_at=None)

    async def _look(self, document: DomainDocument, holding: Holding) -> Sight:
        if not document.site_id:  # the CDN's own zone: its name servers are ours, and they are not asked
            return Sight(Looked(is_shown=True, leads_here=None, may_sign=None, has_our_dns=True))
        self.counters["domain_looks"] += 1
        return await self._sight.look(document.domain, holding.token)

    async def _noted(self, held: Held, document: DomainDocument, state: Onboarding, holding: Holding) -> Held:
        """Raises Unavailable when another wrote the document: whoever did has the office."""
        document = msgspec.structs.replace(
            document,
            onboarding=to_document(state),
            claimed_by=0 if holding.claim is None else holding.claim.sequence,
        )
        return await self._written(held, document)

    async def _written(self, held: Held, document: DomainDocument) -> Held:
        written = await self._documents.write(held, document)
        if written is None:
            raise Unavailable(f"another control looks after {document.domain}: it goes on there")
        return written

    def _next_at(self, document: DomainDocument, state: Onboarding) -> float:
        next_at = NEVER if state.next_try_at is None else state.next_try_at
        facts = self._certificates.certificate(document.domain)
        if facts is None or facts.issuer == UPLOAD or state.is_renewal_due:
            return next_at
        return min(next_at, self._renew_at(facts, document), document.ordering.ask_window_at or NEVER)

    async def _verify(self, domain: str, holding: Holding) -> None:
        """Raises Conflict when the claim is over meanwhile, or another site was first."""
        claim = holding.claim
        if claim is None:
            raise Conflict(f"There is no claim on {domain}.")

        def decide() -> Change:
            now = self._claims.claim(claim.domain, claim.site_id)
            if now is None or now.token != claim.token:
                raise Conflict(f"The claim on {claim.domain} is over meanwhile.")
            if self._catalog_fold.catalog.domain_owner(claim.domain) not in {None, claim.site_id}:
                raise Conflict(f"{claim.domain} is another site's meanwhile.")
            return DomainVerified(claim.domain, claim.site_id, now.redirect_to)

        await self._state.append(f"domain/{domain}", decide, ACTOR)
        log.info("%s is verified", domain)

    async def _release(self, domain: str, site_id: str) -> None:
        """The site has the domain no more. Raises Conflict."""

        def decide() -> Change:
            if self._catalog_fold.catalog.domain_owner(domain) != site_id:
                raise Conflict(f"{domain} is no longer the site's.")
            return DomainRemoved(domain, site_id)

        await self._state.append(f"domain/{domain}", decide, ACTOR)
        log.warning("%s is released: its name servers have not shown its token for too long", domain)

    # Its certificate.

    def _methods_for(self, state: Onboarding) -> tuple[ChallengeMethod, ...]:
        if state.is_wildcard:
            return DNS_ONLY
        usable = {ChallengeMethod.DNS} if state.has_our_dns else set()
        if state.leads_here or not self._rules.is_validated:
            usable |= {ChallengeMethod.HTTP, ChallengeMethod.TLS_ALPN}
        return tuple(method for method in self._methods if method in usable) or self._methods

    async def _tended(self, held: Held, facts: CertificateFacts) -> Held:
        """The certificate in service is sealed for whom it should be, and those before it go some day."""
        try:
            if await self._records.reseal(facts, ACTOR):
                self.counters["certificates_resealed"] += 1
        except (InvalidInput, Conflict) as error:
            log.warning("the certificate of %s is not sealed anew: %s", facts.name, error)
        if gone := outdated(held.document, facts.certificate_id, self._clock()):
            await self._records.drop(gone)
            left = tuple(each for each in held.document.objects if each[0] not in gone)
            held = await self._written(held, msgspec.structs.replace(held.document, objects=left))
        return held if facts.issuer == UPLOAD else await self._with_window(held, facts)

    async def _dropped(self, document: DomainDocument) -> None:
        """Nothing of a name that is no longer the site's stays in the store."""
        await self._records.drop(certificate_id for certificate_id, _ in document.objects)
        await self._documents.remove(document.domain, document.site_id)

    def moved(self) -> set[tuple[str, str]]:
        """Names of sites that moved to other regions since this was asked last: other nodes open their keys."""
        if not self._records.has_regions:
            return set()
        sites = self._catalog_fold.catalog.sites()
        groups = {site.id: self._records.groups(site.id) for site in sites if site.settings.region}
        before, self._groups = self._groups, groups
        if before is None:
            return set()
        changed = {one for one in before.keys() | groups.keys() if before.get(one) != groups.get(one)}
        return {name for name in self.names() if name[1] in changed} if changed else set()

    async def _with_window(self, held: Held, facts: CertificateFacts) -> Held:
        """With what the authority says of the certificate's renewal, where it is time to ask (RFC 9773 4.3)."""
        ordering, now = held.document.ordering, self._clock()
        is_same = ordering.window_of == facts.certificate_id
        if is_same and now < ordering.ask_window_at:
            return held
        chain = await self._records.chain(facts.certificate_id)
        window = None if chain is None else await self._office.renewal_window(chain)
        known = ordering.window if is_same else None
        ordering = msgspec.structs.replace(
            ordering,
            window_of=facts.certificate_id,
            window=known if window is None else (window.start, window.end),
            explanation="" if window is None else window.explanation[:MAX_URL_CHARS],
            ask_window_at=ask_again_at(now, window),
        )
        return await self._written(held, msgspec.structs.replace(held.document, ordering=ordering))

    def _renew_at(self, facts: CertificateFacts, document: DomainDocument | None) -> float:
        ordering = None if document is None else document.ordering
        window = None if ordering is None or ordering.window_of != facts.certificate_id else ordering.window
        named = None if window is None else RenewalWindow(*window, "", 0.0)
        return renew_at(facts.not_before, facts.not_after, named, spread(facts.certificate_id))

    async def forget(self, domain: str, site_id: str) -> None:
        """The site has the domain no more: nothing of it stays. Raises Unavailable."""
        async with self._offices.held(domain) as office:
            if office is None or self._holding(domain, site_id) is not None:
                return
            await self._dropped((await self._documents.read(domain, site_id)).document)

    # What is known.

    def standing_of(self, document: DomainDocument, holding: Holding) -> DomainStanding:
        """How far the domain is, by its document and the records."""
        state, facts = self.onboarding_of(document, holding), self._certificates.certificate(document.domain)
        return standing_of(document, state, facts, self._rules, self._clock())
