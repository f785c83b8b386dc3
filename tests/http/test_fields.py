from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from cdn.http.fields import Fields


def test_lines_of_one_name_are_combined_in_order() -> None:
    fields = Fields((("accept", "a"), ("host", "x"), ("accept", "b"), ("accept", "")))
    assert fields.get("accept") == "a, b, "
    assert fields.get_all("accept") == ("a", "b", "")
    assert fields.get("host") == "x"


def test_absent_fields() -> None:
    fields = Fields((("host", "x"),))
    assert fields.get("accept") is None
    assert fields.get_all("accept") == ()
    assert "accept" not in fields
    assert "host" in fields


def test_iterates_over_lines_in_wire_order() -> None:
    lines = (("b", "1"), ("a", "2"), ("b", "3"))
    assert tuple(Fields(lines)) == lines
    assert len(Fields(lines)) == 3
    assert len(Fields()) == 0


def test_names_are_given_once_each() -> None:
    assert set(Fields((("b", "1"), ("a", "2"), ("b", "3"))).names) == {"a", "b"}
    assert not Fields().names


def test_is_a_value() -> None:
    assert Fields((("a", "1"),)) == Fields((("a", "1"),))
    assert Fields((("a", "1"),)) != Fields((("a", "2"),))
    with pytest.raises(FrozenInstanceError):
        Fields().lines = ()  # type: ignore[misc]
