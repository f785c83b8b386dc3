"""How long after an order that failed the next one is made."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from cdn.tls.retry import HOUR_S, LONGEST_ASKED_S, MINUTE_S, PAUSES_S, SPREAD, TRIES_LEFT, try_again_s

points = st.floats(0, 1, exclude_max=True)


def test_pauses_grow_from_a_minute_to_six_hours() -> None:
    pauses = [try_again_s(failures, 0.0) for failures in range(1, 40)]
    assert [pause / MINUTE_S for pause in pauses[:5]] == [1, 2, 2, 5, 10]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pauses[len(PAUSES_S) - 1] == 6 * HOUR_S


def test_no_more_than_five_failures_an_hour_after_the_first_five() -> None:
    """An authority that allows five in an hour lets the sixth come when the first has gone by, or a little later."""
    at, tries = 0.0, [0.0]
    for failures in range(1, 60):
        at += try_again_s(failures, 0.0)
        tries.append(at)
    late = [one for one in tries if one > HOUR_S]
    for one in late:
        assert sum(one - HOUR_S < other <= one for other in late) <= 5


def test_what_the_authority_asks_for_wins() -> None:
    assert try_again_s(1, 0.0, 7200.0) == 7200.0
    assert try_again_s(30, 0.0, 120.0) == 120.0
    assert try_again_s(1, 0.0, 0.0) == try_again_s(1, 0.0, -5.0) == PAUSES_S[0]
    assert try_again_s(1, 0.0, 1e12) == LONGEST_ASKED_S


@given(st.integers(-5, 10_000), points, st.floats(0, 1e9))
def test_never_before_it(failures: int, point: float, retry_after_s: float) -> None:
    pause_s = try_again_s(failures, point, retry_after_s)
    assert min(retry_after_s, LONGEST_ASKED_S) <= pause_s <= LONGEST_ASKED_S + PAUSES_S[0]


@given(st.integers(-5, 10_000), points, st.none() | st.floats(-1e6, 1e8))
def test_a_pause_is_within_its_bounds(failures: int, point: float, left_s: float | None) -> None:
    pause_s = try_again_s(failures, point, None, left_s)
    assert PAUSES_S[0] <= pause_s <= PAUSES_S[-1] * (1 + SPREAD)
    assert math.isfinite(pause_s)


def test_a_certificate_that_ends_soon_is_tried_for_more_often() -> None:
    """Six hours would be too long when one is left; without any, nothing is lost by waiting."""
    assert try_again_s(50, 0.0, None, 8 * HOUR_S) == HOUR_S
    assert try_again_s(50, 0.0, None, 100.0) == PAUSES_S[0]
    assert try_again_s(50, 0.0, None, 0.0) == try_again_s(50, 0.0, None, -1.0) == PAUSES_S[-1]
    left_s, tries = 24 * HOUR_S, 0
    while left_s > 0:
        left_s -= try_again_s(50, 0.99, None, left_s)
        tries += 1
    assert tries >= TRIES_LEFT
