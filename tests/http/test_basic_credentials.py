"""The Basic scheme (RFC 7617)."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.basic_credentials import MAX_CREDENTIALS_OCTETS, BasicCredentials, basic_credentials


def field(text: str | bytes, scheme: str = "Basic ") -> str:
    return scheme + b64encode(text.encode() if isinstance(text, str) else text).decode()


def test_the_examples_of_the_standard() -> None:
    assert basic_credentials("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==") == BasicCredentials("Aladdin", "open sesame")
    assert basic_credentials("Basic dGVzdDoxMjPCow==") == BasicCredentials("test", "123\u00a3")


def test_a_password_is_in_no_text() -> None:
    assert "sesame" not in repr(basic_credentials("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="))


@pytest.mark.parametrize("scheme", ["basic ", "BASIC   "])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    assert basic_credentials(field("a:b", scheme)) == BasicCredentials("a", "b")


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Bearer abc",
        "Basic",
        "Basic a:b",
        "Basic YTpi!",
        "Basic YTp",
        field("without a colon"),
        field("a:b\nc"),
        field("a:b\x7f"),
        field(b"a:\xff"),
        field("a:" + "b" * MAX_CREDENTIALS_OCTETS),
        field("a:" + "b" * 10 * MAX_CREDENTIALS_OCTETS),
    ],
)
def test_what_is_none(value: str | None) -> None:
    assert basic_credentials(value) is None


@given(
    st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters=":"), max_size=50),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=50),
)
def test_what_is_written_is_read(user: str, password: str) -> None:
    found = basic_credentials(field(f"{user}:{password}"))
    assert found == BasicCredentials(user, password)


@given(st.text(max_size=60))
def test_anything_may_come(value: str) -> None:
    basic_credentials(value)
    basic_credentials(f"Basic {value}")
