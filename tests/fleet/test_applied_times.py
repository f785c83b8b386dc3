"""When nodes applied what: against a plain list, within bounds, and packed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.fleet.applied_times import AppliedTimes, unpacked
from cdn.fleet.position import Position

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("note"), st.integers(1, 5), st.booleans()),
        st.tuples(st.just("retreat"), st.integers(0, 60), st.just(True)),
    ),
    max_size=40,
)


def at(sequence: int, epoch: str = "e") -> Position:
    return Position(epoch, sequence)


def played(steps: list[tuple[str, int, bool]], most: int) -> tuple[AppliedTimes, list[tuple[int, float, bool]]]:
    """Both the times and every acknowledgement that is still true, however old."""
    times, plain, now = AppliedTimes("e"), list[tuple[int, float, bool]](), 100.0
    for word, number, is_exact in steps:
        now += 1
        if word == "note":
            sequence = times.last + number
            times.note(sequence, now, most, is_exact=is_exact)
            plain.append((sequence, now, is_exact))
        else:
            times.retreat(number)
            plain = [each for each in plain if each[0] <= number]
    return times, plain


@given(_STEPS, st.integers(1, 10), st.integers(1, 10))
def test_what_is_known_is_true_and_the_newest_is_known(
    steps: list[tuple[str, int, bool]], most: int, kept: int
) -> None:
    times, plain = played(steps, most)
    assert len(times) <= most
    packed = unpacked("e", times.packed(kept))
    assert packed is not None
    assert len(packed) == min(kept, len(times))
    for sequence in range(220):
        truth = next((each for each in plain if each[0] >= sequence), None)
        for known in (times, packed):
            when, by = known.at(at(sequence)), known.by(at(sequence))
            assert truth is not None or (when, by) == (None, None)
            if truth is not None and when is not None:
                assert (when, truth[2]) == (truth[1], True)
            if truth is not None and by is not None:
                assert by >= truth[1]
            if truth is not None and sequence > known.since:
                assert (when, by) == (truth[1] if truth[2] else None, truth[1])


def test_other_epochs_are_not_known() -> None:
    times = AppliedTimes("e")
    times.note(5, 100.0, 10)
    assert (times.at(at(5)), times.at(at(5, "f")), times.by(at(5, "f"))) == (100.0, None, None)
    assert (times.at(at(6)), times.last) == (None, 5)


def test_what_goes_first_is_known_as_a_bound_only() -> None:
    times = AppliedTimes("e")
    for sequence in range(1, 8):
        times.note(sequence, 100.0 + sequence, 3)
    assert (times.at(at(4)), times.by(at(4))) == (None, 105.0)
    assert (times.at(at(5)), times.by(at(5))) == (105.0, 105.0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01",
        b"\x02" + AppliedTimes("e").packed(1)[1:],
        AppliedTimes("e").packed(1) + b"x",
        AppliedTimes("e", 9).packed(1) + AppliedTimes("e").packed(1),
    ],
)
def test_what_is_damaged_says_nothing(raw: bytes) -> None:
    assert unpacked("e", raw) is None


def test_sequences_that_do_not_rise_say_nothing() -> None:
    first, second = AppliedTimes("e"), AppliedTimes("e")
    first.note(5, 1.0, 9)
    second.note(4, 2.0, 9)
    head = AppliedTimes("e").packed(1)
    entries = first.packed(9)[len(head) :] + second.packed(9)[len(head) :]
    assert unpacked("e", head + entries) is None
