"""Rules as they stand in a manifest: JSON builtins, what is not the default alone, so that equal sets look equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, TypeVar, get_type_hints

from cdn.errors import InvalidInput
from cdn.sites.path import shown
from cdn.sites.rules.cache_rule import CacheRule
from cdn.sites.rules.cors_rule import CorsRule
from cdn.sites.rules.country_rule import CountryRule
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.redirect_form import redirects_from, redirects_to
from cdn.sites.rules.rule_set import RuleSet

RULES_VERSION = 1
"""Of this form: the version this program writes, and the newest it reads."""

T = TypeVar("T")

_LISTS: Mapping[str, type] = {
    "fields": FieldRule,
    "caching": CacheRule,
    "guards": Guard,
    "countries": CountryRule,
    "cors": CorsRule,
}
"""Fields of a set that are lists of rules."""

_TYPES = {kind: get_type_hints(kind) for kind in (RuleSet, *_LISTS.values())}


def rules_to(rules: RuleSet) -> dict[str, Any]:
    """The rules as JSON builtins."""
    document = _record_to(rules)
    if rules.redirects:
        document["redirects"] = redirects_to(rules.redirects)
    return {"version": RULES_VERSION, **document}


def rules_from(document: Any) -> RuleSet:
    """The rules that `rules_to` gave. Raises InvalidInput for another version and what is no such document."""
    if not isinstance(document, Mapping):
        raise InvalidInput("rules are a JSON object")
    version = document.get("version")
    if version != RULES_VERSION or isinstance(version, bool | float):
        raise InvalidInput(f"the rules have version {shown(version)}, this program reads {RULES_VERSION}")
    given = {name: value for name, value in document.items() if name != "version"}
    ready: dict[str, Any] = {}
    if "redirects" in given:
        ready["redirects"] = redirects_from(given.pop("redirects"))
    for name in _LISTS.keys() & given.keys():
        items = given.pop(name)
        if not isinstance(items, list):
            raise InvalidInput(f"the rules have {shown(name)} that is no list")
        ready[name] = tuple(_record_from(_LISTS[name], item) for item in items)
    return _record_from(RuleSet, given, ready)


def _record_to(record: Any) -> dict[str, Any]:
    values = ((each.name, getattr(record, each.name), each.default) for each in fields(record))
    return {name: _plain(value) for name, value, default in values if value != default}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return _record_to(value) if hasattr(value, "__dataclass_fields__") else value


def _record_from(kind: type[T], document: Any, ready: Mapping[str, Any] | None = None) -> T:
    if not isinstance(document, Mapping):
        raise InvalidInput(f"a {kind.__name__} is a JSON object")
    types = _TYPES[kind]
    values = dict(ready or {})
    for name, value in document.items():
        if name not in types:
            raise InvalidInput(f"a {kind.__name__} has no field {shown(name)}")
        values[name] = _read(f"{kind.__name__}.{name}", types[name], value)
    try:
        return kind(**values)
    except TypeError as exc:
        raise InvalidInput(f"a {kind.__name__} lacks a field") from exc


def _read(place: str, wanted: Any, value: Any) -> Any:
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        try:
            return wanted(value)
        except ValueError as exc:
            raise InvalidInput(f"{place} is {shown(value)}, which this program does not know") from exc
    form = _FORMS[str(wanted)]
    read = form(value)
    if read is None:
        raise InvalidInput(f"{place} is {shown(value)}, which it cannot be")
    return read


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _texts(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else None


def _pairs(value: Any) -> tuple[tuple[str, ...], ...] | None:
    if not isinstance(value, list):
        return None
    read = [_texts(each) for each in value]
    return tuple(each for each in read if each) if all(each and len(each) == 2 for each in read) else None


def _pages(value: Any) -> tuple[tuple[int, str], ...] | None:
    if not isinstance(value, list):
        return None
    pages: list[tuple[int, str]] = []
    for each in value:
        match each:
            case [int(status), str(path)]:
                pages.append((status, path))
            case _:
                return None
    return tuple(pages)


_FORMS: Mapping[str, Any] = {
    "<class 'str'>": _text,
    "<class 'bool'>": _flag,
    "<class 'int'>": _count,
    "int | None": _count,
    "tuple[str, ...]": _texts,
    "tuple[tuple[str, str], ...]": _pairs,
    "tuple[tuple[int, str], ...]": _pages,
}
"""Readers by the type that they read."""
