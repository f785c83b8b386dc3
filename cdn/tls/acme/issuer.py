"""An authority that speaks ACME, as one that signs certificates."""

from __future__ import annotations

import time
from collections.abc import Callable

from cdn.tls.acme.authority import Authority
from cdn.tls.acme.memory import AcmeMemory
from cdn.tls.issuer import IssueOutcome, IssueRequest, RenewalWindow, Solver


class AcmeIssuer:
    """See `cdn.tls.issuer.Issuer`. One for a process and authority; calls may overlap."""

    def __init__(self, authority: Authority, memory: AcmeMemory, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` is wall time. Connects to nothing yet. Raises InvalidInput when the CA file cannot be read."""
        self._authority = authority
        self._memory = memory
        self._clock = clock

    @property
    def name(self) -> str:
        """The directory's URL."""
        return self._authority.directory_url

    async def issue(self, request: IssueRequest, solver: Solver) -> IssueOutcome:
        """See `Issuer.issue`. Each of `request.methods` that the authority offers is tried once, the next one where a
        failure says nothing of it. May raise Unavailable from the memory."""
        raise NotImplementedError

    async def renewal_window(self, chain: str) -> RenewalWindow | None:
        """See `Issuer.renewal_window` (RFC 9773)."""
        raise NotImplementedError

    async def revoke(self, chain: str, reason: int) -> str | None:
        """See `Issuer.revoke` (RFC 8555 7.6). One that is revoked already is done."""
        raise NotImplementedError

    async def caa_identities(self) -> tuple[str, ...]:
        """What CAA records call it (RFC 8555 7.1.1); empty where it does not say, or is away."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close connections."""
        raise NotImplementedError
