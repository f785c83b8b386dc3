"""References of upstreams, as visitors can follow them."""

from __future__ import annotations

import pytest

from cdn.sites.origin import HttpOrigin
from cdn.sites.upstream_reference import visitor_reference

PLAIN = HttpOrigin("https", "origin.example", 443)
BELOW = HttpOrigin("http", "origin.example", 8000, "/app")


@pytest.mark.parametrize(
    ("reference", "seen"),
    [
        ("https://origin.example/login", "/login"),
        ("https://ORIGIN.example/login?next=%2F#top", "/login?next=%2F#top"),
        ("https://origin.example", "/"),
        ("https://origin.example?a=1", "/?a=1"),
        ("https://asked.example/login", "/login"),
        ("/login", "/login"),
        ("login", "login"),
        ("http://origin.example/login", "http://origin.example/login"),
        ("https://origin.example.evil/", "https://origin.example.evil/"),
        ("https://origin.example:8443/", "https://origin.example:8443/"),
        ("//origin.example/login", "//origin.example/login"),
        ("https://origin.example//evil.example/", "https://origin.example//evil.example/"),
        ("", ""),
    ],
)
def test_of_an_origin_without_prefix(reference: str, seen: str) -> None:
    assert visitor_reference(reference, PLAIN, "asked.example") == seen


@pytest.mark.parametrize(
    ("reference", "seen"),
    [
        ("/app/login", "/login"),
        ("/app", "/"),
        ("/app?a=1", "/?a=1"),
        ("/application", "/application"),
        ("/other", "/other"),
        ("http://origin.example:8000/app/x", "/x"),
        ("http://origin.example:8000/other", "http://origin.example:8000/other"),
        ("/app//evil.example/", "/app//evil.example/"),
    ],
)
def test_of_an_origin_with_prefix(reference: str, seen: str) -> None:
    assert visitor_reference(reference, BELOW, "origin.example:8000") == seen
