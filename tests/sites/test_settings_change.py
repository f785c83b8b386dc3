"""Changes of settings: which are possible, and which make what is stored unusable."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdn.errors import Conflict
from cdn.sites.origin import BucketOrigin, HttpOrigin
from cdn.sites.query_policy import DropQuery
from cdn.sites.settings import SiteSettings
from cdn.sites.settings_change import check_change, is_stored_unfit

BUNDLES = SiteSettings()
SERVER = SiteSettings(origin=HttpOrigin("https", "a.example", 443))
BUCKET = SiteSettings(origin=BucketOrigin("bucket"))


def test_an_upstream_takes_the_place_of_another() -> None:
    for before, after in ((SERVER, BUCKET), (BUCKET, SERVER), (BUNDLES, replace(BUNDLES, retention_s=1))):
        check_change("blog", before, after)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (BUNDLES, SERVER, "is deployed as bundles and cannot be answered from https://a.example"),
        (BUCKET, BUNDLES, "is answered from s3://bucket and cannot be deployed as bundles"),
    ],
)
def test_bundles_and_upstreams_stay_apart(before: SiteSettings, after: SiteSettings, said: str) -> None:
    with pytest.raises(Conflict, match=rf"'blog' {said}: .* Create another site and move the domains"):
        check_change("blog", before, after)


@pytest.mark.parametrize(
    "after",
    [
        BUCKET,
        replace(SERVER, origin=HttpOrigin("https", "a.example", 443, "/b")),
        replace(SERVER, upstream_host="visitor"),
        replace(SERVER, stores_set_cookie=False),
    ],
)
def test_what_another_upstream_said_is_not_used(after: SiteSettings) -> None:
    assert is_stored_unfit(SERVER, after)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((), (), False),
        ((), ("eu",), True),
        (("eu",), (), False),
        (("eu",), ("us", "eu"), False),
        (("eu", "us"), ("eu",), True),
        (("eu",), ("us",), True),
    ],
)
def test_what_lies_where_it_no_longer_may_is_not_used(
    before: tuple[str, ...], after: tuple[str, ...], expected: bool
) -> None:
    assert is_stored_unfit(replace(BUNDLES, region=before), replace(BUNDLES, region=after)) is expected


@pytest.mark.parametrize(
    "after", [SERVER, replace(SERVER, query=DropQuery(), edge_ttl_s=5, compresses=False, negative_ttl_s=0)]
)
def test_what_still_fits_stays(after: SiteSettings) -> None:
    assert not is_stored_unfit(SERVER, after)
    assert not is_stored_unfit(replace(SERVER, stores_set_cookie=False), SERVER)
