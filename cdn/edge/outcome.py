"""What came of a request, in one word: for the access log and for metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum


class Outcome(StrEnum):
    """Read from the Cache-Status that this node said (RFC 9211), so that field, log and metric never disagree."""

    HIT = "hit"
    """What is stored was sent, and fresh; what only this node knows (a rule's redirect, a missing file) as well."""
    STALE = "stale"
    """What is stored was sent although it is stale, where that is allowed."""
    REVALIDATED = "revalidated"
    """What is stored was sent: the upstream had just said that it is good still."""
    EXPIRED = "expired"
    """What is stored was stale, and the upstream gave something else."""
    MISS = "miss"
    """Nothing that may be used was stored, or not all of it."""
    BYPASS = "bypass"
    """The request is none that is answered from what is stored: its method, its own fields, or the site's settings."""
    LOCAL = "local"
    """Answered here without looking at what is stored: no such site, not allowed, OPTIONS, a purge."""
    REFUSED = "refused"
    """Not well-formed, or beyond a limit: no application saw it."""
    FAILED = "failed"
    """The server failed; its log says why."""
    ABANDONED = "abandoned"
    """The visitor left before there was an answer."""


_MISSES = frozenset({"uri-miss", "vary-miss", "miss", "partial"})
# A string that does not end goes to the end of the field: an upstream's may be anything, and were each quotation mark
# in it looked at for itself, 64 KiB of them would take a minute.
_STRING = r'"(?:[^"\\]|\\.)*+(?:"|\\?$)'
_MEMBER = re.compile(rf'(?:[^",]|{_STRING})++')
_PARAMETER = re.compile(rf";\s*([a-z-]+)(?:=({_STRING}|[^;\s]+))?")


def cache_status_of(fields: Iterable[tuple[str, str]]) -> str | None:
    """The Cache-Status of a response, all its lines: upstreams that are caches say theirs before ours."""
    said = [value for name, value in fields if name == "cache-status"]
    return ", ".join(said) if said else None


def outcome_of(cache_status: str | None, status: int) -> Outcome:
    """What a response's Cache-Status says: the last member is this node's (RFC 9211 section 2). A `status` of 0: the
    visitor left before there was a response."""
    if status == 0:
        return Outcome.ABANDONED
    members = [] if cache_status is None else _MEMBER.findall(cache_status)
    said = dict(_PARAMETER.findall(members[-1])) if members else {}
    if "hit" in said:
        return Outcome.STALE if said.get("ttl", "").startswith("-") else Outcome.HIT
    is_failure = status >= 500
    forward, forward_status = said.get("fwd"), said.get("fwd-status")
    if is_failure and forward_status is None:
        return Outcome.FAILED
    match forward:
        case None:
            return Outcome.LOCAL
        case "stale":
            if forward_status == "304":
                return Outcome.REVALIDATED
            # Upstream failed, and what is stored stood in for its answer; otherwise its answer was passed on.
            stood_in = forward_status is None or (forward_status.startswith("5") and not is_failure)
            return Outcome.STALE if stood_in else Outcome.EXPIRED
        case _ if forward_status == "304":
            return Outcome.REVALIDATED
        case _ if forward in _MISSES:
            return Outcome.MISS
        case _:
            return Outcome.BYPASS
