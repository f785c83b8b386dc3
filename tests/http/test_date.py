from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.date import format_date, parse_date

THE_DATE = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT
NOW = 1_700_000_000.0  # 2023


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", THE_DATE),
        ("Sunday, 06-Nov-94 08:49:37 GMT", THE_DATE),
        ("Sun Nov  6 08:49:37 1994", THE_DATE),
        ("Sun Nov 06 08:49:37 1994", THE_DATE),
        ("Mon, 06 Nov 1994 08:49:37 GMT", THE_DATE),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799.0),
        ("Mon, 01 Jan 1900 00:00:00 GMT", -2208988800.0),
    ],
)
def test_parses_the_three_forms(text: str, expected: float) -> None:
    assert parse_date(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "784111777",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 30 Feb 1994 08:49:37 GMT",
        "Sun, 00 Jan 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, ０6 Nov 1994 08:49:37 GMT",
    ],
)
def test_refuses_everything_else(text: str) -> None:
    assert parse_date(text, NOW) is None


@pytest.mark.parametrize(("short_year", "year"), [("23", 2023), ("73", 2073), ("74", 1974), ("99", 1999), ("00", 2000)])
def test_short_years_lie_at_most_fifty_years_ahead(short_year: str, year: int) -> None:
    full = parse_date(f"Sun, 01 Jan {year} 00:00:00 GMT", NOW)
    assert full is not None
    assert parse_date(f"Sunday, 01-Jan-{short_year} 00:00:00 GMT", NOW) == full


@given(st.floats(min_value=0, max_value=253402300799))
def test_formats_as_the_mail_library_does(moment: float) -> None:
    assert format_date(moment) == formatdate(moment // 1, usegmt=True)
    assert parse_date(format_date(moment), NOW) == moment // 1


def test_formats_moments_before_1970_rounded_down() -> None:
    assert format_date(-0.5) == "Wed, 31 Dec 1969 23:59:59 GMT"


def test_years_beyond_9999_cannot_be_formatted() -> None:
    with pytest.raises(OverflowError):
        format_date(253402300800)
