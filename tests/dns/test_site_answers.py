"""Names of sites and previews, by the journal's word."""

from __future__ import annotations

import pytest

from cdn.dns.answers import Absence, Records
from cdn.dns.choice import Candidate, Choice
from cdn.dns.site_answers import SiteAnswers
from cdn.fleet.position import Position
from cdn.sites.catalog import Catalog
from cdn.sites.deploy import Deploy
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site
from tests.dns.fleets import node

A, AAAA, TXT = 1, 28, 16
SOURCE = "198.51.100.7"


def answers(choice: Choice | None = None) -> SiteAnswers:
    catalog = Catalog("cdn.localhost")
    catalog.create_site(Site("s1", "blog", 0.0, SiteSettings()))
    catalog.create_site(Site("s2", "pinned", 0.0, SiteSettings(region=("eu",))))
    catalog.prepare_deploy(Deploy("d1", "s1", "next", "0" * 64, 1, 1, "", "", 0.0, 3))
    made = SiteAnswers(catalog, 30)
    made.position = Position("e", 9)
    made.choice = choice
    return made


def one(*addresses: str, region: str = "") -> Choice:
    found = node(1, region=region, addresses=addresses)
    return Choice([Candidate(found, 1.0, found.packed)], 4)


def test_sites_and_previews_that_were_ever_prepared_are_answered() -> None:
    known = answers(one("192.0.2.1", "2001:db8::1"))
    assert known.find((b"blog",), A, SOURCE) == Records(30, (b"\xc0\x00\x02\x01",))
    assert known.find((b"next--blog",), A, SOURCE) == Records(30, (b"\xc0\x00\x02\x01",))
    assert known.find((b"blog",), AAAA, SOURCE) == Records(30, (bytes.fromhex("20010db8" + "0" * 23 + "1"),))
    assert known.find((b"blog",), TXT, SOURCE) == Records(30)


@pytest.mark.parametrize(
    "labels",
    [(b"log",), (b"other--blog",), (b"a", b"blog"), (b"--blog",), (b"next--log",), (b"\xff\x00",), (b"production--",)],
)
def test_other_names_do_not_exist(labels: tuple[bytes, ...]) -> None:
    assert answers(one("192.0.2.1")).find(labels, A, SOURCE) is Absence.NO_SUCH_NAME


def test_without_a_copy_of_the_journal_nothing_is_denied() -> None:
    unknown = answers(one("192.0.2.1"))
    unknown.position = None
    assert unknown.serial == 0
    for labels in ((b"blog",), (b"nobody",), (b"a", b"b")):
        assert unknown.find(labels, A, SOURCE) is Absence.NOT_KNOWN_YET


def test_without_a_word_of_the_fleet_addresses_are_not_known_and_names_are() -> None:
    known = answers(None)
    assert known.serial == 9
    assert known.find((b"blog",), A, SOURCE) is Absence.NOT_KNOWN_YET
    assert known.find((b"blog",), TXT, SOURCE) == Records(30)
    assert known.find((b"nobody",), A, SOURCE) is Absence.NO_SUCH_NAME


def test_a_site_without_an_allowed_node_is_a_failure_and_one_without_a_family_is_not() -> None:
    assert answers(one("192.0.2.1", region="us")).find((b"pinned",), A, SOURCE) is Absence.NO_NODE
    assert answers(one("192.0.2.1", region="eu")).find((b"pinned",), AAAA, SOURCE) == Records(30)
