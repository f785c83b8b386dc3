"""What a node calls its load."""

from __future__ import annotations

import pytest

from cdn.edge.load import MAX_SAMPLES, WINDOW_S, LoadMeter


def test_it_is_what_of_the_last_seconds_the_loop_has_used() -> None:
    meter = LoadMeter()
    assert meter.share(5.0, 100.0) == 0.0, "what was before the first look is not known"
    assert meter.share(6.0, 102.0) == 0.5
    assert meter.share(10.0, 106.0) == pytest.approx(5 / 6)
    for second in range(2, 40, 2):
        last = meter.share(10.0, 106.0 + second)
    assert last == 0.0, "what was busy is forgotten after the window"
    assert meter.share(10.0, 144.0) == 0.0


def test_looking_often_keeps_little() -> None:
    meter = LoadMeter()
    for number in range(10 * MAX_SAMPLES):
        share = meter.share(number * 0.01, number * 0.1)
    assert share == pytest.approx(0.1)
    assert len(meter._samples) <= MAX_SAMPLES < 10 * WINDOW_S
