"""On which line of a TOML file each key stands: tomllib reads values and forgets where they were."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

Key = tuple[str | int, ...]
"""A key with the tables above it: ("edge", "http", "max_fields"). Of an array of tables each has its place too:
("headers", 2, "for")."""

_BARE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)

_TRIPLE = ('"""', "'''")


def lines_of(text: str) -> Mapping[Key, int]:
    """The line, from 1, of every table and key of a document that tomllib has read without fault.

    Keys inside inline tables are not listed: the line of the key before the `=` is near enough.
    """
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    table: Key = ()
    at, line = 0, 1
    while at < len(text):
        if text[at] in " \t\r\n":
            line += text[at] == "\n"
            at += 1
            continue
        end = _statement_end(text, at)
        statement = text[at:end]
        if statement.startswith("["):
            table = _path(statement[: _outside_strings(statement, "]")].strip("[ \t"))
            if statement.startswith("[["):
                counts[table] = counts.get(table, 0) + 1
            _note(lines, counts, table, line)
        elif not statement.startswith("#"):
            _note(lines, counts, (*table, *_path(statement[: _outside_strings(statement, "=")])), line)
        line += statement.count("\n")
        at = end
    return lines


def line_of(lines: Mapping[Key, int], key: Key) -> int | None:
    """The line of `key`, or of the nearest thing around it that has one."""
    while key:
        if key in lines:
            return lines[key]
        key = key[:-1]
    return None


def _note(lines: dict[Key, int], counts: Mapping[Key, int], key: Key, line: int) -> None:
    """A key's line, and that of the same key within the arrays around it, whose present lengths are `counts`."""
    lines.setdefault(key, line)
    if counts:
        placed: list[str | int] = []
        for end, part in enumerate(key, 1):
            placed.append(part)
            if key[:end] in counts:
                placed.append(counts[key[:end]] - 1)
        lines.setdefault(tuple(placed), line)


def _path(key: str) -> Key:
    """The parts of a key as it is written, `a."b.c"` for one."""
    key = key.strip()
    if _BARE.fullmatch(key) is not None:
        return tuple(key.split("."))
    parts: list[str] = []
    inner: object = tomllib.loads(f"{key} = 0")
    while isinstance(inner, dict):
        ((part, inner),) = inner.items()
        parts.append(part)
    return tuple(parts)


def _statement_end(text: str, at: int) -> int:
    """Where the line ends that begins at `at`, those included that its brackets and long strings go on over."""
    depth = 0
    while at < len(text):
        character = text[at]
        if character in "\"'":
            at = _string_end(text, at)
            continue
        if character == "#":
            newline = text.find("\n", at)
            at = len(text) if newline < 0 else newline
            continue
        if character == "\n" and depth == 0:
            return at
        depth += (character in "[{") - (character in "]}")
        at += 1
    return at


def _outside_strings(text: str, wanted: str) -> int:
    """Where `wanted` first stands outside a string."""
    at = 0
    while at < len(text) and text[at] != wanted:
        at = _string_end(text, at) if text[at] in "\"'" else at + 1
    return at


def _string_end(text: str, at: int) -> int:
    """Behind the string that begins at `at`."""
    quote = text[at : at + 3] if text.startswith(_TRIPLE, at) else text[at]
    has_escapes = quote[0] == '"'
    at += len(quote)
    while at < len(text) and not text.startswith(quote, at):
        at += 2 if has_escapes and text[at] == "\\" else 1
    at += len(quote)
    while len(quote) == 3 and at < len(text) and text[at] == quote[0]:
        at += 1  # up to two more quotes belong to a long string's content
    return min(at, len(text))
