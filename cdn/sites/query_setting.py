"""How a site's query policy is written down: "keep", "sort", "drop", or {"allow": [NAME, ...]}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from cdn.sites.query_policy import AllowQuery, DropQuery, KeepQuery, QueryPolicy, SortQuery
from cdn.sites.settings_reader import Faults, read_list

MAX_QUERY_NAMES = 64
"""Parameters that may count: more than any form of one page has."""

MAX_QUERY_NAME_LENGTH = 128
"""Characters of one name: it travels in every record of the site's settings."""

KEEP_QUERY = KeepQuery()
"""The policy of a site that sets none."""

_PLAIN: Mapping[str, QueryPolicy] = {"keep": KEEP_QUERY, "sort": SortQuery(), "drop": DropQuery()}


def read_query_policy(faults: Faults, field: str, value: Any) -> QueryPolicy:
    """The policy of JSON builtins; what is wrong goes to `faults`."""
    match value:
        case str(name) if name in _PLAIN:
            return _PLAIN[name]
        case {"allow": names, **others} if not others:
            items = read_list(faults, f"{field}.allow", names, MAX_QUERY_NAMES)
            read = [_read_name(faults, f"{field}.allow[{n}]", item) for n, item in enumerate(items)]
            return AllowQuery(tuple(dict.fromkeys(read)))
        case _:
            faults.add(field, 'give "keep", "sort", "drop", or {"allow": [names of parameters]}')
            return KEEP_QUERY


def query_policy_to(policy: QueryPolicy) -> str | dict[str, list[str]]:
    """The policy as JSON builtins; `read_query_policy` reads it back unchanged."""
    match policy:
        case KeepQuery():
            return "keep"
        case SortQuery():
            return "sort"
        case DropQuery():
            return "drop"
        case AllowQuery(names):
            return {"allow": list(names)}
        case _:
            assert_never(policy)


def _read_name(faults: Faults, field: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_QUERY_NAME_LENGTH or not value.isprintable():
        faults.add(field, f"give a parameter's name as it reads decoded, 1 to {MAX_QUERY_NAME_LENGTH} characters")
        return ""
    return value
