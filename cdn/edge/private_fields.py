"""What other caches, and the visitor's own, are told of an answer that others may not get."""

from __future__ import annotations

import re
from typing import Final

from cdn.http.cache_control import is_targeted
from cdn.http.fields import FieldLines

ROBOTS: Final = "x-robots-tag"

_PUBLIC = re.compile(r"\bpublic\b", re.IGNORECASE)
_NOT_SHARED = re.compile(r"(?:\A|,)[ \t]*(?:private|no-store)[ \t]*(?:,|\Z)", re.IGNORECASE)
"""For the whole response: `private="set-cookie"` lets shared caches keep the rest (RFC 9111 section 5.2.2.7)."""

_MAY_BE_STORED = re.compile(r"\bmust-understand\b", re.IGNORECASE)
"""Beside it no-store counts only for caches that do not understand the status (RFC 9111 section 5.2.2.3)."""


def private_fields(fields: FieldLines, selecting: tuple[str, ...] = ()) -> FieldLines:
    """The fields of an answer that depended on who asks: no shared cache may keep it (RFC 9111 section 5.2.2.7), and
    the visitor's own asks again when one of the request fields `selecting` says something else."""
    lines = [(name, value) for name, value in fields if not is_targeted(name)]
    given = [value for name, value in lines if name == "cache-control"]
    if not given:
        lines.append(("cache-control", "private"))
    elif not any(_NOT_SHARED.search(value) and not _MAY_BE_STORED.search(value) for value in given):
        lines = [(name, _private(value) if name == "cache-control" else value) for name, value in lines]
    if selecting:
        lines.append(("vary", ", ".join(selecting)))
    return tuple(lines)


def unindexed(fields: FieldLines) -> FieldLines:
    """The fields of a preview's answer: no search engine shows it, whatever the deploy says."""
    return (*(line for line in fields if line[0] != ROBOTS), (ROBOTS, "noindex"))


def _private(value: str) -> str:
    return _PUBLIC.sub("private", value) if _PUBLIC.search(value) else f"private, {value}"
