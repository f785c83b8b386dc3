"""What a site's owner may set, checked field by field."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from cdn.errors import InvalidInput
from cdn.sites.path import MAX_SHOWN, shown
from cdn.sites.pattern import check_pattern

BUNDLE = "bundle"
"""The origin of a site that is deployed as bundles."""

ONE_YEAR_S = 31_536_000
"""The longest lifetime that can be set; the usual reading of "for ever" (RFC 9111 1.2.2 leaves it open)."""

MAX_PREPARE_TIMEOUT_S = 300.0
"""The longest a deploy may wait for slow nodes before it is activated without them."""

MAX_KEEP = 64
"""Patterns of `keep`: each is tried on every file of a deploy that is superseded."""

MAX_HEADER_RULES = 100
"""Rules per site: each is tried on every file that enters memory."""

MAX_HEADER_RULES_BYTES = 16 * 1024
"""Names and values of all rules together, so that a response's fields stay below what clients accept."""

MAX_FAULTS = 50
"""How many faults of one request are listed."""

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


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """A site's settings; the defaults suit a site that is deployed by a pipeline.

    `edge_ttl_s`: how long the edge keeps a response without validating; None: until it is purged (one year).
    `browser_ttl_s`: max-age for what is neither a page nor fingerprinted. `retention_s`: how long fingerprinted files
    of a superseded deploy stay reachable. `keep`: patterns of files that stay like fingerprinted ones.
    `prepare_timeout_s`: how long an activation waits for nodes to load the manifest.
    """

    origin: str = BUNDLE
    edge_ttl_s: int | None = None
    browser_ttl_s: int = 0
    retention_s: int = 604_800
    keep: tuple[str, ...] = ()
    header_rules: tuple[HeaderRule, ...] = ()
    stale_if_error_s: int = 86_400
    stale_while_revalidate_s: int = 60
    prepare_timeout_s: float = 10.0


DEFAULT_SETTINGS = SiteSettings()


def settings_from(mapping: Mapping[str, Any]) -> SiteSettings:
    """The settings in `mapping` (JSON builtins), defaults for what is absent.

    Raises InvalidInput that lists every fault; its `field` is the path of the first one (`header_rules[2].path`).
    """
    faults = _Faults()
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        read = _READERS.get(name)
        if read is None:
            faults.add(str(name)[:MAX_SHOWN], f"there is no such setting; there are {', '.join(_READERS)}")
        else:
            values[name] = read(faults, name, value)
    faults.raise_any()
    return SiteSettings(**values)


def settings_to(settings: SiteSettings) -> dict[str, Any]:
    """The settings as JSON builtins; `settings_from` reads them back unchanged."""
    result = {field.name: getattr(settings, field.name) for field in fields(settings)}
    result["keep"] = list(settings.keep)
    result["header_rules"] = [
        {"path": rule.path, "fields": [list(line) for line in rule.fields]} for rule in settings.header_rules
    ]
    return result


class _Faults:
    """Collects what is wrong, with its place."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def add(self, field: str, fault: str) -> None:
        self.found.append((field, fault))

    def raise_any(self) -> None:
        if self.found:
            field, fault = self.found[0]
            details = tuple(f"{where}: {what}" for where, what in self.found[:MAX_FAULTS])
            raise InvalidInput(f"settings: {field}: {fault}", field=field, details=details)


def _read_origin(faults: _Faults, field: str, value: Any) -> str:
    if value != BUNDLE:
        faults.add(field, f'this program serves sites of origin "{BUNDLE}" only')
    return BUNDLE


def _read_seconds(faults: _Faults, field: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= ONE_YEAR_S:
        faults.add(field, f"give whole seconds from 0 to {ONE_YEAR_S}")
        return 0
    return value


def _read_optional_seconds(faults: _Faults, field: str, value: Any) -> int | None:
    return None if value is None else _read_seconds(faults, field, value)


def _read_timeout(faults: _Faults, field: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_PREPARE_TIMEOUT_S:
        return float(value)
    faults.add(field, f"give seconds above 0, up to {MAX_PREPARE_TIMEOUT_S:g}")
    return MAX_PREPARE_TIMEOUT_S


def _read_pattern(faults: _Faults, field: str, value: Any) -> str:
    if not isinstance(value, str):
        faults.add(field, "give a pattern as text")
        return ""
    try:
        return check_pattern(value)
    except InvalidInput as exc:
        faults.add(field, str(exc))
        return ""


def _read_keep(faults: _Faults, field: str, value: Any) -> tuple[str, ...]:
    items = _read_list(faults, field, value, MAX_KEEP)
    return tuple(_read_pattern(faults, f"{field}[{n}]", item) for n, item in enumerate(items))


def _read_header_rules(faults: _Faults, field: str, value: Any) -> tuple[HeaderRule, ...]:
    items = _read_list(faults, field, value, MAX_HEADER_RULES)
    rules = tuple(_read_header_rule(faults, f"{field}[{n}]", item) for n, item in enumerate(items))
    octets = sum(len(name) + len(text) for rule in rules for name, text in rule.fields)
    if octets > MAX_HEADER_RULES_BYTES:
        faults.add(
            field, f"names and values take {octets} octets together, at most {MAX_HEADER_RULES_BYTES} are allowed"
        )
    return rules


def _read_header_rule(faults: _Faults, field: str, value: Any) -> HeaderRule:
    if not isinstance(value, Mapping) or set(value) != {"path", "fields"}:
        faults.add(field, 'a rule has "path" and "fields" and nothing else')
        return HeaderRule("", ())
    path = _read_pattern(faults, f"{field}.path", value["path"])
    given = value["fields"]
    lines = list(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(lines, list | tuple) or not lines:
        faults.add(f"{field}.fields", "give pairs of a field name and a value")
        return HeaderRule(path, ())
    checked = [_read_field_line(faults, f"{field}.fields[{n}]", line) for n, line in enumerate(lines)]
    return HeaderRule(path, tuple(checked))


def _read_field_line(faults: _Faults, field: str, line: Any) -> tuple[str, str]:
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


def _read_list(faults: _Faults, field: str, value: Any, most: int) -> list[Any]:
    if not isinstance(value, list | tuple):
        faults.add(field, "give a list")
        return []
    if len(value) > most:
        faults.add(field, f"there are {len(value)} entries, at most {most} are allowed")
        return []
    return list(value)


_READERS: dict[str, Callable[[_Faults, str, Any], Any]] = {
    "origin": _read_origin,
    "edge_ttl_s": _read_optional_seconds,
    "browser_ttl_s": _read_seconds,
    "retention_s": _read_seconds,
    "keep": _read_keep,
    "header_rules": _read_header_rules,
    "stale_if_error_s": _read_seconds,
    "stale_while_revalidate_s": _read_seconds,
    "prepare_timeout_s": _read_timeout,
}
