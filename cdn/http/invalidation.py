"""Which stored responses an unsafe request makes invalid (RFC 9111 section 4.4)."""

from __future__ import annotations

from cdn.http.fields import Fields
from cdn.http.reference import resolved_target
from cdn.http.request import Request
from cdn.http.target import Target

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH"})
"""Methods known to be safe, of those in the registry of RFC 9110 section 16.1. Every other one may change things."""


def invalidated_targets(request: Request, status: int, fields: Fields) -> tuple[Target, ...]:
    """The targets, each once, whose stored responses the response to `request` makes invalid.

    An unsafe method that did not fail invalidates its own target and those that Location and Content-Location name on
    the same origin; those on another one are not this response's to judge.
    """
    if request.method in SAFE_METHODS or not 200 <= status < 400:
        return ()
    found = {request.target: None}
    for name in ("location", "content-location"):
        for reference in fields.get_all(name):
            target = resolved_target(reference, request)
            if target is not None:
                found[target] = None
    return tuple(found)
