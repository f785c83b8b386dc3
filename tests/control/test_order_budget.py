"""Orders of an hour among sites."""

from __future__ import annotations

import pytest

from cdn.control.order_budget import MAX_SITES, OrderBudget

HOUR_S = 3600.0


def ordered(budget: OrderBudget, site_id: str, now: float) -> int:
    """As many as it gets at once."""
    count = 0
    while budget.take(site_id, now) == 0.0:
        count += 1
    return count


def test_a_site_that_orders_without_end_puts_off_no_other() -> None:
    budget = OrderBudget(100.0, 0.0)
    assert ordered(budget, "greedy", 0.0) == 40
    for second in range(0, 7200, 36):
        budget.take("greedy", float(second))
        if second % 720 == 0:
            assert budget.take(f"other-{second}", float(second)) == 0.0


def test_a_site_alone_has_nearly_all() -> None:
    budget, count = OrderBudget(100.0, 0.0), 0
    for second in range(0, 10 * 3600, 9):
        count += budget.take("only", float(second)) == 0.0
    assert 1030 <= count <= 1050, "as many as the account may make"


@pytest.mark.parametrize("per_hour", [0.1, 1.0, 2.0, 3.0, 100.0])
def test_whoever_waits_as_long_as_is_said_gets_an_order(per_hour: float) -> None:
    budget = OrderBudget(per_hour, 0.0)
    now = 0.0
    for _ in range(200):
        wait_s = budget.take("only", now)
        if wait_s:
            now += wait_s + 1e-3
            assert budget.take("only", now) == 0.0


def test_what_is_known_of_sites_is_bounded() -> None:
    budget = OrderBudget(1e9, 0.0)
    for number in range(2 * MAX_SITES + 1):
        assert budget.take(f"site-{number}", HOUR_S) == 0.0
    assert len(budget._sites) <= MAX_SITES
