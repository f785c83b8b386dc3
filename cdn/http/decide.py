"""The cache's decision: what may be done with a stored response now (RFC 9111 section 4, RFC 5861, DESIGN I1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cdn.http.cache_status import Forward


@dataclass(frozen=True, slots=True)
class Required:
    """What the floors demand of a response's admitted sequence. 0 demands nothing.

    Below `hard` it is unusable in any way; below `soft` it is stale.
    """

    hard: int
    soft: int


NOTHING_REQUIRED = Required(0, 0)


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """What the decision needs of a stored response.

    `admitted_sequence` was admitted under the node's present epoch exactly when `is_same_epoch`. `validated_at` is
    monotonic seconds: when it was stored or last validated. The two windows are those of RFC 5861, counted from the
    moment it became stale.
    """

    admitted_sequence: int
    is_same_epoch: bool
    validated_at: float
    freshness_lifetime_s: float
    stale_if_error_s: float
    stale_while_revalidate_s: float


class StaleReason(Enum):
    """Why a stored response is not fresh."""

    EXPIRED = "expired"
    SOFT_PURGED = "soft-purged"
    OTHER_EPOCH = "other-epoch"


@dataclass(frozen=True, slots=True)
class Serve:
    """It is fresh: send it."""

    age_s: float


@dataclass(frozen=True, slots=True)
class ServeStale:
    """Send it now and validate it in the background."""

    age_s: float
    reason: StaleReason


@dataclass(frozen=True, slots=True)
class Validate:
    """Ask upstream first. When upstream fails it may be sent only if `may_serve_stale_on_error`."""

    age_s: float
    may_serve_stale_on_error: bool
    reason: StaleReason


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Fetch unconditionally; nothing stored may be used, whatever happens upstream."""

    reason: Forward


Decision = Serve | ServeStale | Validate | Forwarded


def decide(stored: StoredFacts | None, required: Required, now: float) -> Decision:
    """What to do with `stored` at `now` (monotonic seconds).

    A hard floor is never crossed: what lies below it is as good as absent. A response admitted in another epoch cannot
    be compared with floors at all: it is sent only after it was validated.
    """
    if stored is None:
        return Forwarded(Forward.URI_MISS)
    age_s = max(0.0, now - stored.validated_at)
    if not stored.is_same_epoch:
        return Validate(age_s, False, StaleReason.OTHER_EPOCH)
    if stored.admitted_sequence < required.hard:
        return Forwarded(Forward.MISS)
    if stored.admitted_sequence < required.soft:
        return _decide_stale(stored, age_s, StaleReason.SOFT_PURGED)
    if age_s < stored.freshness_lifetime_s:
        return Serve(age_s)
    return _decide_stale(stored, age_s, StaleReason.EXPIRED)


def _decide_stale(stored: StoredFacts, age_s: float, reason: StaleReason) -> ServeStale | Validate:
    """A soft floor carries no time, so a response it made stale has been stale for no longer than its lifetime says."""
    staleness_s = max(0.0, age_s - stored.freshness_lifetime_s)
    if staleness_s < stored.stale_while_revalidate_s:
        return ServeStale(age_s, reason)
    return Validate(age_s, staleness_s < stored.stale_if_error_s, reason)
