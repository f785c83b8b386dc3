"""What of a query counts for a site: in keys, in names of purges, and in what the upstream is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from cdn.http.search_params import decode_component


@dataclass(frozen=True, slots=True)
class KeepQuery:
    """The query counts as it was sent."""


@dataclass(frozen=True, slots=True)
class SortQuery:
    """The order of differently named parameters does not count, nor do empty ones."""


@dataclass(frozen=True, slots=True)
class DropQuery:
    """No query counts."""


@dataclass(frozen=True, slots=True)
class AllowQuery:
    """Only parameters of these names count, in the order in which they were sent. Names are decoded text."""

    names: tuple[str, ...]


QueryPolicy = KeepQuery | SortQuery | DropQuery | AllowQuery


def apply_query_policy(policy: QueryPolicy, query: str | None) -> str | None:
    """`query` (percent-encoded, without "?"; None: there is none) as `policy` has it; that, put in again, stays.

    Parameters are what "&" separates. Their names are compared decoded, their text is never rewritten.
    """
    if query is None:
        return None
    match policy:
        case KeepQuery():
            return query
        case DropQuery():
            return None
        case SortQuery():
            return _joined(sorted((part for part in query.split("&") if part), key=_name_of))
        case AllowQuery(names):
            allowed = frozenset(names)
            return _joined([part for part in query.split("&") if part and _name_of(part) in allowed])
        case _:
            assert_never(policy)


def _name_of(parameter: str) -> str:
    return decode_component(parameter.partition("=")[0])


def _joined(parameters: list[str]) -> str | None:
    return "&".join(parameters) if parameters else None
