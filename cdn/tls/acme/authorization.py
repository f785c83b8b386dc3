"""Whether an account may have certificates for a name (RFC 8555 7.1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import msgspec

from cdn.tls.acme.challenge import OfferedChallenge
from cdn.tls.acme.problem import Identifier, Problem
from cdn.tls.acme.timestamp import seconds_of
from cdn.tls.issuer import ChallengeMethod

DEFAULT_LIFE_S = 3600.0
"""Of one that does not say when it ends."""


class AuthorizationStatus(Enum):
    """RFC 8555 7.1.6."""

    PENDING = "pending"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Authorization(msgspec.Struct, frozen=True):
    """As the authority shows it. The identifier of a wildcard's is the name without `*.`."""

    status: AuthorizationStatus
    identifier: Identifier
    challenges: tuple[OfferedChallenge, ...] = ()
    expires: str = ""
    wildcard: bool = False

    def offered(self, methods: Sequence[ChallengeMethod]) -> tuple[OfferedChallenge, ...]:
        """Challenges of these methods, in their order."""
        return tuple(each for method in methods for each in self.challenges if each.method is method)

    def left_s(self, now: float) -> float:
        """For how long it may be looked for; `now` is wall time."""
        end = seconds_of(self.expires)
        return DEFAULT_LIFE_S if end is None or end <= now else end - now

    @property
    def failure(self) -> tuple[ChallengeMethod | None, Problem]:
        """What the authority saw, and how it looked. A status in its place where it says nothing."""
        for each in self.challenges:
            if each.error is not None:
                return each.method, each.error
        return None, Problem(detail=f"the authorization for {self.identifier.value} is {self.status.value}")
