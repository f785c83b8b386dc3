from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.http.cdn_loop import has_loop, with_loop
from cdn.http.fields import Fields

CDN_ID = "cdn.example:8443"


def _has(*values: str) -> bool:
    return has_loop(Fields(tuple(("cdn-loop", value) for value in values)), CDN_ID)


@pytest.mark.parametrize(
    "values",
    [
        (CDN_ID,),
        ("CDN.Example:8443",),
        (f"other, {CDN_ID}",),
        (f'other;a=b;c="d, e" , {CDN_ID} ; v=1',),
        ("other", "", f"{CDN_ID};x"),
        (f'other;a="\\"", {CDN_ID}',),
        # What would hide the rest of the field in a quote hides nothing.
        (f'other;a=", {CDN_ID}',),
        (f'other;a="\\", {CDN_ID}',),
    ],
)
def test_loops(values: tuple[str, ...]) -> None:
    assert _has(*values)


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("other",),
        ("cdn.example",),
        (f"x{CDN_ID}", f"{CDN_ID}x"),
        (f"other;by={CDN_ID}",),
        (f'other;by="a, {CDN_ID}"',),
        (f'other;by="a, {CDN_ID}, b", c',),
    ],
)
def test_no_loops(values: tuple[str, ...]) -> None:
    assert not _has(*values)


def test_what_came_goes_on_unchanged() -> None:
    assert with_loop(None, CDN_ID) == CDN_ID
    assert with_loop("", CDN_ID) == CDN_ID
    assert with_loop('a;b="c", d', CDN_ID) == f'a;b="c", d, {CDN_ID}'


@given(st.none() | st.text(st.characters(max_codepoint=255), max_size=40))
@settings(deadline=None)
def test_nothing_that_came_before_hides_that_it_was_here(value: str | None) -> None:
    assert _has(with_loop(value and value.strip(" \t"), CDN_ID))


def test_a_long_value_that_names_the_network_anywhere_is_a_loop() -> None:
    assert not has_loop(Fields((("cdn-loop", "other, " * 1000),)), "edge.example")
    assert has_loop(Fields((("cdn-loop", "other, " * 1000 + "EDGE.example;a=1"),)), "edge.example")
    assert not has_loop(Fields((("cdn-loop", "other, " * 200 + "not-edge.example"),)), "edge.example")
    assert has_loop(Fields((("cdn-loop", "other, " * 1000 + "not-edge.example"),)), "edge.example")
