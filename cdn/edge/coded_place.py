"""Where the forms of a file are kept that requests are told apart by, for what they prefer."""

from __future__ import annotations

from functools import lru_cache

from cdn.edge.memory_tier import MemoryKey
from cdn.http.content_coding import preferred_coding
from cdn.http.request import Request

MAX_REMEMBERED = 128
"""Characters of an Accept-Encoding whose reading is remembered, of 1,024 of them."""


def coded_place(request: Request, place: MemoryKey, codings: tuple[str, ...]) -> MemoryKey:
    """Where the form is kept that the request prefers. No path begins with a coding."""
    accepted = request.fields.get("accept-encoding") or ""
    coding = _preferred(accepted, codings) if len(accepted) <= MAX_REMEMBERED else preferred_coding(accepted, codings)
    return (place[0], place[1], f"{coding or 'identity'}:{place[2]}")


@lru_cache(maxsize=1024)
def _preferred(accepted: str, codings: tuple[str, ...]) -> str | None:
    """`preferred_coding`, remembered: browsers say one of a few things, and reading it takes 3 us."""
    return preferred_coding(accepted, codings)
