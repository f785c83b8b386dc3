"""How many messages a hook takes."""

from __future__ import annotations

import contextlib

import pytest

from cdn.control.hook_rate import HookRate
from cdn.errors import TooMany


def test_a_minutes_worth_fills_up_evenly() -> None:
    now = 100.0
    rate = HookRate(6, lambda: now)
    for _ in range(6):
        rate.take("a")
    with pytest.raises(TooMany) as refused:
        rate.take("a")
    assert refused.value.retry_after_s == 10
    rate.take("b")
    now += 9.9
    with pytest.raises(TooMany):
        rate.take("a")
    now += 0.2
    rate.take("a")
    with pytest.raises(TooMany):
        rate.take("a")
    now += 1e6
    for _ in range(6):
        rate.take("a")
    with pytest.raises(TooMany):
        rate.take("a")


def test_0_is_any_number() -> None:
    rate, taken = HookRate(0, lambda: 0.0), 0
    for _ in range(1000):
        with contextlib.suppress(TooMany):
            rate.take("a")
            taken += 1
    assert taken == 1000
