"""Lifetimes and cache tags by path."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheRule:
    """For files below `source`. `browser_s`: max-age for browsers, `edge_s`: how long the edge keeps a response without
    validating; None: as without this rule. The last rule that gives a lifetime counts; `tags` of all add up."""

    source: str
    browser_s: int | None = None
    edge_s: int | None = None
    tags: tuple[str, ...] = ()
