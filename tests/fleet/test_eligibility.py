"""Which nodes may have a site's bytes."""

from __future__ import annotations

import pytest

from cdn.errors import InvalidInput
from cdn.fleet.eligibility import Eligibility, eligibility, eligible
from cdn.fleet.node import NodeFacts
from cdn.sites.region import MAX_REGION_OCTETS, check_region
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site


@pytest.mark.parametrize(
    ("of_node", "of_site", "expected"),
    [
        ("", (), Eligibility.ANYWHERE),
        ("eu", (), Eligibility.ANYWHERE),
        ("eu", ("eu",), Eligibility.IN_REGION),
        ("eu", ("us", "eu"), Eligibility.IN_REGION),
        ("eu", ("us",), Eligibility.OUTSIDE),
        ("eu-west", ("eu",), Eligibility.OUTSIDE),
        ("eu", ("eu-west",), Eligibility.OUTSIDE),
        ("EU", ("eu",), Eligibility.OUTSIDE),
        ("nowhere-known", ("eu",), Eligibility.OUTSIDE),
        ("", ("eu",), Eligibility.UNPLACED),
    ],
)
def test_a_site_is_answered_where_it_may_be(of_node: str, of_site: tuple[str, ...], expected: Eligibility) -> None:
    node = NodeFacts("0.1", of_node)
    site = Site("s1", "blog", 0.0, SiteSettings(region=of_site))
    assert eligibility(node, site) is expected
    assert eligible(node, site) is expected.allows
    assert expected.allows is (expected in {Eligibility.ANYWHERE, Eligibility.IN_REGION})


@pytest.mark.parametrize("text", ["eu", "eu-west-1", "0", "a" * MAX_REGION_OCTETS])
def test_names_of_regions(text: str) -> None:
    assert check_region(text) == text


@pytest.mark.parametrize(
    "text", ["", "EU", "eu_west", "-eu", "eu-", "eu--west", "eu\n", "a" * (MAX_REGION_OCTETS + 1), "é"]
)
def test_what_names_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a region"):
        check_region(text)
