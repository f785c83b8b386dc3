from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.cli.duration import MAX_DURATION_S, in_duration, parse_duration

GOOD = {"90s": 90, "5m": 300, "2h": 7200, "7d": 604_800, "1w": 604_800, "10": 10, "0": 0, "1.5m": 90, " 5M ": 300}
NONE = ("", "m", "-5m", "5 m", "5min", "1h30m", "inf", "nan", "1e3", "\u0665m", "5m\n5m", ".")


@pytest.mark.parametrize(("text", "seconds"), [*GOOD.items(), ("36500d", MAX_DURATION_S)])
def test_what_people_type(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_a_mistyped_century() -> None:
    with pytest.raises(ValueError, match="hundred years"):
        parse_duration("36501d")


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_a_sentence(text: str) -> None:
    try:
        assert 0 <= parse_duration(text) <= MAX_DURATION_S
    except ValueError as exc:
        assert "duration" in str(exc) or "hundred" in str(exc)  # noqa: PT017


@given(st.integers(0, MAX_DURATION_S))
def test_a_duration_that_is_shown_can_be_typed(seconds: int) -> None:
    assert parse_duration(in_duration(seconds)) == seconds


def test_the_largest_unit_is_shown() -> None:
    shown = [in_duration(seconds) for seconds in (0, 1, 90, 300, 7200, 604_800, 31_536_000, 0.5)]
    assert shown == ["0s", "1s", "90s", "5m", "2h", "7d", "365d", "0.5s"]
