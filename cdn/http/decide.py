"""The cache's decision: what may be done with a stored response now (RFC 9111 section 4, RFC 5861, DESIGN I1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cdn.http.cache_control import NO_DIRECTIVES, RequestDirectives
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
    monotonic seconds: when its age was 0, which is before it was stored or last validated when it was old already. The
    two windows are those of RFC 5861, counted from the moment it became stale. `must_validate`: it is never used
    without asking upstream. Unless `may_serve_stale` it is never used stale, whatever windows and clients say.
    """

    admitted_sequence: int
    is_same_epoch: bool
    validated_at: float
    freshness_lifetime_s: float
    stale_if_error_s: float
    stale_while_revalidate_s: float
    must_validate: bool = False
    may_serve_stale: bool = True


class StaleReason(Enum):
    """Why a stored response is not simply sent."""

    EXPIRED = "expired"
    SOFT_PURGED = "soft-purged"
    OTHER_EPOCH = "other-epoch"
    REQUESTED = "requested"  # the client wants none, or a fresher one
    MUST_VALIDATE = "no-cache"


@dataclass(frozen=True, slots=True)
class Serve:
    """It is fresh: send it."""

    age_s: float


@dataclass(frozen=True, slots=True)
class ServeStale:
    """Send it now and validate it in the background, which is not due when only the client's max-stale allowed it."""

    age_s: float
    reason: StaleReason
    validates_behind: bool = True


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


def decide(
    stored: StoredFacts | None, required: Required, now: float, directives: RequestDirectives = NO_DIRECTIVES
) -> Decision:
    """What to do with `stored` at `now` (monotonic seconds) for a request with `directives`.

    A hard floor is never crossed: what lies below it is as good as absent. A response admitted in another epoch cannot
    be compared with floors at all: it is sent only after it was validated. only-if-cached changes nothing here: the
    caller answers 504 where the decision would go upstream.
    """
    if stored is None:
        return Forwarded(Forward.URI_MISS)
    age_s = max(0.0, now - stored.validated_at)
    if not stored.is_same_epoch:
        return Validate(age_s, False, StaleReason.OTHER_EPOCH)
    if stored.admitted_sequence < required.hard:
        return Forwarded(Forward.MISS)
    if stored.must_validate:
        return Validate(age_s, False, StaleReason.MUST_VALIDATE)
    if directives.no_cache or directives.no_store:
        return _validate(stored, age_s, StaleReason.REQUESTED, directives)
    if stored.admitted_sequence < required.soft:
        return _decide_stale(stored, age_s, StaleReason.SOFT_PURGED, directives)
    if age_s >= stored.freshness_lifetime_s:
        return _decide_stale(stored, age_s, StaleReason.EXPIRED, directives)
    if _is_young_enough(age_s, directives) and stored.freshness_lifetime_s - age_s >= (directives.min_fresh_s or 0):
        return Serve(age_s)
    return _validate(stored, age_s, StaleReason.REQUESTED, directives)


def _decide_stale(
    stored: StoredFacts, age_s: float, reason: StaleReason, directives: RequestDirectives
) -> ServeStale | Validate:
    if stored.may_serve_stale:
        staleness_s = _staleness_s(stored, age_s)
        is_in_window = staleness_s < stored.stale_while_revalidate_s
        if _accepts_stale(staleness_s, age_s, directives):
            return ServeStale(age_s, reason, validates_behind=is_in_window)
        if is_in_window and not _wants_fresh(directives):
            return ServeStale(age_s, reason)
    return _validate(stored, age_s, reason, directives)


def _validate(stored: StoredFacts, age_s: float, reason: StaleReason, directives: RequestDirectives) -> Validate:
    """Whether it may be sent when upstream fails, by the response's window or the request's (RFC 5861 section 4).

    A client that refuses stored responses gets one only if it says itself that errors are an exception.
    """
    window_s = float(directives.stale_if_error_s or 0)
    if not (directives.no_cache or directives.no_store):
        window_s = max(window_s, stored.stale_if_error_s)
    return Validate(age_s, stored.may_serve_stale and _staleness_s(stored, age_s) < window_s, reason)


def _staleness_s(stored: StoredFacts, age_s: float) -> float:
    """A soft floor carries no time, so a response it made stale has been stale for no longer than its lifetime says."""
    return max(0.0, age_s - stored.freshness_lifetime_s)


def _is_young_enough(age_s: float, directives: RequestDirectives) -> bool:
    return directives.max_age_s is None or age_s <= directives.max_age_s


def _accepts_stale(staleness_s: float, age_s: float, directives: RequestDirectives) -> bool:
    """Whether the client's max-stale allows it; its other wishes hold beside that one (RFC 9111 section 5.2.1)."""
    return (
        directives.max_stale_s is not None
        and staleness_s <= directives.max_stale_s
        and directives.min_fresh_s is None
        and _is_young_enough(age_s, directives)
    )


def _wants_fresh(directives: RequestDirectives) -> bool:
    """max-age, too, says that a stale response is not wanted (RFC 9111 section 5.2.1.1)."""
    return directives.max_age_s is not None or directives.min_fresh_s is not None
