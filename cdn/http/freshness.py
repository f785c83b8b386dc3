"""How long a response stays fresh and how old it was when it came (RFC 9111 section 4.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from cdn.http.cache_control import ResponseDirectives
from cdn.http.date import parse_date
from cdn.http.delta_seconds import delta_seconds
from cdn.http.fields import Fields

HEURISTIC_FRACTION = 0.1
"""Of the time since the last modification: the typical setting of section 4.2.2."""

MAX_HEURISTIC_S = 86_400.0
"""No guess is longer than a day: beyond that an upstream that said nothing would be surprised."""

HEURISTIC_STATUSES = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses to whose responses a cache may give a lifetime of its own (RFC 9110 section 15.1)."""

_AGE = re.compile(r"[ \t,]*([0-9]+)[ \t]*(?:[,;].*)?", re.DOTALL)


class LifetimeSource(Enum):
    """What a freshness lifetime comes from."""

    S_MAXAGE = "s-maxage"
    MAX_AGE = "max-age"
    EXPIRES = "expires"
    HEURISTIC = "heuristic"
    SITE_DEFAULT = "site-default"
    SITE_OVERRIDE = "site-override"
    NEGATIVE = "negative"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A freshness lifetime, 0 or more, and where it comes from."""

    seconds: float
    source: LifetimeSource


NO_LIFETIME = Lifetime(0.0, LifetimeSource.NONE)


def explicit_lifetime(fields: Fields, directives: ResponseDirectives, received_at: float) -> Lifetime | None:
    """The lifetime that a response states (section 4.2.1), None when it states none. `received_at` is wall time.

    An Expires that is no date lies in the past (section 5.3); of several the first counts.
    """
    if directives.s_maxage_s is not None:
        return Lifetime(float(directives.s_maxage_s), LifetimeSource.S_MAXAGE)
    if directives.max_age_s is not None:
        return Lifetime(float(directives.max_age_s), LifetimeSource.MAX_AGE)
    if directives.is_targeted or "expires" not in fields:
        return None
    expires = _first_date(fields, "expires", received_at)
    if expires is None:
        return Lifetime(0.0, LifetimeSource.EXPIRES)
    return Lifetime(max(0.0, expires - _date(fields, received_at)), LifetimeSource.EXPIRES)


def heuristic_lifetime(fields: Fields, received_at: float) -> Lifetime | None:
    """The lifetime that may be guessed from Last-Modified (section 4.2.2), None without one.

    Whether a guess is allowed is for the caller to know: not beside an explicit lifetime, and only for
    HEURISTIC_STATUSES or public responses. `received_at` is wall time.
    """
    last_modified = _first_date(fields, "last-modified", received_at)
    if last_modified is None:
        return None
    seconds = HEURISTIC_FRACTION * (_date(fields, received_at) - last_modified)
    return Lifetime(min(max(0.0, seconds), MAX_HEURISTIC_S), LifetimeSource.HEURISTIC)


def corrected_initial_age_s(fields: Fields, requested_at: float, received_at: float) -> float:
    """How old a response was when it was received (section 4.2.3). Wall times, in seconds since 1970.

    Age has one value, so several lines or members are somebody's fault on the way (RFC 9110 section 5.3). Section 5.1
    has the cure: of several the first counts, and if that is no number the field is ignored, so that Date and the delay
    say how old the response is. What follows a number after ";" are parameters, as structured fields have them, and
    leave the number as it is: to read it can only make the response older.

    A response without a valid Date counts as made when it was received (RFC 9110 section 6.6.1).
    """
    apparent_age_s = max(0.0, received_at - _date(fields, received_at))
    response_delay_s = max(0.0, received_at - requested_at)
    return max(apparent_age_s, _age_value_s(fields) + response_delay_s)


def _age_value_s(fields: Fields) -> int:
    age = _AGE.fullmatch(fields.get("age") or "")
    return 0 if age is None else delta_seconds(age[1]) or 0


def _date(fields: Fields, received_at: float) -> float:
    date = _first_date(fields, "date", received_at)
    return received_at if date is None else date


def _first_date(fields: Fields, name: str, received_at: float) -> float | None:
    lines = fields.get_all(name)
    return parse_date(lines[0], received_at) if lines else None
