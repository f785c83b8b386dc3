"""Showing an authority that names are ours (RFC 8555 7.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cdn.errors import CdnError, Conflict
from cdn.tls.acme.account import Registration
from cdn.tls.acme.authorization import Authorization, AuthorizationStatus
from cdn.tls.acme.base64url import is_base64url
from cdn.tls.acme.challenge import OfferedChallenge, key_authorization, shown_value
from cdn.tls.acme.client import AcmeClient
from cdn.tls.acme.polling import polled
from cdn.tls.acme.problem import SEEN_OTHERWISE, AcmeRefused, NotAcme, Problem, printable
from cdn.tls.issuer import Challenge, ChallengeMethod, Solver

MAX_AT_ONCE = 8
"""Names of one order that are shown at one time: each waits for every node."""

MAX_TOKEN_CHARS = 256
"""Of a challenge: authorities' have 43."""


class ChallengeFailed(CdnError):
    """The authority looked and did not see what it wanted. `method` None: it does not say how it looked."""

    def __init__(self, host: str, name: str, method: ChallengeMethod | None, problem: Problem) -> None:
        by = f" by {method.value}" if method is not None else ""
        super().__init__(f"{host} looked for {name}{by} and says: {problem.sentence()}")
        self.method = method
        self.problem = problem

    @property
    def may_do_otherwise(self) -> bool:
        """Whether the failure says nothing of other methods."""
        return self.method is not None and self.problem.kind in SEEN_OTHERWISE


class NoMethod(CdnError):
    """None of the challenges that are offered can be answered here."""


class NamesFailed(CdnError):
    """What was wrong with each of the names. Raised in place of what single names raise."""

    def __init__(self, failures: Sequence[ChallengeFailed]) -> None:
        super().__init__("; ".join(each.message for each in failures))
        self.failures = tuple(failures)


@dataclass(frozen=True, slots=True)
class Validation:
    """Of the names of one order. `clock` is wall time."""

    client: AcmeClient
    registration: Registration
    solver: Solver
    clock: Callable[[], float]

    async def validate(self, urls: Sequence[str], methods: Sequence[ChallengeMethod], until: float) -> None:
        """Returns when all authorizations are valid. `until` is the time of the event loop.

        All names are gone through even where one fails, so that all that is wrong is said at once. Raises NamesFailed;
        else what the first raised: NoMethod, AcmeRefused, AuthorityAway, AccountRefused, and what the solver raises.
        """
        places = asyncio.Semaphore(MAX_AT_ONCE)

        async def one(url: str) -> None:
            async with places:
                await self._name(url, methods, until)

        outcomes = await asyncio.gather(*map(one, urls), return_exceptions=True)
        raised = [each for each in outcomes if each is not None]
        failures = [each for each in raised if isinstance(each, ChallengeFailed)]
        for each in raised:
            if not isinstance(each, ChallengeFailed):
                raise each
        if failures:
            raise NamesFailed(failures)

    async def _name(self, url: str, methods: Sequence[ChallengeMethod], until: float) -> None:
        authorization, _ = await self._look(url)
        if authorization.status is AuthorizationStatus.VALID:
            return
        if authorization.status is not AuthorizationStatus.PENDING:
            raise self._failed(authorization)
        offered, refusals = authorization.offered(methods), []
        for each in offered:
            challenge = await self._challenge(authorization, each)
            try:
                try:
                    await self.solver.present(challenge)
                except Conflict as exc:
                    refusals.append(f"{challenge.method.value}: {exc.message}")
                    continue
                await self._looked_at(url, each, until)
                return
            finally:
                await self.solver.withdraw(challenge)
        raise NoMethod(_no_method(self.client.authority.host, authorization, methods, refusals))

    async def _looked_at(self, url: str, offered: OfferedChallenge, until: float) -> None:
        """Have the authority look, and wait for what it sees."""
        host, retry_after_s = self.client.authority.host, None
        if offered.status == "pending":
            try:
                retry_after_s = (await self.registration.post(offered.url, {})).retry_after_s
            except AcmeRefused as exc:
                seen, _ = await self._look(url)
                if exc.problem.kind != "malformed" or seen.status is AuthorizationStatus.PENDING:
                    raise  # otherwise it had looked already, and takes no second word
        found = await polled(
            lambda: self._look(url),
            lambda seen: seen.status is not AuthorizationStatus.PENDING,
            until=until,
            what=f"what {host} sees",
            retry_after_s=retry_after_s,
        )
        if found.status is not AuthorizationStatus.VALID:
            raise self._failed(found)

    async def _look(self, url: str) -> tuple[Authorization, float | None]:
        answer = await self.registration.post(url, None)
        return self.client.read(answer, Authorization), answer.retry_after_s

    async def _challenge(self, authorization: Authorization, offered: OfferedChallenge) -> Challenge:
        host, method = self.client.authority.host, offered.method
        assert method is not None, "only known methods are picked"
        if len(offered.token) > MAX_TOKEN_CHARS or not is_base64url(offered.token):
            raise NotAcme(f"{host} offers {method.value} with a token that is none: {printable(offered.token)!r}")
        account = await self.registration.account()
        shown = shown_value(method, key_authorization(offered.token, account.key.thumbprint()))
        return Challenge(
            method, authorization.identifier.value.lower(), offered.token, shown, authorization.left_s(self.clock())
        )

    def _failed(self, authorization: Authorization) -> ChallengeFailed:
        method, problem = authorization.failure
        return ChallengeFailed(self.client.authority.host, _shown_name(authorization), method, problem)


def _shown_name(authorization: Authorization) -> str:
    star = "*." if authorization.wildcard else ""
    return printable(f"{star}{authorization.identifier.value}")


def _no_method(
    host: str, authorization: Authorization, methods: Sequence[ChallengeMethod], refusals: Sequence[str]
) -> str:
    name = _shown_name(authorization)
    if refusals:
        return f"No challenge of {host} for {name} can be answered here: {'; '.join(refusals)}"
    offered = ", ".join(printable(each.type) for each in authorization.challenges) or "nothing"
    allowed = ", ".join(method.value for method in methods)
    return f"{host} offers {offered} for {name}, and here it may be {allowed}"
