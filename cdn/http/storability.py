"""Whether a response may be stored (RFC 9111 section 3)."""

from __future__ import annotations

from enum import Enum

from cdn.http.cache_control import ResponseDirectives, request_directives, shared_directives
from cdn.http.cache_policy import CachePolicy
from cdn.http.fields import Fields
from cdn.http.freshness import HEURISTIC_STATUSES, Lifetime, LifetimeSource, explicit_lifetime
from cdn.http.reference import resolved_target
from cdn.http.request import Request
from cdn.http.response_head import ResponseHead
from cdn.http.reuse_terms import ReuseTerms, reuse_terms
from cdn.http.vary import vary_names

__all__ = ["UNDERSTOOD_STATUSES", "CachePolicy", "NotStored", "storability"]

NEVER_STORED_STATUSES = frozenset({304, 412, 416, 428, 429, 431, 511})
"""What these say is about one request, not about its target: its conditions and ranges (RFC 9110), its sender, size or
network, whose responses RFC 6585 forbids to store."""

UNDERSTOOD_STATUSES = frozenset(
    {200, 201, 202, 203, 204, 205, 206}
    | {300, 301, 302, 303, 307, 308}
    | {400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 413, 414, 415, 417, 421, 422, 426, 451}
    | {500, 501, 502, 503, 504, 505}
)
"""Final statuses whose requirements on caches are implemented here (RFC 9110 section 15, RFC 7725)."""


class NotStored(Enum):
    """Why a response is not stored. The value is the metric label and the detail in Cache-Status."""

    METHOD = "method"
    STATUS = "status"
    NOT_UNDERSTOOD = "not-understood"
    REQUEST_NO_STORE = "request-no-store"
    NO_STORE = "no-store"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"
    VARY_STAR = "vary-star"  # or a Vary that cannot be obeyed for another reason
    SET_COOKIE = "set-cookie"
    PARTIAL = "partial"
    REQUEST_CONTENT = "request-content"  # a GET that had content, of which no cache key tells
    NO_LIFETIME_OR_VALIDATOR = "no-lifetime-or-validator"
    FAILURE = "failure"  # of an upstream, while something stored may be served instead
    TOO_LARGE = "too-large"


def storability(
    request: Request, head: ResponseHead, requested_at: float, received_at: float, policy: CachePolicy
) -> ReuseTerms | NotStored:
    """The terms on which the response to `request` may be reused once it is stored, or why it may not be stored.

    `requested_at` and `received_at` are wall times, in seconds since 1970. A 206 is judged as a part on its own: how
    parts are kept is for the caller to know. The response to a POST that may be stored answers later GETs.
    """
    directives = shared_directives(head.fields)
    forbidden = _forbidden(request, head, directives, policy)
    if forbidden is not None:
        return forbidden
    terms = reuse_terms(head, requested_at, received_at, policy)
    explicit = explicit_lifetime(head.fields, directives, received_at)
    if request.method == "POST" and not _answers_later_gets(request, head, explicit is not None):
        return NotStored.METHOD
    if not _is_cacheable(head.status, directives, terms):
        return NotStored.STATUS
    if "set-cookie" in head.fields and not _may_share_cookies(directives, explicit, terms):
        return NotStored.SET_COOKIE
    if not _is_ever_of_use(head.fields, directives, terms):
        return NotStored.NO_LIFETIME_OR_VALIDATOR
    return terms


def _forbidden(
    request: Request, head: ResponseHead, directives: ResponseDirectives, policy: CachePolicy
) -> NotStored | None:
    fields = head.fields
    if request.method not in {"GET", "POST"}:
        return NotStored.METHOD
    if head.status < 200 or head.status in NEVER_STORED_STATUSES:
        return NotStored.STATUS
    if request_directives(request.fields).no_store:
        return NotStored.REQUEST_NO_STORE
    if directives.must_understand and head.status not in UNDERSTOOD_STATUSES:
        return NotStored.NOT_UNDERSTOOD
    # Where the status is understood, must-understand stands for the no-store beside it (section 5.2.2.3).
    if directives.no_store and not directives.must_understand:
        return NotStored.NO_STORE
    if directives.private:
        return NotStored.PRIVATE
    if "authorization" in request.fields and not _is_for_everyone(directives):
        return NotStored.AUTHORIZATION
    if vary_names(fields) is None:
        return NotStored.VARY_STAR
    if "set-cookie" in fields and not policy.stores_set_cookie:
        return NotStored.SET_COOKIE
    if head.status == 206 and "content-range" not in fields:
        return NotStored.PARTIAL
    return None


def _is_for_everyone(directives: ResponseDirectives) -> bool:
    """Whether the answer to an authorised request may answer others too (section 3.5)."""
    return directives.public or directives.must_revalidate or directives.s_maxage_s is not None


def _may_share_cookies(directives: ResponseDirectives, explicit: Lifetime | None, terms: ReuseTerms) -> bool:
    """Whether a response that sets cookies says itself that others may have it for some time (section 7.3).

    A lifetime that this cache would guess or give, or an entity tag alone, is no such word: the cookie of a session
    would go to whoever asks next.
    """
    if directives.public or "set-cookie" in terms.withheld_fields:
        return True
    return explicit is not None and explicit.seconds > 0 and not directives.no_cache


def _answers_later_gets(request: Request, head: ResponseHead, is_explicit: bool) -> bool:
    """RFC 9110 section 9.3.3: it is a representation of its own target, and says for how long."""
    location = head.fields.get("content-location")
    return (
        head.status == 200
        and is_explicit
        and location is not None
        and resolved_target(location, request) == request.target
    )


def _is_cacheable(status: int, directives: ResponseDirectives, terms: ReuseTerms) -> bool:
    """The last condition of section 3: something in the response, or its status, lets a cache keep it."""
    return status in HEURISTIC_STATUSES or directives.public or terms.lifetime.source is not LifetimeSource.NONE


def _is_ever_of_use(fields: Fields, directives: ResponseDirectives, terms: ReuseTerms) -> bool:
    if terms.lifetime.seconds > 0 and not terms.must_validate:
        return True
    if "etag" in fields or "last-modified" in fields:
        return True
    # Times that the response brought itself: those of the site's settings would keep every page that is never fresh.
    return terms.may_serve_stale and bool(directives.stale_while_revalidate_s or directives.stale_if_error_s)
