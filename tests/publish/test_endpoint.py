from __future__ import annotations

import pytest

from cdn.errors import InvalidInput
from cdn.publish.endpoint import Endpoint


@pytest.mark.parametrize("url", ["http://127.0.0.1:8700", "http://127.0.0.1:8700/", "https://cdn.example/control/"])
def test_a_base_url_is_joined_with_paths(url: str) -> None:
    assert Endpoint(url, None).locate("/v1/sites") == url.rstrip("/") + "/v1/sites"


NOT_URLS = [
    *("", "127.0.0.1:8700", "ftp://host", "http://", "http://host?x=1", "http://host#x", "http://host:port"),
    *("http://host:99999", "http://ho st", "http://h\x00st", "http://h\nst", "http://h\u00f6st", "http://[::1"),
]


@pytest.mark.parametrize("url", NOT_URLS)
def test_what_is_no_base_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(InvalidInput, match="is not the URL of a control plane") as caught:
        Endpoint(url, None)
    assert caught.value.field == "control_url"


@pytest.mark.parametrize("token", ["a\nb", "\u00fc", "a\x00", "a\r\nX-Evil: 1"])
def test_a_token_that_would_break_its_field_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match="token"):
        Endpoint("http://127.0.0.1", token)


def test_the_token_travels_as_bearer_and_no_token_as_nothing() -> None:
    assert Endpoint("http://127.0.0.1", "cdn_a_b").fields()["Authorization"] == "Bearer cdn_a_b"
    assert "Authorization" not in Endpoint("http://127.0.0.1", None).fields()
