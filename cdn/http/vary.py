"""Which stored response suits a request: Vary (RFC 9110 section 12.5.5, RFC 9111 section 4.1)."""

from __future__ import annotations

import re
from functools import lru_cache

from cdn.http.fields import Fields
from cdn.http.list_field import list_members

Selecting = tuple[tuple[str, str | None], ...]
"""Lower-case names of selecting fields, each with its normal value; None where the request had no such field."""

MAX_NORMAL_LENGTH = 8192
"""Characters of a value that is brought into its normal form: 27 KiB take 4 ms, and HTTP/2 says them again in 20
octets. Longer ones select only for requests that say the same, character for character."""

MAX_VARY_NAMES = 64
"""Names of one response's Vary. Each is compared on every request; a response that asks for more suits nobody else."""

MAX_REMEMBERED = 2048
"""Values of Accept-Encoding and Accept-Language whose normal form is remembered; browsers send few, on every hit."""

MAX_REMEMBERED_LENGTH = 256
"""Longest of these, in characters: what is remembered stays below 2 MB, whoever sends it."""

SINGLE_VALUES = frozenset(
    {"authorization", "cookie", "date", "from", "if-modified-since", "if-unmodified-since", "origin", "referer"}
    | {"user-agent"}
)
"""Fields that are no lists: their commas separate nothing, so the whitespace there is not ours to judge."""

_WEIGHTED = frozenset({"accept-encoding", "accept-language"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WEIGHT = re.compile(r"[qQ]=(?:0(?:\.([0-9]{0,3}))?|1(?:\.0{0,3})?)")
_FULL_WEIGHT = 1000


def vary_names(fields: Fields) -> tuple[str, ...] | None:
    """The selecting fields that a response names: sorted, each once, lower-case; empty without a Vary field.

    None: the response suits no other request, because "*" is a member, a member is no field name, or there are more
    than MAX_VARY_NAMES.
    """
    value = fields.get("vary")
    if value is None:
        return ()
    names = {name.strip(" \t").lower() for name in value.split(",")} - {""}
    if "*" in names or len(names) > MAX_VARY_NAMES or any(_TOKEN.fullmatch(name) is None for name in names):
        return None
    return tuple(sorted(names))


def selecting(names: tuple[str, ...], request_fields: Fields) -> Selecting:
    """What a request says in the fields `names` (lower-case), in their normal form."""
    return tuple((name, _normal_field(name, request_fields)) for name in names)


def normal_value(name: str, value: str) -> str:
    """A field's combined value in a form that is equal for values of the same meaning (RFC 9111 section 4.1).

    Whitespace around list members goes; in Accept-Encoding and Accept-Language also case, the order of members, empty
    and repeated ones and the ways to write a weight. A value that is malformed there, or that weighs a member in two
    ways, counts as an unknown list; one longer than MAX_NORMAL_LENGTH stays as it is. Normal values are their own
    normal form.
    """
    if name in SINGLE_VALUES or len(value) > MAX_NORMAL_LENGTH:
        return value
    if name in _WEIGHTED:
        return _remembered(value) if len(value) <= MAX_REMEMBERED_LENGTH else _weighted(value)
    return _listed(value)


def _normal_field(name: str, fields: Fields) -> str | None:
    value = fields.get(name)
    return None if value is None else normal_value(name, value)


def _listed(value: str) -> str:
    return ", ".join(list_members(value)).strip(" \t") if "," in value else value


def _weighted(value: str) -> str:
    weights = _weights(value)
    return _listed(value) if weights is None else _weighted_list(weights)


_remembered = lru_cache(MAX_REMEMBERED)(_weighted)


def _weights(value: str) -> dict[str, int] | None:
    """The thousandths each member weighs (RFC 9110 section 12.4.2); None when malformed or contradictory."""
    weights: dict[str, int] = {}
    for member in value.split(","):
        text, mark, parameter = member.partition(";")
        choice = text.strip(" \t").lower()
        if not choice and not mark:
            continue
        weight = _thousandths(parameter.strip(" \t")) if mark else _FULL_WEIGHT
        if weight is None or _TOKEN.fullmatch(choice) is None or weights.setdefault(choice, weight) != weight:
            return None
    return weights


def _thousandths(parameter: str) -> int | None:
    match = _WEIGHT.fullmatch(parameter)
    if match is None:
        return None
    if parameter[2] == "1":
        return _FULL_WEIGHT
    return int((match[1] or "").ljust(3, "0"))


def _weighted_list(weights: dict[str, int]) -> str:
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{choice}{_parameter(weight)}" for choice, weight in ordered)


def _parameter(weight: int) -> str:
    return "" if weight == _FULL_WEIGHT else f";q={weight / _FULL_WEIGHT:g}"
