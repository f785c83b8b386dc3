"""The digest by which wrangler names files, beside digests that wrangler itself sent."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.control.pages_digest import digests_that_may_be, extension_of, is_pages_digest, pages_digest

SENT_BY_WRANGLER = [
    ("404.html", b"nf\n", "e0fcc6b67b8199d080a46c9055e433a5", "text/html"),
    ("index.html", b"<h1>hello</h1>\n", "f17fd9f85e7289b774b95ae8215bee61", "text/html"),
    ("assets/app.css", b"body{color:red}\n", "43e456f8a22e2fbfa26f90b6fd5ee9aa", "text/css"),
]


@pytest.mark.parametrize(("path", "content", "digest", "media_type"), SENT_BY_WRANGLER)
def test_digests_are_those_that_wrangler_sends(path: str, content: bytes, digest: str, media_type: str) -> None:
    assert pages_digest(content, extension_of(path)) == digest
    assert digest in digests_that_may_be(base64.b64encode(content), media_type)


@pytest.mark.parametrize(
    ("path", "extension"),
    [  # what Node's path.extname gives
        (".hidden", ""), ("..a", "a"), ("a.", ""), ("a.b.c", "c"), ("...", ""), ("a", ""), ("x/.b.c", "c"),
        ("a..b", "b"), ("..b.", ""), ("..a.b", "b"), (".a.", ""), ("x.y/z", ""),
    ],
)  # fmt: skip
def test_extensions_are_those_of_node(path: str, extension: str) -> None:
    assert extension_of(path) == extension


@given(st.binary(max_size=50), st.sampled_from(["", "js", "html", "woff2"]))
def test_a_digest_is_that_of_one_extension_alone(content: bytes, extension: str) -> None:
    digest = pages_digest(content, extension)
    assert is_pages_digest(digest)
    assert digest != pages_digest(content, extension + "x")
    assert digest not in digests_that_may_be(base64.b64encode(content + b"x"), "text/html; charset=utf-8")


@pytest.mark.parametrize("text", ["", "A" * 32, "a" * 31, "a" * 33, "g" * 32, None, 1])
def test_what_is_no_digest(text: object) -> None:
    assert not is_pages_digest(text)
