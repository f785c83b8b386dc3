"""A node's place in the journal, read as a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.fleet.head_times import GRAIN_S, MAX_MARKS, HeadTimes
from cdn.fleet.position import Position


def at(sequence: int, epoch: str = "e") -> Position:
    return Position(epoch, sequence)


@pytest.mark.parametrize(
    ("position", "since"),
    [
        (at(5), 100.0),
        (at(9), 100.0),
        (at(10), 107.0),
        (at(11), 107.0),
        (at(12), 108.0),
        (at(20), None),
        (at(21), None),
        (at(99, "other"), 100.0),
        (None, 100.0),
    ],
)
def test_since_when_a_node_is_behind(position: Position | None, since: float | None) -> None:
    head = HeadTimes(at(10), 100.0)  # the journal held ten records when the observer came
    head.reached(at(12), 107.0)
    head.reached(at(11), 107.5)
    head.reached(at(20), 108.0)
    assert head.end == at(20)
    assert head.behind_since(position) == since


def test_another_epoch_begins_anew() -> None:
    head = HeadTimes(at(10), 100.0)
    head.reached(at(3, "new"), 105.0)
    assert head.behind_since(at(10)) == 105.0
    assert head.behind_since(at(2, "new")) == 105.0
    assert head.behind_since(at(3, "new")) is None


def test_marks_are_bounded_and_what_is_older_counts_from_the_oldest() -> None:
    head = HeadTimes(at(0), 0.0)
    for n in range(1, MAX_MARKS + 100):
        head.reached(at(n), float(n))
    assert head.behind_since(at(0)) == 100.0
    assert head.behind_since(at(MAX_MARKS)) == MAX_MARKS + 1


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 3)), max_size=60), st.integers(0, 100))
def test_lag_is_overstated_by_a_grain_at_most_and_never_understated(
    steps: list[tuple[float, int]], sequence: int
) -> None:
    now, end = 50.0, 10
    head = HeadTimes(at(end), now)
    born = dict.fromkeys(range(1, end + 1), now)
    for wait_s, records in steps:
        now += wait_s
        born |= dict.fromkeys(range(end + 1, end + records + 1), now)
        end += records
        head.reached(at(end), now)
    exact = born.get(sequence + 1)
    found = head.behind_since(at(sequence))
    if exact is None:
        assert found is None
    else:
        assert found is not None
        assert exact - GRAIN_S <= found <= exact
