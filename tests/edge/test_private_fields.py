"""What caches are told of answers that depended on who asks."""

from __future__ import annotations

import pytest

from cdn.edge.private_fields import private_fields, unindexed


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("public, max-age=0, must-revalidate", "private, max-age=0, must-revalidate"),
        ("public, max-age=31536000, immutable", "private, max-age=31536000, immutable"),
        ("max-age=60", "private, max-age=60"),
        ("Public", "private"),
        ("no-store", "no-store"),
        ("private, max-age=5", "private, max-age=5"),
        ("max-age=5 , Private", "max-age=5 , Private"),
        ('private="set-cookie", max-age=5', 'private, private="set-cookie", max-age=5'),
        ("proxy-private, max-age=5", "private, proxy-private, max-age=5"),
        ("no-store, must-understand, max-age=5", "private, no-store, must-understand, max-age=5"),
        (None, "private"),
    ],
)
def test_no_shared_cache_keeps_it(given: str | None, said: str) -> None:
    fields = (("etag", '"a"'), *((("cache-control", given),) if given is not None else ()))
    assert dict(private_fields(fields)) == {"etag": '"a"', "cache-control": said}


def test_nor_does_one_that_is_spoken_to_by_name() -> None:
    targeted = ("cdn-cache-control", "netlify-cdn-cache-control", "surrogate-control", "edge-control")
    fields = (*((name, "max-age=9") for name in targeted), ("cache-control", "public"))
    assert private_fields(fields) == (("cache-control", "private"),)


def test_the_visitors_own_cache_asks_again_when_they_ask_otherwise() -> None:
    fields = (("cache-control", "no-store"), ("vary", "accept-encoding"))
    assert private_fields(fields, ("cookie", "accept-language")) == (*fields, ("vary", "cookie, accept-language"))


def test_a_preview_is_in_no_index() -> None:
    assert unindexed((("x-robots-tag", "all"), ("a", "b"))) == (("a", "b"), ("x-robots-tag", "noindex"))
