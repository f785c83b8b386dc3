from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.http.search_params import decode_component, search_params


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        (None, []),
        ("", []),
        ("&&", []),
        ("a", [("a", "")]),
        ("a=", [("a", "")]),
        ("=", [("", "")]),
        ("=b", [("", "b")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=1&&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("%61=%78", [("a", "x")]),
        ("a+b=%2B+", [("a b", "+ ")]),
        ("a=%F6", [("a", "\ufffd")]),
        ("a=%EF%BB%BFx", [("a", "\ufeffx")]),
        ("a=%C3%A9;b", [("a", "é;b")]),
        ("a=%zz%", [("a", "%zz%")]),
    ],
)
def test_pairs(query: str | None, pairs: list[tuple[str, str]]) -> None:
    assert search_params(query) == pairs


@given(st.text(st.characters(codec="ascii"), max_size=40))
@settings(deadline=None)
def test_as_the_standard_library_reads_forms(query: str) -> None:
    assert search_params(query) == parse_qsl(query, keep_blank_values=True)


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5))))
@settings(deadline=None)
def test_what_was_encoded_comes_back(pairs: list[tuple[str, str]]) -> None:
    assert search_params(urlencode(pairs, errors="replace")) == [
        (name.encode(errors="replace").decode(), value.encode(errors="replace").decode()) for name, value in pairs
    ]


@given(st.text())
@settings(deadline=None)
def test_no_text_raises(text: str) -> None:
    decode_component(text).encode()
