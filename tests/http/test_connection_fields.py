from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.http.connection_fields import (
    CONNECTION_FIELDS,
    NEVER_CONNECTION_OPTIONS,
    connection_options,
    without_connection_fields,
)


def test_what_connection_names_goes_with_it() -> None:
    lines = (("connection", "a, B"), ("a", "1"), ("b", "2"), ("c", "3"), ("connection", "\tclose ,D,"), ("d", "4"))
    assert without_connection_fields(lines) == (("c", "3"),)
    assert connection_options(lines) == {"a", "b", "close", "d"}


@pytest.mark.parametrize("name", sorted(CONNECTION_FIELDS))
def test_what_always_ends_at_the_connection(name: str) -> None:
    assert without_connection_fields((("x", "1"), (name, "a"), ("x", "2"))) == (("x", "1"), ("x", "2"))


def test_what_is_meant_for_everybody_stays() -> None:
    """Proxy-Status (RFC 9209) goes end to end, whatever it begins with."""
    lines = (("proxy-status", "edge"), ("proxy-foo", "1"), ("set-cookie", "a=b"), ("set-cookie", "c=d"))
    assert without_connection_fields(lines) == lines


@pytest.mark.parametrize("name", sorted(NEVER_CONNECTION_OPTIONS))
def test_no_connection_field_takes_a_message_its_meaning(name: str) -> None:
    lines = (("connection", f"x, {name.title()}"), ("x", "1"), (name, "private"))
    assert without_connection_fields(lines) == ((name, "private"),)


@given(st.lists(st.tuples(st.sampled_from(["connection", "te", "a", "b", "vary"]), st.text(max_size=8))))
@settings(deadline=None)
def test_only_whole_lines_go_and_never_twice(lines: list[tuple[str, str]]) -> None:
    kept = without_connection_fields(tuple(lines))
    assert without_connection_fields(kept) == kept
    named = {part.strip(" \t").lower() for name, value in lines if name == "connection" for part in value.split(",")}
    expected = [line for line in lines if line[0] not in {"connection", "te"} | (named - {"vary"})]
    assert list(kept) == expected
