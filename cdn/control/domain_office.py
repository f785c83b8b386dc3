"""The seam to the work behind domains: who looks at DNS, gets certificates, and knows how far each domain is.

What is a fact for every node stands in records (claims, domains, certificates). This is the rest: what was seen when it
was last looked, what failed, and when it is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cdn.journal.certificate_fold import CertificateFacts
from cdn.sites.onboarding import Stage


class Step(Enum):
    """What is looked at, in this order."""

    OWNERSHIP = "ownership"  # the TXT record that shows whose the domain is
    POINTING = "pointing"  # whether visitors come here
    CAA = "caa"  # whether our authority may sign for it (RFC 8659)
    CERTIFICATE = "certificate"  # the order, and nodes that have what came of it


@dataclass(frozen=True, slots=True)
class ServerSaid:
    """What one server answered, verbatim; `server` is its name and address."""

    server: str
    answer: str


@dataclass(frozen=True, slots=True)
class StepSeen:
    """One step with its evidence. `is_right` None: not looked at yet, or nobody could say. `says` is a sentence that a
    newcomer understands: what was found, and what was expected."""

    step: Step
    is_right: bool | None
    says: str
    servers: tuple[ServerSaid, ...] = ()


@dataclass(frozen=True, slots=True)
class DomainStanding:
    """How far a site's domain is. Times are wall time in seconds. `fault`: why it goes no further, as whoever said so
    said it; None: nothing is wrong, and `waits_for` says what is under way ("": nothing is). `failures` counts tries
    that failed one after the other; `next_try_at` None: nothing is tried by itself any more, or nothing has to be."""

    domain: str
    site_id: str
    stage: Stage
    steps: tuple[StepSeen, ...] = ()
    fault: str | None = None
    waits_for: str = ""
    failures: int = 0
    checked_at: float | None = None
    next_try_at: float | None = None


class DomainOffice(Protocol):
    """Claims and domains are found in the folds; nothing here creates or removes them but by verification and its
    lapse."""

    async def check(self, site_id: str, domain: str, wait_s: float) -> DomainStanding:
        """Look now, whoever's turn it is, and go on as far as it goes; return once it is LIVE or `wait_s` is over.

        Several callers share one look. Raises NotFound when the site has neither a claim on `domain` nor the domain,
        Unavailable when too many looks are under way.
        """
        ...

    async def standing(self, site_id: str, domain: str) -> DomainStanding:
        """What is known without looking. Raises NotFound as `check`, Unavailable when the store does not answer."""
        ...

    async def forget(self, domain: str, site_id: str) -> None:
        """The claim or the domain was removed: drop what is known of it, and its certificate's record and orders.
        Raises nothing; what cannot be dropped now is dropped by a later round."""
        ...

    async def take_certificate(self, site_id: str, domain: str, chain: str, key: str, actor: str) -> CertificateFacts:
        """Serve `domain` with a certificate that its owner brings (PEM), and order none, not even once it is over: its
        owner may want no authority to know of the name. An alarm tells before, and a fault from then on.

        Raises InvalidInput for one that does not fit (key, chain, names, times), NotFound, Conflict when the domain is
        not verified, Unavailable.
        """
        ...

    async def release_certificate(self, site_id: str, domain: str, actor: str) -> None:
        """Get certificates automatically again; the one that was brought is served until the first has come.

        Raises NotFound when none was brought, Unavailable.
        """
        ...
