"""Orders of an account in an hour."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.tls.account_budget import HOUR_S, AccountBudget


def test_a_burst_and_then_as_it_fills() -> None:
    budget: AccountBudget | None = AccountBudget.full(per_hour=60.0, burst=3, now=0.0)
    for _ in range(3):
        assert budget is not None
        assert budget.wait_s(0.0) == 0.0
        last, budget = budget, budget.taken(0.0)
    assert budget is not None
    assert last.orders == 1.0
    assert budget.taken(0.0) is None
    assert budget.wait_s(0.0) == 60.0
    assert budget.taken(59.0) is None
    assert budget.taken(60.0) is not None


def test_a_clock_that_is_set_back_gives_nothing() -> None:
    budget = AccountBudget.full(60.0, 1, 1000.0).taken(1000.0)
    assert budget is not None
    assert budget.taken(0.0) is None
    assert budget.wait_s(0.0) == 60.0
    assert budget.taken(1060.0) is not None


@given(
    st.floats(0.1, 1000),
    st.integers(1, 100),
    st.lists(st.floats(0, 600), max_size=200),
)
def test_no_more_than_the_burst_and_the_rate_in_any_time(per_hour: float, burst: int, steps: list[float]) -> None:
    now, budget, taken = 0.0, AccountBudget.full(per_hour, burst, 0.0), 0
    for step_s in steps:
        now += step_s
        after = budget.taken(now)
        if after is None:
            assert budget.wait_s(now) > 0
            assert budget.taken(now + budget.wait_s(now) + 1e-3) is not None
            continue
        assert budget.wait_s(now) == pytest.approx(0.0)
        budget, taken = after, taken + 1
        assert taken <= burst + now * per_hour / HOUR_S + 1e-6


def test_a_quiet_week_saves_nothing_up() -> None:
    budget: AccountBudget | None = AccountBudget.full(60.0, 3, 0.0)
    for _ in range(3):
        assert budget is not None
        budget = budget.taken(168 * HOUR_S)
    assert budget is not None
    assert budget.taken(168 * HOUR_S) is None
