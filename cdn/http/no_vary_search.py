"""Queries that a response does not depend on: No-Vary-Search (draft-ietf-httpbis-no-vary-search)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from cdn.http.fields import Fields
from cdn.http.search_params import decode_component, search_params
from cdn.http.structured_field import InnerList, Item, parse_dictionary

MAX_LENGTH = 4096
"""Characters of the field that are read: it is read again for every response, and a rule is asked for every query."""


@dataclass(frozen=True, slots=True)
class NoVarySearch:
    """What of a query makes no difference.

    `key_order`: the order of differently named parameters. `params`: the parameters of these names, or True for all
    but those in `except_`, which is empty otherwise. Names are decoded.
    """

    key_order: bool = False
    params: bool | frozenset[str] = False
    except_: frozenset[str] = frozenset()


def parse_no_vary_search(fields: Fields) -> NoVarySearch | None:
    """What a response says. None when every difference counts: it says nothing, that, or anything malformed.

    A field longer than MAX_LENGTH says nothing.
    """
    value = fields.get("no-vary-search")
    members = None if value is None or len(value) > MAX_LENGTH else parse_dictionary(value)
    if members is None:
        return None
    key_order = _boolean(members.get("key-order"))
    params = _names_or_boolean(members.get("params"))
    excepted = _names(members["except"]) if "except" in members else frozenset()
    if key_order is None or params is None or excepted is None or ("except" in members and params is not True):
        return None
    rule = NoVarySearch(key_order, params or False, excepted)
    return None if rule == NoVarySearch() else rule


def are_equivalent(one_query: str | None, other: str | None, rule: NoVarySearch) -> bool:
    """Whether two queries of the same path differ only in what `rule` says makes no difference (section 6)."""
    return one_query == other or canonical_query(one_query, rule) == canonical_query(other, rule)


def canonical_query(query: str | None, rule: NoVarySearch) -> str | None:
    """One query for all that are equivalent to `query` under `rule`; two are equivalent exactly when theirs are equal.

    Under a rule by which every difference counts it is `query` itself.
    """
    if rule == NoVarySearch():
        return query
    pairs = [pair for pair in search_params(query) if _counts(pair[0], rule)]
    if rule.key_order:
        pairs.sort(key=_name)
    return urlencode(pairs)


def _counts(name: str, rule: NoVarySearch) -> bool:
    match rule.params:
        case bool(is_all):
            return name in rule.except_ or not is_all
        case names:
            return name not in names


def _name(pair: tuple[str, str]) -> str:
    return pair[0]


def _boolean(member: Item | InnerList | None) -> bool | None:
    """None for anything else; an absent member is False."""
    if member is None:
        return False
    return member.value if isinstance(member, Item) and isinstance(member.value, bool) else None


def _names_or_boolean(member: Item | InnerList | None) -> bool | frozenset[str] | None:
    return _names(member) if isinstance(member, InnerList) else _boolean(member)


def _names(member: Item | InnerList) -> frozenset[str] | None:
    """The decoded names in a list of Strings; None for anything else."""
    if not isinstance(member, InnerList):
        return None
    names = [decode_component(item.value) for item in member.items if isinstance(item.value, str)]
    return frozenset(names) if len(names) == len(member.items) else None
