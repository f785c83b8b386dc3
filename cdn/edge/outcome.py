"""What came of a request, in one word: for the access log and for metrics."""

from __future__ import annotations

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
