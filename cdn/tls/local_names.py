"""Names that no public authority signs, below `localhost` for example, beside those that it does."""

from __future__ import annotations

from cdn.tls.issuer import Issued, IssueOutcome, Issuer, IssueRequest, RenewalWindow, Solver


def is_at_or_below(name: str, zone: str) -> bool:
    """Whether `name` is the zone's, or of one below it."""
    return name == zone or name.endswith(f".{zone}")


class LocalNames:
    """See `Issuer`: `local` signs for `zone` and names below it, `public` for all others."""

    def __init__(self, zone: str, local: Issuer, public: Issuer) -> None:
        self._zone = zone
        self._local = local
        self._public = public

    @property
    def name(self) -> str:
        """The public one's."""
        return self._public.name

    async def issue(self, request: IssueRequest, solver: Solver) -> IssueOutcome:
        """See `Issuer.issue`."""
        issuer = self._local if all(is_at_or_below(name, self._zone) for name in request.names) else self._public
        outcome = await issuer.issue(request, solver)
        return Issued(outcome.chain, outcome.issuer or issuer.name) if isinstance(outcome, Issued) else outcome

    async def renewal_window(self, chain: str) -> RenewalWindow | None:
        """See `Issuer.renewal_window`: the public one says nothing of certificates that it does not know."""
        return await self._public.renewal_window(chain)

    async def revoke(self, chain: str, reason: int) -> str | None:
        """See `Issuer.revoke`."""
        return await self._public.revoke(chain, reason)

    async def aclose(self) -> None:
        """Both."""
        await self._public.aclose()
        await self._local.aclose()
