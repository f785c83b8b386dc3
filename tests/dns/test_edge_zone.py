"""The CDN's own zone: its apex, its name servers, sites and previews."""

from __future__ import annotations

import pytest

from cdn.dns.challenges import Challenges
from cdn.dns.choice import Family
from cdn.dns.client import Client
from cdn.dns.edge_zone import EdgeZone
from cdn.dns.name import labels_of, mailbox_labels
from cdn.dns.site_addresses import Chosen
from cdn.dns.site_names import SiteNames
from cdn.dns.zone import SoaTimes, Zone, name_server
from cdn.errors import InvalidInput
from cdn.journal.zone_fold import Challenge
from cdn.sites.catalog import Catalog
from cdn.sites.deploy import Deploy
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site
from tests.dns.told_answers import CLIENT, labels, records, rrtype, told

ZONE = "cdn.test"
SERVERS = ("ns1.cdn.test 192.0.2.53 2001:db8::53", "b.ns.cdn.test 198.51.100.53", "ns.other.net")
SOA = "authority cdn.test. 10 SOA"


class OneNode:
    """203.0.113.1, which may not answer for sites of a region."""

    ttl_s: int | None = None

    def addresses(self, site: Site, family: Family, client: Client) -> Chosen | None:
        if site.settings.region:
            return None
        return Chosen((b"\xcb\x00\x71\x01",) if family is Family.IPV4 else (), 24, self.ttl_s)


def site_names() -> SiteNames:
    catalog = Catalog(ZONE)
    for number, name in enumerate(("blog", "ns1", "ns")):
        catalog.create_site(Site(f"s{number}", name, 0.0, SiteSettings()))
    catalog.create_site(Site("s9", "pinned", 0.0, SiteSettings(region=("eu",))))
    catalog.prepare_deploy(Deploy("d1", "s0", "next", "0" * 64, 1, 1, "", "", 0.0, 3))
    names = SiteNames(catalog, 30)
    names.addresses = OneNode()
    return names


def edge_zone(*alpn: str, names: SiteNames | None = None) -> EdgeZone:
    servers = [name_server(text, ZONE) for text in SERVERS]
    zone = Zone(labels_of(ZONE), servers, mailbox_labels("dns@other.net"), SoaTimes(negative_ttl_s=10))
    made = EdgeZone(zone, names or site_names(), alpn)
    made.serial = 9
    return made


def ask(zone: EdgeZone, name: str, qtype: str) -> list[str]:
    return told(zone.answer(labels(f"{name}.cdn.test" if name else ZONE), rrtype(qtype), CLIENT))


def denied(proof: str, name: str, encloser: str) -> list[str]:
    return [SOA, f"proof {proof} {name}.cdn.test. below {encloser}cdn.test."]


def test_the_apex_has_its_soa_and_name_servers() -> None:
    zone = edge_zone()
    assert zone.apex == (b"cdn", b"test")
    assert records(zone.answer(zone.apex, rrtype("SOA"), CLIENT).answer) == [
        "cdn.test. 3600 SOA ns1.cdn.test. dns.other.net. 9 3600 600 1209600 10"
    ]
    assert ask(zone, "", "NS") == [
        "NOERROR aa",
        "answer cdn.test. 3600 NS ns1.cdn.test.",
        "answer cdn.test. 3600 NS b.ns.cdn.test.",
        "answer cdn.test. 3600 NS ns.other.net.",
        "additional ns1.cdn.test. 3600 A 192.0.2.53",
        "additional ns1.cdn.test. 3600 AAAA 2001:db8::53",
        "additional b.ns.cdn.test. 3600 A 198.51.100.53",
    ]
    assert ask(zone, "", "A") == ["NOERROR aa", SOA, "proof no-data cdn.test. below cdn.test."]
    assert ask(zone, "", "DS") == ["NOERROR aa", SOA, "proof no-data cdn.test. below cdn.test."]
    assert ask(zone, "", "ANY") == ["NOERROR aa", 'answer cdn.test. 3600 HINFO "RFC8482" ""']


def test_name_servers_are_answered_before_sites_of_their_name() -> None:
    zone = edge_zone()
    assert ask(zone, "ns1", "AAAA") == ["NOERROR aa", "answer ns1.cdn.test. 3600 AAAA 2001:db8::53"]
    assert ask(zone, "b.ns", "AAAA") == ["NOERROR aa", *denied("no-data", "b.ns", "b.ns.")]
    assert ask(zone, "b.ns", "ANY") == ["NOERROR aa", 'answer b.ns.cdn.test. 3600 HINFO "RFC8482" ""']
    assert ask(zone, "ns", "A")[1:] == ["answer ns.cdn.test. 30 A 203.0.113.1", "scope 24"]  # a site, b.ns below it
    without = edge_zone(names=SiteNames(Catalog(ZONE), 30))
    assert ask(without, "ns", "A") == ["NOERROR aa", *denied("no-data", "ns", "ns.")]
    assert ask(without, "ns", "ANY") == ["NOERROR aa", *denied("no-data", "ns", "ns.")]


@pytest.mark.parametrize("name", ["blog", "next--blog"])
def test_sites_and_previews(name: str) -> None:
    zone = edge_zone()
    assert ask(zone, name, "A") == ["NOERROR aa", f"answer {name}.cdn.test. 30 A 203.0.113.1", "scope 24"]
    assert ask(zone, name, "AAAA") == ["NOERROR aa", *denied("no-data", name, f"{name}."), "scope 24"]
    assert ask(zone, name, "HTTPS") == ["NOERROR aa", *denied("no-data", name, f"{name}.")]
    assert ask(zone, name, "ANY") == ["NOERROR aa", f'answer {name}.cdn.test. 3600 HINFO "RFC8482" ""']
    assert zone.answer(labels(f"{name}.cdn.test"), rrtype("TXT"), CLIENT).types == {1, 28}
    assert zone.answer(labels(f"{name}.cdn.test"), rrtype("AAAA"), CLIENT).types == {1}


def test_the_choice_may_say_how_long_it_holds() -> None:
    names = site_names()
    names.addresses = node = OneNode()
    node.ttl_s = 7
    assert ask(edge_zone(names=names), "blog", "A")[1] == "answer blog.cdn.test. 7 A 203.0.113.1"


def test_https_records_announce_what_settings_say() -> None:
    zone = edge_zone("h2", "h3")
    assert ask(zone, "blog", "HTTPS") == ["NOERROR aa", 'answer blog.cdn.test. 30 HTTPS 1 . alpn="h2,h3"']
    assert zone.answer(labels("blog.cdn.test"), rrtype("TXT"), CLIENT).types == {1, 28, 65}
    assert ask(zone, "", "HTTPS")[1] == SOA
    for wrong in ("", "x" * 256):
        with pytest.raises(InvalidInput, match="no name of a protocol"):
            edge_zone(wrong)


@pytest.mark.parametrize(
    ("name", "encloser"),
    [
        ("log", ""),
        ("other--blog", ""),
        ("next--log", ""),
        ("production--", ""),
        ("\\255\\000", ""),
        ("a.blog", "blog."),
        ("x.y.next--blog", "next--blog."),
        ("c.ns", "ns."),
        ("a.b.ns", "b.ns."),
        ("x.y", ""),
    ],
)
def test_other_names_do_not_exist(name: str, encloser: str) -> None:
    assert ask(edge_zone(), name, "A") == ["NXDOMAIN aa", *denied("no-name", name, encloser)]


def test_without_a_copy_of_the_journal_nothing_is_denied() -> None:
    zone = edge_zone()
    zone.serial = None
    for name in ("blog", "nobody", "a.b", "ns"):
        assert ask(zone, name, "A") == ["SERVFAIL"]
    assert ask(zone, "", "SOA") == ["NOERROR aa", "answer cdn.test. 3600 SOA"]
    assert ask(zone, "ns1", "A") == ["NOERROR aa", "answer ns1.cdn.test. 3600 A 192.0.2.53"]


def test_without_a_word_of_the_fleet_addresses_are_not_known_and_names_are() -> None:
    names = site_names()
    names.addresses = None
    zone = edge_zone(names=names)
    assert ask(zone, "blog", "A") == ["SERVFAIL"]
    assert ask(zone, "blog", "TXT") == ["NOERROR aa", *denied("no-data", "blog", "blog.")]
    assert ask(zone, "nobody", "A")[0] == "NXDOMAIN aa"


def test_a_site_without_an_allowed_node_is_a_failure() -> None:
    assert ask(edge_zone(), "pinned", "A") == ["SERVFAIL"]


def test_challenges_stand_beside_everything() -> None:
    zone = edge_zone()
    names = (
        "_acme-challenge.blog.cdn.test",
        "_acme-challenge.no.cdn.test",
        "_acme-challenge.cdn.test",
        "blog.cdn.test",
    )
    zone.challenges = Challenges([Challenge(name, "proof", 5.0) for name in names], 4.0)
    assert ask(zone, "_acme-challenge.blog", "TXT") == [
        "NOERROR aa",
        'answer _acme-challenge.blog.cdn.test. 10 TXT "proof"',
    ]
    assert ask(zone, "_acme-challenge", "TXT")[1] == 'answer _acme-challenge.cdn.test. 10 TXT "proof"'
    assert ask(zone, "_acme-challenge.no", "A") == [
        "NOERROR aa",
        *denied("no-data", "_acme-challenge.no", "_acme-challenge.no."),
    ]
    assert ask(zone, "no", "A") == ["NOERROR aa", *denied("no-data", "no", "no.")]
    assert ask(zone, "x.no", "A") == ["NXDOMAIN aa", *denied("no-name", "x.no", "no.")]
    assert ask(zone, "blog", "TXT")[1] == 'answer blog.cdn.test. 10 TXT "proof"'
    assert ask(zone, "blog", "A")[1] == "answer blog.cdn.test. 30 A 203.0.113.1"
    assert zone.answer(labels("blog.cdn.test"), rrtype("A"), CLIENT).types == {1, 16, 28}
