"""The tables `[[redirects]]` of netlify.toml and cdn.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cdn.errors import InvalidInput
from cdn.sites.path import shown
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_reading import (
    MAX_REDIRECTS,
    MAX_RULE_LENGTH,
    NETLIFY_STATUS,
    Findings,
    PlacedRule,
    RedirectsRead,
    RuleParts,
    cut,
    rule_from,
)
from cdn.sites.rules.redirect_rule import REWRITE

_OLD_NAMES = {
    "origin": "from",
    "destination": "to",
    "params": "query",
    "parameters": "query",
    "sign": "signed",
    "signing": "signed",
}
"""How Netlify used to call them, and still reads them."""

_KNOWN = frozenset({"from", "to", "status", "force", "query", "conditions"})
_WITHOUT_EFFECT = {
    "headers": "fields for the other server are not sent: it gets those of the visitor's request",
    "rate_limit": "there is no limit by rule here",
    "edge_handler": "functions are not run here",
    "edge_handlers": "functions are not run here",
}
_STATUS = re.compile(r"([0-9]{3})(!?)")


def read_redirect_tables(tables: Any, file: str, mode: RulesMode, lines: Sequence[int] = ()) -> RedirectsRead:
    """The rules in `tables`, which is what tomllib found under "redirects". `lines`: the line on which each table
    starts, 0 where it is not known. Never raises."""
    findings = Findings(file)
    if not isinstance(tables, list):
        findings.refuse(0, "redirects", "write every redirect as a table of its own: [[redirects]]")
        return findings.read()
    for number, table in enumerate(tables):
        line = lines[number] if number < len(lines) else 0
        if findings.is_full:
            break
        if number >= MAX_REDIRECTS:
            findings.refuse(line, "", f"a deploy has at most {MAX_REDIRECTS} redirects: join some with placeholders")
            break
        _read_table(findings, line, number, table, mode)
    return findings.read()


def _read_table(findings: Findings, line: int, number: int, table: Any, mode: RulesMode) -> None:
    text = f"redirects[{number}]"
    try:
        parts, doubts = _parts(table)
        text = f"{text} from {shown(parts.source)}"
        rule, more = rule_from(parts, mode)
    except InvalidInput as exc:
        findings.refuse(line, text, exc.message)
        return
    for doubt in (*doubts, *more):
        findings.doubt(line, text, doubt)
    findings.rules.append(PlacedRule(rule, findings.file, line, cut(text)))


def _parts(table: Any) -> tuple[RuleParts, list[str]]:
    if not isinstance(table, Mapping):
        raise InvalidInput('a redirect is a table with "from" and "to"')
    given: dict[str, Any] = {}
    for name, value in table.items():
        given.setdefault(_OLD_NAMES.get(str(name), str(name)), value)
    if given.pop("signed", None) is not None:
        raise InvalidInput("requests to other servers are not signed here: leave it out")
    doubts = [f'"{name}": {_WITHOUT_EFFECT[name]}' for name in given if name in _WITHOUT_EFFECT]
    for name in given:
        if name not in _KNOWN and name not in _WITHOUT_EFFECT:
            raise InvalidInput(f"a redirect has no {shown(name)}: it has {', '.join(sorted(_KNOWN))}")
    source = _text(given, "from")
    status, is_forced = _status(given)
    if "to" not in given and source.endswith("/*") and status == REWRITE:
        given["to"] = source.removesuffix("*") + ":splat"
    parts = RuleParts(source, _text(given, "to"), status, is_forced, _query(given), _conditions(given))
    return parts, doubts


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f'"{name}" is missing' if value is None else f'"{name}" has to be text')
    if len(value) > MAX_RULE_LENGTH:
        raise InvalidInput(f'"{name}" has {len(value)} characters, at most {MAX_RULE_LENGTH} are allowed')
    return value


def _status(given: Mapping[str, Any]) -> tuple[int, bool]:
    """A status may be written as text with "!", as in `_redirects`."""
    status, force = given.get("status", NETLIFY_STATUS), given.get("force", False)
    if not isinstance(force, bool):
        raise InvalidInput('"force" is true or false')
    if isinstance(status, int) and not isinstance(status, bool):
        return status, force
    written = _STATUS.fullmatch(status) if isinstance(status, str) else None
    if written is None:
        raise InvalidInput('"status" is a number such as 301')
    return int(written[1]), force or written[2] == "!"


def _query(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values are as they are here, not as in URLs: what decoding would change is encoded."""
    query = given.get("query", {})
    if not isinstance(query, Mapping) or not all(isinstance(value, str) for value in query.values()):
        raise InvalidInput('"query" is a table of parameters, each with a text: { id = ":id" }')
    return [(_kept(name), _kept(value)) for name, value in query.items()]


def _kept(text: str) -> str:
    return text.replace("%", "%25").replace("+", "%2B")


def _conditions(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """A list of texts, or one text with commas as in `_redirects`."""
    conditions = given.get("conditions", {})
    if not isinstance(conditions, Mapping):
        raise InvalidInput('"conditions" is a table: { Country = ["de", "at"] }')
    read: dict[str, list[str]] = {}
    for name, value in conditions.items():
        values = value.split(",") if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
            raise InvalidInput(f"the condition {shown(name)} is a list of texts")
        if name.lower() in read:
            raise InvalidInput(f"the condition {shown(name)} stands twice")
        read[name.lower()] = [one.strip() for one in values]
    return read
