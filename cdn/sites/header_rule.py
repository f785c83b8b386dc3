"""Header rules: fields that a site's owner gives to responses by their paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cdn.sites.path import shown
from cdn.sites.settings_reader import Faults, read_list, read_pattern

MAX_HEADER_RULES = 100
"""Rules per site: each is tried on every file that enters memory."""

MAX_HEADER_RULES_BYTES = 16 * 1024
"""Names and values of all rules together, so that a response's fields stay below what clients accept."""

EDGE_OWNED_FIELDS = frozenset(
    {"accept-ranges", "age", "cache-status", "connection", "content-length", "content-range", "date", "etag", "expect"}
    | {"host", "keep-alive", "last-modified", "proxy-authenticate", "proxy-authorization", "proxy-connection"}
    | {"proxy-status", "te", "trailer", "transfer-encoding", "upgrade", "via"}
)
"""Fields that the edge computes or that frame the message; no rule may set them."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """Fields for every response whose path the pattern covers. Names are lower-case; lines keep their order."""

    path: str
    fields: tuple[tuple[str, str], ...]


def header_rules_to(rules: tuple[HeaderRule, ...]) -> list[dict[str, Any]]:
    """The rules as JSON builtins."""
    return [{"path": rule.path, "fields": [list(line) for line in rule.fields]} for rule in rules]


def read_header_rules(faults: Faults, field: str, value: Any) -> tuple[HeaderRule, ...]:
    """The rules of a JSON list; what is wrong goes to `faults`."""
    items = read_list(faults, field, value, MAX_HEADER_RULES)
    rules = tuple(_read_header_rule(faults, f"{field}[{n}]", item) for n, item in enumerate(items))
    octets = sum(len(name) + len(text) for rule in rules for name, text in rule.fields)
    if octets > MAX_HEADER_RULES_BYTES:
        faults.add(
            field, f"names and values take {octets} octets together, at most {MAX_HEADER_RULES_BYTES} are allowed"
        )
    return rules


def _read_header_rule(faults: Faults, field: str, value: Any) -> HeaderRule:
    if not isinstance(value, Mapping) or set(value) != {"path", "fields"}:
        faults.add(field, 'a rule has "path" and "fields" and nothing else')
        return HeaderRule("", ())
    path = read_pattern(faults, f"{field}.path", value["path"])
    given = value["fields"]
    lines = list(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(lines, list | tuple) or not lines:
        faults.add(f"{field}.fields", "give pairs of a field name and a value")
        return HeaderRule(path, ())
    checked = [_read_field_line(faults, f"{field}.fields[{n}]", line) for n, line in enumerate(lines)]
    return HeaderRule(path, tuple(checked))


def _read_field_line(faults: Faults, field: str, line: Any) -> tuple[str, str]:
    """One line (RFC 9110 5.1, 5.5): a token and a value that cannot break out of its line."""
    match line:
        case [str(name), str(value)]:
            pass
        case _:
            faults.add(field, "give a field name and a value, both as text")
            return ("", "")
    name, value = name.lower(), value.strip(" \t")
    if _TOKEN.fullmatch(name) is None:
        faults.add(field, f"{shown(name)} is not a field name")
    elif name in EDGE_OWNED_FIELDS:
        faults.add(field, f'"{name}" is computed by the edge and cannot be set')
    elif _FIELD_VALUE.fullmatch(value) is None:
        faults.add(field, f'the value of "{name}" has a character that a field cannot carry')
    return (name, value)
