"""Comma-separated lists whose members may hold quoted strings (RFC 9110 section 5.6)."""

from __future__ import annotations

import re

_MARK = re.compile(r'[",\\]')


def list_members(value: str) -> tuple[str, ...]:
    """The members of a list without whitespace around them, empty ones too.

    A comma inside a quoted string separates nothing; after a quote that is never closed none does.
    """
    return _scan(value)[0]


def has_open_quote(value: str) -> bool:
    """Whether a quoted string in `value` is never closed."""
    return '"' in value and _scan(value)[1]


def _scan(value: str) -> tuple[tuple[str, ...], bool]:
    """One pass without backtracking: the length of the value bounds the work."""
    members = []
    start, escaped, is_quoted = 0, -1, False
    for mark in _MARK.finditer(value):
        place = mark.start()
        if place == escaped:
            continue
        if mark[0] == '"':
            is_quoted = not is_quoted
        elif is_quoted:
            if mark[0] == "\\":
                escaped = place + 1
        elif mark[0] == ",":
            members.append(value[start:place].strip(" \t"))
            start = place + 1
    members.append(value[start:].strip(" \t"))
    return tuple(members), is_quoted
