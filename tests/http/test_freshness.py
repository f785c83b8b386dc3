from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.cache_control import ResponseDirectives, shared_directives
from cdn.http.date import format_date
from cdn.http.delta_seconds import MAX_DELTA_S
from cdn.http.fields import Fields
from cdn.http.freshness import (
    MAX_HEURISTIC_S,
    Lifetime,
    LifetimeSource,
    corrected_initial_age_s,
    explicit_lifetime,
    heuristic_lifetime,
)

NOW = 1_700_000_000.0
DATE = ("date", format_date(NOW))


def date(name: str, seconds: float) -> tuple[str, str]:
    return name, format_date(NOW + seconds)


def explicit(*lines: tuple[str, str]) -> Lifetime | None:
    fields = Fields(lines)
    return explicit_lifetime(fields, shared_directives(fields), NOW)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), None),
        ((("cache-control", "public"), DATE), None),
        ((("cache-control", "max-age=5"),), Lifetime(5.0, LifetimeSource.MAX_AGE)),
        ((("cache-control", "max-age=x"),), Lifetime(0.0, LifetimeSource.MAX_AGE)),
        ((("cache-control", "max-age=5, s-maxage=7"),), Lifetime(7.0, LifetimeSource.S_MAXAGE)),
        ((("cache-control", "s-maxage=0, max-age=5"),), Lifetime(0.0, LifetimeSource.S_MAXAGE)),
        ((("cache-control", "max-age=5"), date("expires", 60), DATE), Lifetime(5.0, LifetimeSource.MAX_AGE)),
        ((("cache-control", "max-age=5"), ("expires", "0"), DATE), Lifetime(5.0, LifetimeSource.MAX_AGE)),
        ((date("expires", 60), DATE), Lifetime(60.0, LifetimeSource.EXPIRES)),
        ((date("expires", 60), date("date", -10)), Lifetime(70.0, LifetimeSource.EXPIRES)),
        ((date("expires", 60), date("date", 70)), Lifetime(0.0, LifetimeSource.EXPIRES)),
        ((date("expires", 0), DATE), Lifetime(0.0, LifetimeSource.EXPIRES)),
        ((date("expires", 60),), Lifetime(60.0, LifetimeSource.EXPIRES)),
        ((date("expires", 60), ("date", "foo")), Lifetime(60.0, LifetimeSource.EXPIRES)),
        ((("expires", "0"), DATE), Lifetime(0.0, LifetimeSource.EXPIRES)),
        ((("expires", ""), DATE), Lifetime(0.0, LifetimeSource.EXPIRES)),
        (
            (("expires", "Sunday, 18-Aug-50 02:01:18 GMT"), ("date", "x")),
            Lifetime(844_400_878.0, LifetimeSource.EXPIRES),
        ),
        ((date("expires", 9), date("expires", 99), DATE), Lifetime(9.0, LifetimeSource.EXPIRES)),
        ((("expires", "0"), date("expires", 99), DATE), Lifetime(0.0, LifetimeSource.EXPIRES)),
        ((("cdn-cache-control", "max-age=5"), date("expires", 60), DATE), Lifetime(5.0, LifetimeSource.MAX_AGE)),
        ((("cdn-cache-control", "public"), date("expires", 60), DATE), None),
        ((("surrogate-control", "max-age=0"), date("expires", 60), DATE), Lifetime(0.0, LifetimeSource.MAX_AGE)),
    ],
)
def test_explicit_lifetime(lines: tuple[tuple[str, str], ...], expected: Lifetime | None) -> None:
    assert explicit(*lines) == expected


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ((), None),
        ((("last-modified", "yesterday"), DATE), None),
        ((date("last-modified", -1000), DATE), 100.0),
        ((date("last-modified", -1000),), 100.0),
        ((date("last-modified", -1000), date("date", -500)), 50.0),
        ((date("last-modified", 0), DATE), 0.0),
        ((date("last-modified", 1000), DATE), 0.0),
        ((date("last-modified", -10 * MAX_HEURISTIC_S), DATE), MAX_HEURISTIC_S),
        ((("last-modified", "Mon, 01 Jan 1900 00:00:00 GMT"), DATE), MAX_HEURISTIC_S),
    ],
)
def test_heuristic_lifetime(lines: tuple[tuple[str, str], ...], seconds: float | None) -> None:
    expected = None if seconds is None else Lifetime(seconds, LifetimeSource.HEURISTIC)
    assert heuristic_lifetime(Fields(lines), NOW) == expected


@pytest.mark.parametrize(
    ("ages", "age_s"),
    [
        ((), 0),
        (("0",), 0),
        (("7200",), 7200),
        (("007200",), 7200),
        (("2147483647",), 2**31 - 1),
        (("2147483648",), MAX_DELTA_S),
        (("9" * 5000,), MAX_DELTA_S),
        # Of several the first counts
        (("7200,0",), 7200),
        (("0,7200",), 0),
        (("7200", "0"), 7200),
        (("0", "7200"), 0),
        (("3600 , 3600",), 3600),
        ((" , 60",), 60),
        (("60, abc",), 60),
        (("7200;foo=bar",), 7200),
        (("7200 ;foo=111, 3",), 7200),
        # and what is no number is ignored.
        (("",), 0),
        (("abc",), 0),
        (("abc, 7200",), 0),
        (("abc", "7200"), 0),
        (("-7200",), 0),
        (("+7200",), 0),
        (("7200.0",), 0),
        (("72 00",), 0),
        (("7200s",), 0),
        (('"7200"',), 0),
        (("７２００",), 0),
    ],
)
def test_age_values(ages: tuple[str, ...], age_s: int) -> None:
    assert corrected_initial_age_s(Fields(tuple(("age", age) for age in ages)), NOW, NOW) == age_s


@pytest.mark.parametrize(
    ("lines", "delay_s", "age_s"),
    [
        ((), 0.0, 0.0),
        ((), 2.5, 2.5),
        ((("age", "10"),), 2.5, 12.5),
        ((date("date", -20), ("age", "10")), 2.5, 20.0),
        ((date("date", -20), ("age", "30")), 2.5, 32.5),
        ((date("date", -20), ("age", "abc")), 2.5, 20.0),
        ((date("date", 20), ("age", "10")), 0.0, 10.0),
        ((("date", "foo"), ("age", "10")), 0.0, 10.0),
        ((date("date", -20), date("date", -90)), 0.0, 20.0),
        ((), -5.0, 0.0),
    ],
)
def test_corrected_initial_age(lines: tuple[tuple[str, str], ...], delay_s: float, age_s: float) -> None:
    assert corrected_initial_age_s(Fields(lines), NOW - delay_s, NOW) == age_s


SECONDS = st.integers(-(10**9), 10**9)


@given(st.none() | SECONDS, st.none() | st.integers(0, 2**31), st.integers(0, 1000))
def test_the_age_is_what_the_formula_says(date_s: int | None, age_s: int | None, delay_s: int) -> None:
    """RFC 9111 section 4.2.3, written down once more."""
    lines: list[tuple[str, str]] = []
    if date_s is not None:
        lines.append(date("date", date_s))
    if age_s is not None:
        lines.append(("age", str(age_s)))
    date_value = NOW if date_s is None else NOW + date_s
    apparent_age = max(0, NOW - date_value)
    corrected_age_value = (age_s or 0) + delay_s
    assert corrected_initial_age_s(Fields(tuple(lines)), NOW - delay_s, NOW) == max(apparent_age, corrected_age_value)


@given(st.text(), st.text(), st.text(), st.text() | st.text("0123456789,; \t-."))
def test_nothing_raises(date_text: str, expires: str, last_modified: str, age: str) -> None:
    fields = Fields((("date", date_text), ("expires", expires), ("last-modified", last_modified), ("age", age)))
    lifetime = explicit_lifetime(fields, ResponseDirectives(), NOW)
    assert lifetime is not None
    assert lifetime.seconds >= 0
    heuristic_lifetime(fields, NOW)
    assert 0 <= corrected_initial_age_s(fields, NOW, NOW) <= NOW + MAX_DELTA_S


@pytest.mark.parametrize("unit", ["0", "9", ",", " ", "\t,", "9,", ";"])
def test_hostile_ages_take_linear_time(unit: str) -> None:
    started = time.process_time()
    corrected_initial_age_s(Fields((("age", unit * 100_000 + "x"),)), NOW, NOW)
    assert time.process_time() - started < 1.0  # quadratic time would be minutes
