"""What is read of purges in Fastly's API."""

from __future__ import annotations

import contextlib
import json
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput, TooLarge
from cdn.purge.fastly import MAX_KEYS, is_soft, read_key_purge, read_keys_purge, read_url_purge
from cdn.purge.request import PurgeRequest, scopes_of

_words = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("Z", "Cc", "Cs")), min_size=1, max_size=6))


@given(_words, _words)
def test_keys_are_those_of_the_field_or_else_of_the_content(in_field: list[str], in_content: list[str]) -> None:
    raw = json.dumps({"surrogate_keys": in_content}).encode()
    expected = tuple(dict.fromkeys(in_field or in_content))
    if not expected:
        with pytest.raises(InvalidInput):
            read_keys_purge(raw, " ".join(in_field), soft=False)
        return
    assert read_keys_purge(raw, "  ".join(in_field), soft=True) == PurgeRequest(tags=expected, soft=True)


@given(st.binary(max_size=60), st.none() | st.text(max_size=20))
def test_whatever_comes_is_read_or_refused_with_a_sentence(raw: bytes, value: str | None) -> None:
    with contextlib.suppress(InvalidInput):
        assert read_keys_purge(raw, value, soft=False).tags
    with contextlib.suppress(InvalidInput):
        is_soft(value)


def test_as_many_keys_as_the_vendor_takes() -> None:
    keys = [f"k{number}" for number in range(MAX_KEYS + 1)]
    assert len(read_keys_purge(b"", " ".join(keys[1:]), soft=False).tags) == MAX_KEYS
    assert len(read_keys_purge(b"", " ".join([*keys[1:], "k1"]), soft=False).tags) == MAX_KEYS
    with pytest.raises(TooLarge):
        read_keys_purge(b"", " ".join(keys), soft=False)


def test_one_key_may_have_spaces() -> None:
    assert read_key_purge("a b", soft=False) == PurgeRequest(tags=("a b",))


@pytest.mark.parametrize(("value", "soft"), [(None, False), ("", False), ("0", False), ("1", True), (" 1 ", True)])
def test_soft_is_one(value: str | None, soft: bool) -> None:
    assert is_soft(value) is soft


@pytest.mark.parametrize("value", ["true", "2", "1, 1"])
def test_soft_is_nothing_else(value: str) -> None:
    with pytest.raises(InvalidInput):
        is_soft(value)


@given(
    st.sampled_from(["", "http://", "https://", "HTTPS://"]),
    st.sampled_from(["www.example.com", "www.example.com:8080", "WWW.example.com"]),
    st.text("ab/-%2", max_size=6),
    st.none() | st.text("ab=&?", max_size=6),
)
def test_a_url_is_a_host_and_what_is_asked_of_it(scheme: str, host: str, path: str, query: str | None) -> None:
    """Against the standard library's reading of the same URL."""
    text = f"{scheme}{host}/{path}" + ("" if query is None else f"?{query}")
    found, purge = read_url_purge(text, soft=False)
    parts = urlsplit(f"http://{host}/{path}" + ("" if query is None else f"?{query}"))
    assert found == parts.netloc
    (url,) = purge.urls
    assert (urlsplit(url).netloc, urlsplit(url).path, urlsplit(url).query) == (parts.netloc, parts.path, parts.query)


@pytest.mark.parametrize(
    ("text", "url"),
    [("www.example.com", "http://www.example.com/"), ("www.example.com?a", "http://www.example.com/?a")],
)
def test_without_a_path_it_is_the_root(text: str, url: str) -> None:
    assert read_url_purge(text, soft=True) == ("www.example.com", PurgeRequest(urls=(url,), soft=True))


@pytest.mark.parametrize("text", ["", "/a", "https://", "?a", "http:///a"])
def test_a_url_without_a_host_is_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_url_purge(text, soft=False)


@given(st.text(max_size=30))
def test_no_text_becomes_a_purge_of_another_host(text: str) -> None:
    """The host that is checked is the host of the URL that is purged: nothing in the text makes two of them."""
    try:
        host, purge = read_url_purge(text, soft=False)
        scopes = scopes_of(purge, lambda name: name == "www.example.com")
    except InvalidInput:
        return
    assert scopes
    assert host.lower().rstrip(".").partition(":")[0].rstrip(".") == "www.example.com"
