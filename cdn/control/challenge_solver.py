"""Answers to certificate authorities, as records: looked for only once every live node gives them (DESIGN I8)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, assert_never

from cdn.control.challenges import CHALLENGE_LABEL, Challenges
from cdn.control.dns_followers import DnsFollowers
from cdn.control.node_directory import NodeDirectory
from cdn.control.state import ControlState
from cdn.errors import CdnError, Conflict, NotFound, Unavailable
from cdn.journal.record import AnswerRemoved, AnswerSet, Change, Record
from cdn.tls.issuer import Challenge, ChallengeMethod

ACTOR = "control"

MIN_LIFE_S = 60.0
"""Of an answer: an authority looks from several places, and again when one of them failed."""

MAX_LIFE_S = 86_400.0
"""Of an answer that nobody withdraws, because its control died: an order that is gone on with sets it again."""

MAX_NAMED = 5
"""Nodes named in one sentence."""

log = logging.getLogger(__name__)


class ElsewhereDns(Protocol):
    """Name servers that follow other replicas of control."""

    async def dns_behind(self, record: Record, timeout_s: float) -> tuple[str, ...]:
        """Those that do not answer by `record` within the time. Raises Unavailable when it cannot be known."""
        ...


class RecordSolver:
    """See `cdn.tls.issuer.Solver`."""

    def __init__(
        self,
        state: ControlState,
        directory: NodeDirectory,
        dns: DnsFollowers,
        challenges: Challenges,
        *,
        elsewhere: ElsewhereDns | None,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        """`timeout_s`: how long nodes may take. `clock` is wall time. `elsewhere` None: there are no other replicas."""
        self._state = state
        self._directory = directory
        self._dns = dns
        self._challenges = challenges
        self._elsewhere = elsewhere
        self._timeout_s = timeout_s
        self._clock = clock

    async def present(self, challenge: Challenge) -> None:
        """See `Solver.present`."""
        match challenge.method:
            case ChallengeMethod.DNS:
                record = await self._challenges.set(
                    _challenge_name(challenge.domain),
                    challenge.value,
                    expires_s=_life_s(challenge),
                    actor=ACTOR,
                )
                await self._require_name_servers(record)
            case ChallengeMethod.HTTP | ChallengeMethod.TLS_ALPN:
                record = await self._state.append_always(_answer_subject(challenge), self._answer(challenge), ACTOR)
                await self._require_nodes(record)
            case _:
                assert_never(challenge.method)

    async def withdraw(self, challenge: Challenge) -> None:
        """See `Solver.withdraw`."""
        try:
            await self._withdrawal(challenge)
        except NotFound:
            return  # it is over already
        except CdnError as error:
            log.info("an answer for %s stays until it expires: %s", challenge.domain, error)

    def _withdrawal(self, challenge: Challenge) -> Awaitable[Record]:
        match challenge.method:
            case ChallengeMethod.DNS:
                return self._challenges.remove(_challenge_name(challenge.domain), challenge.value, actor=ACTOR)
            case ChallengeMethod.HTTP | ChallengeMethod.TLS_ALPN:
                removed = AnswerRemoved(challenge.method.value, challenge.domain, _shown_token(challenge))
                return self._state.append_always(_answer_subject(challenge), removed, ACTOR)
            case _:
                assert_never(challenge.method)

    def _answer(self, challenge: Challenge) -> Change:
        until = self._clock() + _life_s(challenge)
        return AnswerSet(challenge.method.value, challenge.domain, _shown_token(challenge), challenge.value, until)

    async def _require_nodes(self, record: Record) -> None:
        """Raises Unavailable, with the names of live nodes that do not answer by it."""
        await self._directory.wait_past(record.position, self._timeout_s)
        is_settled = await self._directory.settle()
        found = self._directory.tally(record.position)
        if found.pending:
            raise Unavailable(
                f"{_named(found.pending)} did not apply the answer to the authority within {self._timeout_s:g} s "
                "(cdn status says why)"
            )
        if not is_settled:
            raise Unavailable("what nodes told other replicas of control is not known now, so nobody knows who answers")
        if not found.applied:
            raise Unavailable("no node serves that could answer the authority: start one (cdn edge)")

    async def _require_name_servers(self, record: Record) -> None:
        """Raises Unavailable, with the names of name servers that do not answer by it."""
        behind = await self._dns.wait_past(record.position, self._timeout_s)
        if self._elsewhere is not None:
            behind = (*behind, *await self._elsewhere.dns_behind(record, self._timeout_s))
        if behind:
            raise Unavailable(
                f"{_named(behind)} did not apply the record for the authority within {self._timeout_s:g} s "
                "(cdn status says why)"
            )
        if self._elsewhere is None and not self._dns.all():
            raise Conflict("no name server follows this control, so nobody would answer dns-01: start one (cdn dns)")


def _challenge_name(domain: str) -> str:
    return f"{CHALLENGE_LABEL}.{domain}"


def _shown_token(challenge: Challenge) -> str:
    """A handshake shows no token (RFC 8737 3)."""
    return "" if challenge.method is ChallengeMethod.TLS_ALPN else challenge.token


def _answer_subject(challenge: Challenge) -> str:
    return f"answer/{challenge.domain}"


def _life_s(challenge: Challenge) -> float:
    return min(max(challenge.expires_s, MIN_LIFE_S), MAX_LIFE_S)


def _named(nodes: tuple[str, ...]) -> str:
    more = f" and {len(nodes) - MAX_NAMED} more" if len(nodes) > MAX_NAMED else ""
    return f"{', '.join(nodes[:MAX_NAMED])}{more}"
