"""Times as fields write them: whole seconds, not negative (RFC 9111 section 1.2.2)."""

from __future__ import annotations

import re

MAX_DELTA_S = 2**31
"""Longer times count as this one, 68 years, as the section asks."""

_DIGITS = re.compile(r"[0-9]+")
_MAX_DIGITS = 10  # more name a time beyond MAX_DELTA_S; Python also refuses to read very long numbers


def delta_seconds(text: str) -> int | None:
    """The time, at most MAX_DELTA_S; None for anything but digits."""
    if not _DIGITS.fullmatch(text):
        return None
    significant = text.lstrip("0")
    return min(int(significant or "0"), MAX_DELTA_S) if len(significant) <= _MAX_DIGITS else MAX_DELTA_S
