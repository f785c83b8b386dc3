"""Text for a terminal: nothing that came from elsewhere can move its cursor or change its colours."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Control characters, invisible formatting (also the one that turns reading order around), lone surrogates."""


def safe(text: str) -> str:
    """`text` with every character that a terminal would obey instead of show written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode("ascii") if unicodedata.category(char) in _UNSAFE_CATEGORIES else char
        for char in text
    )


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Rows as lines of aligned columns, the head first."""
    table = [tuple(safe(cell) for cell in row) for row in (head, *rows)]
    widths = [max(len(row[index]) for row in table) for index in range(len(head))]
    return tuple(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )


def in_bytes(size_bytes: int) -> str:
    """A size as people read it: `812 B`, `1.4 MiB`."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def in_time(at: float | None) -> str:
    """A moment (seconds since 1970) in UTC, `-` for none."""
    if at is None:
        return "-"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def counted(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
