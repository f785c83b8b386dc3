from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.http.list_field import has_open_quote, list_members


@pytest.mark.parametrize(
    ("value", "members"),
    [
        ("", ("",)),
        ("a", ("a",)),
        (" a ,\tb", ("a", "b")),
        ("a,,b,", ("a", "", "b", "")),
        ('"a, b" , c', ('"a, b"', "c")),
        (r'"a\", b", c', (r'"a\", b"', "c")),
        (r'"a\\", b', (r'"a\\"', "b")),
        (r"a\, b", (r"a\\"[:2], "b")),
        ('a="x, y"; b, c', ('a="x, y"; b', "c")),
        ('a, "b, c', ("a", '"b, c')),
    ],
)
def test_members(value: str, members: tuple[str, ...]) -> None:
    assert list_members(value) == members


@pytest.mark.parametrize(
    ("value", "is_open"),
    [("a", False), ('"a"', False), ('"a', True), (r'"a\"', True), (r"\"a", True), ('"a" "', True), ('"\\', True)],
)
def test_open_quotes(value: str, is_open: bool) -> None:
    assert has_open_quote(value) is is_open


@given(st.text(alphabet='a ,"\\\t', max_size=30))
@settings(deadline=None)
def test_no_text_is_lost_or_made_up(value: str) -> None:
    members = list_members(value)
    assert len(members) <= value.count(",") + 1
    assert "".join("".join(members).split()) in {
        "".join(value.split()),
        # A separating comma is in no member; those in quotes are.
        "".join(_without_separators(value).split()),
    }


def _without_separators(value: str) -> str:
    """Character by character, as the grammar says it."""
    kept, is_quoted, is_escaped = "", False, False
    for char in value:
        if is_escaped:
            is_escaped = False
        elif char == '"':
            is_quoted = not is_quoted
        elif char == "\\" and is_quoted:
            is_escaped = True
        if char != "," or is_quoted:
            kept += char
    return kept


@pytest.mark.parametrize("unit", ['"', '\\"', '",', ",", '"\\'])
def test_hostile_values_take_linear_time(unit: str) -> None:
    value = unit * 200_000
    started = time.process_time()
    list_members(value)
    has_open_quote(value)
    assert time.process_time() - started < 2.0
