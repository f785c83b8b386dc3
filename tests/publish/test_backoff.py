from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cdn.publish.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(first_s=0.5, longest_s=3.0)
    assert [backoff.wait_s(failures, jitter=1.0) for failures in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_no_jitter_is_half_of_the_wait() -> None:
    assert Backoff(first_s=0.5).wait_s(1, jitter=0.0) == 0.25


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_any_number_of_failures_waits_within_bounds(failures: int, jitter: float) -> None:
    backoff = Backoff()
    assert backoff.first_s / 2 <= backoff.wait_s(failures, jitter) <= backoff.longest_s
