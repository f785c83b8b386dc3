"""Forms as browsers and clients send them, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.control.form_data import MAX_HEAD_BYTES, MAX_PARTS, read_form
from cdn.errors import InvalidInput

BOUNDARY = "----b0undary"


def form_of(parts: dict[str, bytes]) -> bytes:
    head = b'--%s\r\nContent-Disposition: form-data; filename="f"; name="%s"\r\nContent-Type: text/plain\r\n\r\n%s\r\n'
    sections = [head % (BOUNDARY.encode(), name.encode(), value) for name, value in parts.items()]
    return b"".join(sections) + b"--%s--\r\n" % BOUNDARY.encode()


@given(
    st.dictionaries(
        st.from_regex(r"[a-zA-Z_.-]{1,20}", fullmatch=True),
        st.binary(max_size=60).filter(lambda value: BOUNDARY.encode() not in value),
        max_size=8,
    )
)
def test_every_part_is_read_as_it_was_sent(parts: dict[str, bytes]) -> None:
    assert read_form(form_of(parts), BOUNDARY) == parts


@given(st.binary(max_size=200) | st.sampled_from([form_of({"a": b"x"})[:n] for n in range(90)]))
def test_whatever_comes_is_read_or_refused(content: bytes) -> None:
    try:
        form = read_form(content, BOUNDARY)
    except InvalidInput:
        return
    assert all(isinstance(name, str) for name in form)


@pytest.mark.parametrize("boundary", [None, "", "a" * 71, "a\r\nb", "a ", "ä"])
def test_a_boundary_that_can_be_none_is_refused(boundary: str | None) -> None:
    with pytest.raises(InvalidInput):
        read_form(form_of({"a": b"x"}), boundary)


def test_parts_are_bounded_and_named_once() -> None:
    assert len(read_form(form_of({f"p{n}": b"" for n in range(MAX_PARTS)}), BOUNDARY)) == MAX_PARTS
    with pytest.raises(InvalidInput, match="at most"):
        read_form(form_of({f"p{n}": b"" for n in range(MAX_PARTS + 1)}), BOUNDARY)
    end = len(f"--{BOUNDARY}--\r\n")
    twice = form_of({"a": b"1"})[:-end] + form_of({"a": b"2"})
    with pytest.raises(InvalidInput, match="two parts"):
        read_form(twice, BOUNDARY)


def test_only_so_much_of_a_part_is_searched_for_its_name() -> None:
    head = f'X-Long: {"a" * MAX_HEAD_BYTES}\r\nContent-Disposition: form-data; name="a"'
    with pytest.raises(InvalidInput, match="no name"):
        read_form(f"--{BOUNDARY}\r\n{head}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(), BOUNDARY)
