"""Zone files with what they answer, in tests/dns/zones: `? NAME TYPE`, and then the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdn.dns.choice import Family
from cdn.dns.client import Client
from cdn.dns.site_addresses import Chosen
from cdn.dns.site_names import SiteNames
from cdn.dns.zone_file import read_zone_file
from cdn.dns.zone_tree import ZoneTree
from cdn.sites.catalog import Catalog
from cdn.sites.deploy import Deploy
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site
from tests.dns.told_answers import CLIENT, labels, rrtype, told

ZONES = Path(__file__).parent / "zones"
CDN_ZONE = "cdn.example.net"


class OneNode:
    """203.0.113.1, which may not answer for sites of a region."""

    def addresses(self, site: Site, family: Family, client: Client) -> Chosen | None:
        if site.settings.region:
            return None
        return Chosen((b"\xcb\x00\x71\x01",) if family is Family.IPV4 else (), 24, 20)


def site_names() -> SiteNames:
    catalog = Catalog(CDN_ZONE)
    catalog.create_site(Site("s1", "blog", 0.0, SiteSettings()))
    catalog.create_site(Site("s2", "pinned", 0.0, SiteSettings(region=("eu",))))
    catalog.prepare_deploy(Deploy("d1", "s1", "next", "0" * 64, 1, 1, "", "", 0.0, 3))
    names = SiteNames(catalog, 30)
    names.addresses = OneNode()
    return names


@dataclass(frozen=True)
class Scenario:
    file: str
    zone: str
    question: str
    expected: tuple[str, ...]


def scenarios() -> Iterator[Scenario]:
    for path in sorted(ZONES.glob("*.zone")):
        zone, *questions = path.read_text().split("\n? ")
        for question in questions:
            asked, *expected = (line for line in question.splitlines() if line and not line.startswith(";"))
            yield Scenario(path.name, zone, asked, tuple(expected))


@pytest.mark.parametrize("scenario", list(scenarios()), ids=lambda each: f"{each.file}-{each.question[:60]}")
def test_a_zone_answers_as_is_written(scenario: Scenario) -> None:
    made = read_zone_file(scenario.zone, file=scenario.file, cdn_zone=CDN_ZONE)
    tree = ZoneTree(labels(made.zone), made.rrsets, site_names())
    name, qtype = scenario.question.split()
    assert told(tree.answer(labels(name), rrtype(qtype), CLIENT)) == list(scenario.expected)
