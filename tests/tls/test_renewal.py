"""When a certificate is got anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.tls.issuer import RenewalWindow
from cdn.tls.renewal import (
    ASK_AGAIN_S,
    DAY_S,
    LATEST_ASK_S,
    LATEST_PART,
    SHORT_LIFE_S,
    SOONEST_ASK_S,
    SPREAD,
    ask_again_at,
    renew_at,
)


def window(start: float, end: float, ask_again_s: float = 3600.0) -> RenewalWindow:
    return RenewalWindow(start, end, "", ask_again_s)


@pytest.mark.parametrize(
    ("life_days", "point", "left_days"),
    [
        (90, 0.0, 30.0),
        (90, 0.999999, 33.0),
        (10, 0.0, 10 / 3),
        (9.99, 0.0, 9.99 / 2),
        (6, 0.0, 3.0),
        (6, 0.999999, 3.3),
        (0, 0.5, 0.0),
    ],
)
def test_a_third_is_left_and_half_of_a_short_life(life_days: float, point: float, left_days: float) -> None:
    at = renew_at(0.0, life_days * DAY_S, None, point)
    assert life_days * DAY_S - at == pytest.approx(left_days * DAY_S, abs=1.0)


def test_the_authoritys_window_is_heard() -> None:
    assert renew_at(0.0, 90 * DAY_S, window(10 * DAY_S, 20 * DAY_S), 0.25) == 12.5 * DAY_S


def test_a_window_that_has_gone_by_is_now() -> None:
    """The authority is about to revoke it (RFC 9773 4.2)."""
    assert renew_at(1000.0, 90 * DAY_S, window(-10.0, 0.0), 0.5) == -5.0


@pytest.mark.parametrize("end", [5 * DAY_S, 4 * DAY_S])
def test_a_window_that_ends_before_it_begins_is_none(end: float) -> None:
    assert renew_at(0.0, 90 * DAY_S, window(5 * DAY_S, end), 0.0) == 60 * DAY_S


def test_a_window_after_the_end_leaves_time_for_tries() -> None:
    assert renew_at(0.0, 6 * DAY_S, window(5.9 * DAY_S, 9 * DAY_S), 0.9) == pytest.approx(5 * DAY_S)


times = st.floats(0, 4e9)
lives = st.floats(1.0, 4e8)
points = st.floats(0, 1, exclude_max=True)


@given(times, lives, points, st.none() | st.tuples(times, times))
def test_it_is_always_before_the_end_and_within_what_was_said(
    begins: float, life_s: float, point: float, said: tuple[float, float] | None
) -> None:
    ends = begins + life_s
    life_s = ends - begins  # as floats have it
    heard = None if said is None else window(*said)
    at = renew_at(begins, ends, heard, point)
    assert at <= ends - LATEST_PART * life_s
    if heard is None or heard.start >= heard.end:
        part = 1 / 2 if life_s < SHORT_LIFE_S else 1 / 3
        slack = 1e-6 * max(ends, 1.0)
        assert part * life_s - slack <= ends - at <= part * (1 + SPREAD) * life_s + slack
    else:
        assert at <= heard.end
        assert at >= min(heard.start, ends - LATEST_PART * life_s)


@given(times, st.floats(-1e9, 1e9))
def test_an_authority_is_asked_neither_always_nor_never(at: float, said_s: float) -> None:
    next_s = ask_again_at(at, window(0, 1, said_s)) - at
    assert SOONEST_ASK_S - 1 <= next_s <= LATEST_ASK_S + 1
    assert ask_again_at(0.0, None) == ASK_AGAIN_S
