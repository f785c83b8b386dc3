"""Several authorities in order of preference, as one."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import assert_never

from cdn.errors import InvalidInput
from cdn.tls.issuer import Issued, IssueOutcome, Issuer, IssueRefused, IssueRequest, RenewalWindow, Solver

MAX_RESTS = 10_000
"""Names for which an authority asked for patience: those of one hour's orders, many times over. The oldest are dropped;
then that authority is asked again, and says so again."""


class IssuerChain:
    """See `Issuer`. The next one is asked when nothing was wrong with the name (`IssueRefused.is_ours`); one that asked
    for patience over a name is passed over for it until that time has gone."""

    def __init__(self, issuers: Sequence[Issuer], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Raises InvalidInput when there is none."""
        if not issuers:
            raise InvalidInput("give at least one authority")
        self._issuers = tuple(issuers)
        self._monotonic = monotonic
        self._rests: OrderedDict[tuple[int, tuple[str, ...]], tuple[float, str]] = OrderedDict()

    @property
    def name(self) -> str:
        """That of the preferred one."""
        return self._issuers[0].name

    async def issue(self, request: IssueRequest, solver: Solver) -> IssueOutcome:
        """See `Issuer.issue`. A refusal says what each of those said that were asked."""
        refusals: list[IssueRefused] = []
        for index, issuer in enumerate(self._issuers):
            outcome = self._rest(index, request.names) or await issuer.issue(request, solver)
            match outcome:
                case Issued():
                    return Issued(outcome.chain, outcome.issuer or issuer.name)
                case IssueRefused():
                    self._remember(index, request.names, outcome)
                    refusals.append(outcome)
                    if not outcome.is_ours:
                        break
                case _:
                    assert_never(outcome)
        return _joined(refusals)

    async def renewal_window(self, chain: str) -> RenewalWindow | None:
        """See `Issuer.renewal_window`: of the first that knows the certificate."""
        for issuer in self._issuers:
            window = await issuer.renewal_window(chain)
            if window is not None:
                return window
        return None

    async def revoke(self, chain: str, reason: int) -> str | None:
        """See `Issuer.revoke`: by the first that does."""
        reasons: list[str] = []
        for issuer in self._issuers:
            why_not = await issuer.revoke(chain, reason)
            if why_not is None:
                return None
            reasons.append(why_not)
        return "; ".join(reasons)

    async def aclose(self) -> None:
        """All of them."""
        for issuer in self._issuers:
            await issuer.aclose()

    def _remember(self, index: int, names: tuple[str, ...], refusal: IssueRefused) -> None:
        if refusal.retry_after_s is None or len(self._issuers) == 1:
            return
        self._rests[(index, names)] = (self._monotonic() + refusal.retry_after_s, refusal.reason)
        self._rests.move_to_end((index, names))
        while len(self._rests) > MAX_RESTS:
            self._rests.popitem(last=False)

    def _rest(self, index: int, names: tuple[str, ...]) -> IssueRefused | None:
        """What it said, while it is to be left alone."""
        until, reason = self._rests.get((index, names), (0.0, ""))
        left_s = until - self._monotonic()
        if left_s > 0:
            return IssueRefused(reason, left_s, is_ours=True)
        self._rests.pop((index, names), None)
        return None


def _joined(refusals: Sequence[IssueRefused]) -> IssueRefused:
    """All were asked, or the last one found fault with the name. Again when the first of them takes it."""
    last = refusals[-1]
    if len(refusals) == 1:
        return last
    times = [each.retry_after_s for each in refusals]
    stated = [each for each in times if each is not None]
    retry_after_s = min(stated) if len(stated) == len(times) else None
    return IssueRefused("; ".join(each.reason for each in refusals), retry_after_s, last.is_ours)
