"""On what terms a stored response may be reused, computed from its head (RFC 9111 sections 4.2 and 5.2.2, RFC 5861)."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.http.cache_control import ResponseDirectives, shared_directives
from cdn.http.cache_policy import CachePolicy
from cdn.http.date import parse_date
from cdn.http.delta_seconds import delta_seconds
from cdn.http.fields import Fields
from cdn.http.freshness import (
    HEURISTIC_STATUSES,
    NO_LIFETIME,
    Lifetime,
    LifetimeSource,
    corrected_initial_age_s,
    explicit_lifetime,
    heuristic_lifetime,
)
from cdn.http.response_head import ResponseHead

NEGATIVE_STATUSES = frozenset({404, 405, 410, 414, 501})
"""Errors that may be stored without an explicit lifetime (RFC 9110 section 15.1) and then get the site's short one."""

RETRYABLE_STATUSES = frozenset({500, 502, 503, 504})
"""Errors that pass: without an explicit lifetime they are stored only when Retry-After says until when not to ask."""


@dataclass(frozen=True, slots=True)
class ReuseTerms:
    """What decide() needs to know of a response, and which of its fields must not be stored.

    `initial_age_s` is its age when it was received. `must_validate`: it may never be used without asking upstream.
    The two windows are those of RFC 5861, both 0 unless `may_serve_stale`. `withheld_fields` are lower-case names.
    """

    lifetime: Lifetime
    initial_age_s: float
    must_validate: bool
    may_serve_stale: bool
    stale_while_revalidate_s: float
    stale_if_error_s: float
    withheld_fields: frozenset[str]


def reuse_terms(head: ResponseHead, requested_at: float, received_at: float, policy: CachePolicy) -> ReuseTerms:
    """The terms of a response that may be stored. `requested_at` and `received_at` are wall times.

    They are computed again whenever its head has changed or a setting has.
    """
    directives = shared_directives(head.fields)
    may_serve_stale = not (
        directives.no_cache
        or directives.must_revalidate
        or directives.proxy_revalidate
        or directives.s_maxage_s is not None
    )
    # A site's own windows keep good pages alive: an error that is over helps nobody.
    is_good = head.status < 400
    return ReuseTerms(
        lifetime=lifetime_of(head, directives, received_at, policy),
        initial_age_s=corrected_initial_age_s(head.fields, requested_at, received_at),
        must_validate=directives.no_cache,
        may_serve_stale=may_serve_stale,
        stale_while_revalidate_s=_window_s(
            may_serve_stale, directives.stale_while_revalidate_s, is_good * (policy.stale_while_revalidate_s or 0.0)
        ),
        stale_if_error_s=_window_s(may_serve_stale, directives.stale_if_error_s, is_good * policy.stale_if_error_s),
        withheld_fields=directives.no_cache_fields | directives.private_fields,
    )


def lifetime_of(
    head: ResponseHead, directives: ResponseDirectives, received_at: float, policy: CachePolicy
) -> Lifetime:
    """The freshness lifetime of a response: explicit, then by the site's settings, then guessed."""
    explicit = explicit_lifetime(head.fields, directives, received_at)
    may_be_given = head.status in HEURISTIC_STATUSES
    default_s = policy.default_lifetime_s
    if policy.overrides_lifetime and default_s is not None and head.status < 400 and (explicit or may_be_given):
        return Lifetime(default_s, LifetimeSource.SITE_OVERRIDE)
    if explicit is not None:
        return explicit
    negative = _negative_lifetime(head, received_at, policy)
    if negative is not None:
        return negative
    if may_be_given and default_s is not None:
        return Lifetime(default_s, LifetimeSource.SITE_DEFAULT)
    heuristic = heuristic_lifetime(head.fields, received_at) if may_be_given or directives.public else None
    return NO_LIFETIME if heuristic is None else heuristic


def retry_after_s(fields: Fields, received_at: float) -> float | None:
    """For how long upstream asks to be left alone (RFC 9110 section 10.2.3); None when it does not say."""
    text = fields.get("retry-after")
    if text is None:
        return None
    seconds = delta_seconds(text)
    if seconds is not None:
        return float(seconds)
    date = parse_date(text, received_at)
    return None if date is None else max(0.0, date - received_at)


def _negative_lifetime(head: ResponseHead, received_at: float, policy: CachePolicy) -> Lifetime | None:
    retry_after = retry_after_s(head.fields, received_at)
    seconds = policy.negative_lifetime_s if retry_after is None else min(policy.negative_lifetime_s, retry_after)
    is_told_to_wait = head.status in RETRYABLE_STATUSES and retry_after is not None and seconds > 0
    if head.status in NEGATIVE_STATUSES or is_told_to_wait:
        return Lifetime(seconds, LifetimeSource.NEGATIVE)
    return None


def _window_s(may_serve_stale: bool, stated_s: int | None, otherwise_s: float) -> float:
    if not may_serve_stale:
        return 0.0
    return otherwise_s if stated_s is None else float(stated_s)
