"""A request that a rule covers, made up: to see what comes of it."""

from __future__ import annotations

from urllib.parse import urlencode

from cdn.http.fields import Fields
from cdn.http.target import Target, encode_path
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.path_pattern import STAR, Hole, PathPattern, PiecedText, Segment
from cdn.sites.rules.redirect_rule import RedirectRule

SAMPLE = "xyz"
"""Stands for what a visitor might write; no rule is about it."""

SAMPLE_SPLAT = "xyz/xyz/xyz"

UNKNOWN_HOST = "site.invalid"
"""Where a rule does not say at which host (RFC 2606)."""


def sample_path(pattern: PathPattern) -> str:
    """A decoded path that the pattern covers."""
    segments = [_segment(segment) for segment in pattern.head]
    if pattern.has_splat:
        before, after = (PiecedText.of(pieces) for pieces in (pattern.before, pattern.after))
        segments.append(_segment(before) + SAMPLE_SPLAT + _segment(after))
        segments += [_segment(segment) for segment in pattern.tail]
    return "/" + "/".join(segments)


def sample_target(rule: RedirectRule, pattern: PathPattern) -> Target:
    """Path and query of a request that the rule covers."""
    path = sample_path(pattern)
    query = [(name, SAMPLE if value.startswith(":") else value) for name, value in rule.query]
    return Target(encode_path(path), urlencode(query) if query else None, path)


def sample_asking(rule: RedirectRule) -> Asking:
    """A visitor who meets the conditions of the rule."""
    lines = [("accept-language", rule.languages[0])] if rule.languages else []
    if rule.cookies:
        lines.append(("cookie", f"{rule.cookies[0]}=1"))
    country = rule.countries[0] if rule.countries else ""
    return Asking(rule.host or UNKNOWN_HOST, rule.scheme or "https", "GET", Fields(tuple(lines)), lambda: country)


def _segment(segment: Segment) -> str:
    if isinstance(segment, str):
        return segment
    if isinstance(segment, Hole):
        return SAMPLE
    text = segment.backwards[0][::-1]
    for hole, literal in zip(segment.holes, segment.backwards[1:], strict=True):
        text += (SAMPLE_SPLAT if hole is STAR else SAMPLE) + literal[::-1]
    return text
