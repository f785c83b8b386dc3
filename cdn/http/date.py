"""HTTP dates (RFC 9110 section 5.6.7), as seconds since 1970 UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH = "(?P<month>" + "|".join(_MONTHS) + ")"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMS = (
    re.compile(f"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(f"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<short_year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(f"{_DAY} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)


def format_date(epoch_s: float) -> str:
    """The IMF-fixdate of a moment, whole seconds rounded down. Raises OverflowError outside the years 1 to 9999."""
    moment = _EPOCH + timedelta(seconds=epoch_s // 1)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02} {_MONTHS[moment.month - 1]} {moment.year:04}"
        f" {moment.hour:02}:{moment.minute:02}:{moment.second:02} GMT"
    )


def parse_date(text: str, now: float) -> float | None:
    """The moment that one of the three forms names; None for anything else.

    `now` (seconds since 1970) resolves years of two digits: more than 50 years ahead means the century before.
    The name of the day is not compared with the date.
    """
    for form in _FORMS:
        match = form.fullmatch(text)
        if match is not None:
            return _moment_of(match.groupdict(), now)
    return None


def _moment_of(parts: dict[str, str], now: float) -> float | None:
    short_year = parts.get("short_year")
    year = int(parts["year"]) if short_year is None else _full_year(int(short_year), now)
    second = int(parts["second"])
    if second > 60:  # 60 is a leap second
        return None
    try:
        minute = datetime(
            year,
            _MONTHS.index(parts["month"]) + 1,
            int(parts["day"]),
            int(parts["hour"]),
            int(parts["minute"]),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return (minute - _EPOCH).total_seconds() + second


def _full_year(short_year: int, now: float) -> int:
    this_year = (_EPOCH + timedelta(seconds=now)).year
    year = this_year - this_year % 100 + short_year
    return year - 100 if year > this_year + 50 else year
