"""Renewal and retries together: a certificate's life beside an authority that is away at any times."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cdn.tls.issuer import RenewalWindow
from cdn.tls.renewal import DAY_S, LATEST_PART, renew_at
from cdn.tls.retry import HOUR_S, PAUSES_S, SPREAD, try_again_s

lives = st.sampled_from([1 * DAY_S, 6 * DAY_S, 45 * DAY_S, 90 * DAY_S])
points = st.floats(0, 1, exclude_max=True)


def tries_until(now: float, ends: float, back_at: float, point: float) -> list[float]:
    """When a renewal that is due is tried, with an authority that is away until `back_at`."""
    tries = [now]
    while tries[-1] < back_at:
        tries.append(tries[-1] + try_again_s(len(tries), point, None, ends - tries[-1]))
    return tries


@given(lives, points, st.floats(0, 1), st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_an_authority_that_comes_back_in_time_is_in_time(
    life_s: float, point: float, away: float, said: tuple[float, float] | None
) -> None:
    """However long it was away: what it takes after that is an eighth of what is left, or a first pause."""
    window = None if said is None else RenewalWindow(said[0] * life_s, said[1] * life_s, "", HOUR_S)
    begins = renew_at(0.0, life_s, window, point)
    assert life_s - begins >= LATEST_PART * life_s
    back_at = begins + away * (life_s - begins)
    tries = tries_until(begins, life_s, back_at, point)
    slack = 1 + SPREAD
    if life_s - back_at > 2 * PAUSES_S[0]:
        assert tries[-1] < life_s
    for earlier, later in pairwise(tries):
        left_s = life_s - earlier
        if left_s > 0:
            assert later - earlier <= max(left_s / 8, PAUSES_S[0]) * slack + 1e-3  # times are rounded


@given(points)
def test_a_day_without_the_authority_costs_few_tries(point: float) -> None:
    """With the usual certificates; those that end soon may have more."""
    tries = tries_until(60 * DAY_S, 90 * DAY_S, 61 * DAY_S, point)
    assert 17 <= len(tries) <= 21
    assert sum(at < 60 * DAY_S + HOUR_S for at in tries) <= 9
