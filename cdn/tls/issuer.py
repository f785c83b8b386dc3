"""The seam to whoever signs certificates: an authority that speaks ACME, or the development authority."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class ChallengeMethod(Enum):
    """How an authority sees that a name is ours (RFC 8555 8, RFC 8737)."""

    HTTP = "http-01"
    TLS_ALPN = "tls-alpn-01"
    DNS = "dns-01"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What an authority will look for. `domain` is the name without `*.`; `key_authorization` is whole (RFC 8555 8.1);
    what each method shows of it is `value` (`cdn.tls.acme.challenge.shown_value`)."""

    method: ChallengeMethod
    domain: str
    token: str
    value: str
    expires_s: float
    """For how long the answer may be looked for, from now."""


class Solver(Protocol):
    """Answers challenges on every node that the authority may meet."""

    async def present(self, challenge: Challenge) -> None:
        """Returns when every live node answers it. Raises Unavailable, with the names of those that do not, when that
        takes too long; Conflict when there is no way to answer it here (dns-01 for a name in no zone of ours)."""
        ...

    async def withdraw(self, challenge: Challenge) -> None:
        """It is over, whichever way. Raises nothing: what cannot be withdrawn expires."""
        ...


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """A certificate that is wanted. `csr` is the request in DER (its key is the caller's). `methods` are those that may
    be used, the best first. `replaces` is the PEM chain of the certificate in whose place it comes (RFC 9773 5)."""

    names: tuple[str, ...]
    csr: bytes
    methods: tuple[ChallengeMethod, ...]
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """`chain` in PEM form, the first certificate first. `issuer` is who signed, where several may have; "": who was
    asked."""

    chain: str
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class IssueRefused:
    """`reason` is what the authority, or the way to it, said: shown to the user as it is. `retry_after_s`: not before
    that time has gone; None: as the caller thinks right. `is_ours`: nothing was wrong with the name (the authority was
    away, or asked for patience), so another authority may be asked at once."""

    reason: str
    retry_after_s: float | None = None
    is_ours: bool = False


IssueOutcome = Issued | IssueRefused


@dataclass(frozen=True, slots=True)
class RenewalWindow:
    """When the authority wants a certificate renewed (RFC 9773 4.2), wall time; `explanation` is a URL or "".
    `ask_again_s`: how long it says that this holds."""

    start: float
    end: float
    explanation: str
    ask_again_s: float


class Issuer(Protocol):
    """One authority. Everything that may go wrong outside is an outcome, not an exception."""

    @property
    def name(self) -> str:
        """The directory's URL, or "development"."""
        ...

    async def issue(self, request: IssueRequest, solver: Solver) -> IssueOutcome:
        """Order, answer challenges, fetch. An order that a process before began for the same names is gone on with."""
        ...

    async def renewal_window(self, chain: str) -> RenewalWindow | None:
        """None where the authority does not say."""
        ...

    async def revoke(self, chain: str, reason: int) -> str | None:
        """Why not, None when it is done. `reason` by RFC 5280 5.3.1."""
        ...

    async def aclose(self) -> None: ...
