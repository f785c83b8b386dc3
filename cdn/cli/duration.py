"""Durations as people type them: `5m`, `90s`, `2h`, `7d`, or plain seconds."""

from __future__ import annotations

import re

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d{1,10}(?:\.\d{1,6})?)([smhdw]?)", re.ASCII)

MAX_DURATION_S = 100 * 365 * 86400
"""A hundred years: beyond it nothing is meant, only mistyped."""


def parse_duration(text: str) -> float:
    """Seconds in `text`: a number and one of s, m, h, d, w (none: seconds). Raises ValueError with a sentence."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write for example 90s, 5m, 2h or 7d")
    seconds = float(match[1]) * _UNITS_S[match[2]]
    if seconds > MAX_DURATION_S:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return seconds


def in_duration(seconds: float) -> str:
    """The shortest way to type these seconds: `90s`, `5m`, `7d`."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS_S[unit] == 0:
            return f"{seconds / _UNITS_S[unit]:.15g}{unit}"
    return f"{seconds:.15g}s"
