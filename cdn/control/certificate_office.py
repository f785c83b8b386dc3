"""Getting a certificate for a name, and making it a fact for every node: lock, recheck, issue, keep, record."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from cdn.control.certificate_records import CertificateRecords
from cdn.control.domain_documents import DomainDocument, DomainDocuments, Held, Ordering, spread, with_object
from cdn.control.issuing import Issuing
from cdn.control.name_offices import NameOffice
from cdn.control.order_budget import OrderBudget
from cdn.errors import CdnError, Conflict, InvalidInput, Unavailable
from cdn.journal.certificate_fold import CertificateFacts
from cdn.tls.certificate import Certificate, covers, read_certificate
from cdn.tls.certificate_key import certificate_request, make_certificate_key
from cdn.tls.issuer import (
    ChallengeMethod,
    Issued,
    IssueOutcome,
    Issuer,
    IssueRefused,
    IssueRequest,
    RenewalWindow,
    Solver,
)
from cdn.tls.local_names import is_at_or_below
from cdn.tls.retry import try_again_s
from cdn.tls.sealed import Purpose

ACTOR = "control"

DEVELOPMENT = "development"
"""The issuer that signs whatever it is asked for, on a developer's machine."""

NOBODY_SIGNS = (
    "No authority is set that signs certificates: set directories in [acme] of control's settings, or bring a "
    "certificate (cdn domain certificate set)."
)

HOUR_FULL = "As many certificates were ordered as may be in an hour: the order is made when there is room."

NOBODY_ASK_AGAIN_S = 3600.0
"""Settings change with a restart of control, which looks anew."""

UPGRADING_PAUSE_S = 60.0
"""Before it is looked again whether everyone understands records of certificates: upgrades take minutes or hours."""

MAX_REASON_CHARS = 2000
"""What an authority said is kept up to here: problems with subproblems for a hundred names are longer."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A certificate for `names`, kept under the first of them, for a site or with "" for the CDN's own zone."""

    names: tuple[str, ...]
    site_id: str
    methods: tuple[ChallengeMethod, ...]

    @property
    def name(self) -> str:
        """Under which it is kept."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class NotObtained:
    """`says`: why not, as whoever said so said it. `retry_at` is wall time."""

    says: str
    retry_at: float


class CertificateOffice:
    """Works on a name only for who has its office; what it was told last stands in the name's document."""

    def __init__(
        self,
        records: CertificateRecords,
        documents: DomainDocuments,
        issuing: Issuing,
        solver: Solver,
        *,
        clock: Callable[[], float],
    ) -> None:
        """`clock` is wall time."""
        self._records = records
        self._documents = documents
        self._issuing = issuing
        self._solver = solver
        self._clock = clock
        self._budget: OrderBudget | None = None
        self._turns = asyncio.Semaphore(issuing.settings.max_orders)
        self.counters: Counter[str] = Counter()

    @property
    def has_issuer(self) -> bool:
        """Whether anybody signs."""
        return self._issuing.issuer is not None

    @property
    def is_validated(self) -> bool:
        """Whether whoever signs looks whether the name is ours: then it has to be found here."""
        issuer = self._issuing.issuer
        return issuer is None or issuer.name != DEVELOPMENT

    def supersedes(self, facts: CertificateFacts) -> bool:
        """Whether a certificate is replaced at once: nobody trusts it who was not told to, and now there is an
        authority that everybody trusts, and that signs for such a name."""
        ours, local_zone = self._issuing.issuer, self._issuing.local_zone
        if facts.issuer != DEVELOPMENT or ours is None or ours.name == DEVELOPMENT:
            return False
        return not (local_zone and is_at_or_below(facts.name, local_zone))

    async def renewal_window(self, chain: str) -> RenewalWindow | None:
        """What the authority says of when a certificate of its is to be renewed."""
        issuer = self._issuing.issuer
        return None if issuer is None else await issuer.renewal_window(chain)

    async def obtain(
        self, wanted: Wanted, held: Held, office: NameOffice, failures: int
    ) -> tuple[Held, NotObtained | None]:
        """One try to get a certificate, after so many that failed; the document as it is then, and what stood in the
        way, None: the certificate is recorded.

        Raises Unavailable when journal or store do not answer, or the office was lost; Conflict when the name is no
        longer the site's.
        """
        issuer = self._issuing.issuer
        if issuer is None:
            return held, NotObtained(NOBODY_SIGNS, self._clock() + NOBODY_ASK_AGAIN_S)
        async with self._turns:
            return await self._obtain(issuer, wanted, held, office, failures)

    async def _obtain(
        self, issuer: Issuer, wanted: Wanted, held: Held, office: NameOffice, failures: int
    ) -> tuple[Held, NotObtained | None]:
        now = self._clock()
        try:
            await self._records.require_understood()  # what could not be recorded would be ordered again and again
        except Conflict as error:
            return held, NotObtained(error.message, now + UPGRADING_PAUSE_S)
        if (wait_s := self._out_of_budget_s(wanted.site_id, now)) > 0:
            self.counters["certificate_orders_put_off"] += 1
            return held, NotObtained(HOUR_FULL, now + wait_s)
        key, held = await self._key_of_order(wanted, held, now)
        replaces = await self._records.replaced_chain(wanted.name)
        csr = await asyncio.to_thread(certificate_request, key, wanted.names)
        request = IssueRequest(wanted.names, csr, wanted.methods, replaces)
        self.counters["certificate_orders"] += 1
        outcome = await self._asked(issuer, request)
        office.require()
        ordering = held.document.ordering
        if isinstance(outcome, Issued):
            try:
                certificate = _fitting(wanted, outcome.chain, key)
            except InvalidInput as error:
                outcome = IssueRefused(f"What {issuer.name} signed cannot be used: {error.message}")
                ordering = msgspec.structs.replace(ordering, sealed_key="")
            else:
                # named before it is there: what nobody names is never removed
                held = await self._named(held, certificate.certificate_id)
                by = outcome.issuer or issuer.name
                await self._records.keep(wanted.name, certificate, wanted.site_id, by, ACTOR)
                self.counters["certificates_issued"] += 1
                return await self._noted(held, Ordering(tried_at=ordering.tried_at)), None
        self.counters["certificate_orders_failed"] += 1
        now, patience_s = self._clock(), outcome.retry_after_s
        log.warning("no certificate for %s, try %d: %s", wanted.name, failures + 1, outcome.reason)
        point = spread(f"{wanted.name} {failures}")
        retry_at = now + try_again_s(failures + 1, point, patience_s, self._records.left_s(wanted.name, now))
        ordering = msgspec.structs.replace(ordering, not_before=0.0 if patience_s is None else retry_at)
        return await self._noted(held, ordering), NotObtained(outcome.reason[:MAX_REASON_CHARS], retry_at)

    def _out_of_budget_s(self, site_id: str, now: float) -> float:
        """0: there was an order left for the site, and it is taken."""
        if self._budget is None:
            self._budget = OrderBudget(self._issuing.settings.orders_per_hour, now)
        return self._budget.take(site_id, now)

    async def _asked(self, issuer: Issuer, request: IssueRequest) -> IssueOutcome:
        limit_s = self._issuing.settings.order_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await issuer.issue(request, self._solver)
        except TimeoutError:
            return IssueRefused(f"The order at {issuer.name} was not done after {limit_s:g} s.", is_ours=True)
        except CdnError as error:
            return IssueRefused(error.message, is_ours=True)

    async def _key_of_order(self, wanted: Wanted, held: Held, now: float) -> tuple[bytes, Held]:
        """The key of the order that is under way, else a new one, which is durable before anybody signs it."""
        ring, sealed = self._issuing.control_ring, held.document.ordering.sealed_key
        if sealed:
            try:
                key = ring.opened(base64.b64decode(sealed), Purpose.CERTIFICATE_KEY, _order_name(held.document))
                ordering = msgspec.structs.replace(held.document.ordering, tried_at=now)
                return key, await self._noted(held, ordering)
            except (InvalidInput, ValueError) as error:
                log.warning("the order for %s is begun anew: %s", wanted.name, error)
        key = await asyncio.to_thread(make_certificate_key)
        envelope = ring.sealed(key, Purpose.CERTIFICATE_KEY, _order_name(held.document))
        ordering = msgspec.structs.replace(
            held.document.ordering, tried_at=now, sealed_key=base64.b64encode(envelope).decode("ascii")
        )
        return key, await self._noted(held, ordering)

    async def _named(self, held: Held, certificate_id: str) -> Held:
        return await self._written(held, with_object(held.document, certificate_id, self._clock()))

    async def _noted(self, held: Held, ordering: Ordering) -> Held:
        return await self._written(held, msgspec.structs.replace(held.document, ordering=ordering))

    async def _written(self, held: Held, document: DomainDocument) -> Held:
        """Raises Unavailable when another wrote the document: whoever did has the office."""
        written = await self._documents.write(held, document)
        if written is None:
            raise Unavailable(f"another control looks after {document.domain}: it goes on there")
        return written


def _order_name(document: DomainDocument) -> str:
    return f"order {document.domain} of {document.site_id}"


def _fitting(wanted: Wanted, chain: str, key: bytes) -> Certificate:
    """Raises InvalidInput."""
    certificate = read_certificate(chain, key)
    missing = [name for name in wanted.names if not covers(certificate.names, name)]
    if missing:
        raise InvalidInput(f"it is not for {', '.join(missing)}, but for {', '.join(certificate.names)}")
    return certificate
