from __future__ import annotations

import pytest

from cdn.http.target import HostName, parse_host


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("example.com", HostName("example.com", None)),
        ("Blog.CDN.localhost:8080", HostName("blog.cdn.localhost", 8080)),
        ("example.com.", HostName("example.com", None)),
        ("example.com.:443", HostName("example.com", 443)),
        ("example.com:", HostName("example.com", None)),
        ("next--blog.cdn.localhost", HostName("next--blog.cdn.localhost", None)),
        ("_acme.example.com", HostName("_acme.example.com", None)),
        ("localhost", HostName("localhost", None)),
        ("127.0.0.1:65535", HostName("127.0.0.1", 65535)),
        ("[::1]", HostName("[::1]", None)),
        ("[2001:DB8:0:0:0:0:0:1]:8080", HostName("[2001:db8::1]", 8080)),
        ("a" * 63 + ".example", HostName("a" * 63 + ".example", None)),
        (".".join(["a" * 49] * 5) + ".abc", HostName(".".join(["a" * 49] * 5) + ".abc", None)),
    ],
)
def test_well_formed(raw: str, expected: HostName) -> None:
    assert parse_host(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        "",
        ".",
        ":80",
        "a..b",
        ".a",
        "a..",
        "a b",
        " a",
        "a,b",
        "a/b",
        "user@a",
        "a:b",
        "a:80:80",
        "a:0",
        "a:65536",
        "a:123456",
        "a:-1",
        "a:+80",
        "a:８０",
        "bücher.example",
        "a%6Db.example",
        "a\x00b",
        "example.com\n",
        "a" * 64 + ".example",
        ".".join(["a" * 49] * 5) + ".abcd",
        "[::1",
        "::1",
        "[::1]x",
        "[:::]",
        "[1.2.3.4]",
        "[fe80::1%25eth0]",
        "[v1.a]",
        "[::1]:99999",
    ],
)
def test_malformed(raw: str) -> None:
    assert parse_host(raw) is None
