"""Redirects as they stand in a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cdn.errors import InvalidInput
from cdn.sites.rules.redirect_reading import MAX_CHOICES, MAX_QUERY_PAIRS, MAX_REDIRECTS, STATUSES
from cdn.sites.rules.redirect_rule import RedirectRule

_TEXTS = ("host", "scheme")
_LISTS = ("countries", "languages", "cookies")
_NAMES = frozenset({"source", "target", "status", "is_forced", "query", *_TEXTS, *_LISTS})
_DEFAULT = RedirectRule("", "")


def redirects_to(rules: Sequence[RedirectRule]) -> list[dict[str, Any]]:
    """The rules as JSON builtins, what is not the default alone."""
    return [_to(rule) for rule in rules]


def _to(rule: RedirectRule) -> dict[str, Any]:
    document: dict[str, Any] = {"source": rule.source, "target": rule.target}
    for name in ("status", "is_forced", *_TEXTS):
        if getattr(rule, name) != getattr(_DEFAULT, name):
            document[name] = getattr(rule, name)
    if rule.query:
        document["query"] = [list(pair) for pair in rule.query]
    for name in _LISTS:
        if getattr(rule, name):
            document[name] = list(getattr(rule, name))
    return document


def redirects_from(document: Any) -> tuple[RedirectRule, ...]:
    """The rules that `redirects_to` gave. Raises InvalidInput for anything else; whether sources and targets can be
    read is for the index to say."""
    if not isinstance(document, list) or len(document) > MAX_REDIRECTS:
        raise _invalid("is no list, or one that is too long")
    return tuple(map(_from, document))


def _from(document: Any) -> RedirectRule:
    if not isinstance(document, Mapping) or not {"source", "target"} <= document.keys() <= _NAMES:
        raise _invalid("has a rule that is none")
    source, target, host, scheme = (_text(document.get(name, "")) for name in ("source", "target", *_TEXTS))
    status, is_forced = document.get("status", _DEFAULT.status), document.get("is_forced", False)
    if type(status) is not int or status not in STATUSES or not isinstance(is_forced, bool):
        raise _invalid("has a rule with a status that is none")
    query = document.get("query", [])
    if not isinstance(query, list) or len(query) > MAX_QUERY_PAIRS:
        raise _invalid("has a rule whose query is none")
    pairs = tuple(map(_pair, query))
    countries, languages, cookies = (_texts(document.get(name, [])) for name in _LISTS)
    return RedirectRule(source, target, status, is_forced, host, scheme, pairs, countries, languages, cookies)


def _pair(value: Any) -> tuple[str, str]:
    match value:
        case [str(name), str(wanted)]:
            return name, wanted
        case _:
            raise _invalid("has a parameter that is none")


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_CHOICES:
        raise _invalid("has a condition that is none")
    return tuple(map(_text, value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _invalid("has a number or worse where a text belongs")
    return value


def _invalid(what: str) -> InvalidInput:
    return InvalidInput(f"the list of redirects {what}: it was not written by this program", field="redirects")
