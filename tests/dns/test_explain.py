"""Why a name is answered as it is: who was left after each filter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdn.dns.client import AddressFamily, Client
from cdn.dns.edge_zone import EdgeZone
from cdn.dns.explain import MAX_NAMED, NameExplainer, read_client
from cdn.dns.fleet_nodes import FleetNode
from cdn.dns.fleet_state import FleetState
from cdn.dns.name import labels_of, mailbox_labels
from cdn.dns.site_names import SiteNames
from cdn.dns.zone import SoaTimes, Zone, name_server
from cdn.dns.zone_book import ZoneBook
from cdn.dns.zone_file import read_zone_file
from cdn.errors import InvalidInput
from cdn.fleet.condition import NodeState
from cdn.fleet.position import Position
from cdn.journal.record import Audience, Record
from cdn.journal.zone_fold import ZoneFold
from cdn.sites.catalog import Catalog
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site
from tests.dns.fleets import node, seen
from tests.dns.test_nearest import FRANKFURT, GEOGRAPHY, LONDON, NEAR_FRANKFURT, NEW_YORK, at

DOWN = frozenset({"192.0.2.4"})


def explainer(*nodes: FleetNode, most: int = 1, is_known: bool = True, zones: ZoneFold | None = None) -> NameExplainer:
    catalog = Catalog("cdn.test")
    catalog.create_site(Site("s1", "blog", 0.0, SiteSettings()))
    catalog.create_site(Site("s2", "pinned", 0.0, SiteSettings(region=("eu",))))
    sites = SiteNames(catalog, 30)
    state = FleetState(None, most, 0.0)
    state.use(GEOGRAPHY, None)
    if is_known:
        state.hear(seen(*nodes), 0.0)
        sites.addresses = state.look(DOWN, 0.0)
    servers = [name_server("ns1.cdn.test 192.0.2.53", "cdn.test")]
    zone = Zone(labels_of("cdn.test"), servers, mailbox_labels("dns@other.net"), SoaTimes(negative_ttl_s=10))
    edge = EdgeZone(zone, sites)
    edge.serial = 9
    book = ZoneBook(edge, sites, ZoneFold() if zones is None else zones)
    if zones is not None:
        book.journal_loaded(Position("e", 1), 0.0)
    return NameExplainer(book, sites, state)


def filters(said: dict[str, Any]) -> dict[str, tuple[list[str], dict[str, str]]]:
    return {each["filter"]: (each["left"], dict(each["out"])) for each in said["filters"]}


async def test_each_filter_says_who_was_left_and_why_the_others_went() -> None:
    asked = explainer(
        at(1, FRANKFURT, region="eu"),
        at(2, NEAR_FRANKFURT, region="eu"),
        at(3, LONDON, region="eu"),
        at(4, FRANKFURT, region="eu"),
        at(5, FRANKFURT, region="eu", state=NodeState.DRAINING),
        at(6, FRANKFURT, region="us"),
        at(7, FRANKFURT, region="eu", weight=0.0),
        at(8, FRANKFURT, region="eu", state=NodeState.LAGGING, lag_s=9.0),
        replace(at(9, FRANKFURT, region="eu"), addresses=(), packed=()),
    )
    said = await asked.explain("pinned.cdn.test", "10.1.7.9")
    assert (said["name"], said["from"], said["zone"], said["site"]) == (
        "pinned.cdn.test",
        "10.1.7.9",
        "cdn.test",
        "pinned",
    )
    a = said["A"]
    found = filters(a)
    assert list(found) == [
        "eligible",
        "up",
        "current",
        "not draining",
        "family",
        "nearest",
        "spread by load and weight",
        "first 1",
    ]
    assert found["eligible"][1] == {
        "n6": "outside-region",
        "n7": "its weight is 0",
        "n9": "it has no public address",
    }
    assert found["up"][1] == {"n4": "no address of it answers this name server's checks"}
    assert found["current"][1] == {"n8": "lagging, 9 s behind"}
    assert found["not draining"] == (["n1", "n2", "n3"], {"n5": "draining"})
    assert found["nearest"][0] == ["n1", "n2"]
    assert found["nearest"][1].keys() == {"n3"}
    assert found["nearest"][1]["n3"].endswith(" km")
    assert set(found["spread by load and weight"][0]) == {"n1", "n2"}
    (first,) = found["first 1"][0]
    assert a["addresses"] == [f"192.0.2.{first[1:]}"]
    assert found["first 1"][1] == {({"n1", "n2"} - {first}).pop(): "after the first 1"}
    assert (a["rcode"], a["ttl_s"], a["scope_prefix"], a["resort"]) == ("NOERROR", 30, 24, "shares")
    assert a["client"] | {"slot": 0} == {
        "location": list(FRANKFURT),
        "country": "DE",
        "continent": "EU",
        "prefix": 16,
        "slot": 0,
    }
    assert a["nearest"][0][1] in {"0 km (coordinates)", "12 km (coordinates)"}
    assert said["AAAA"]["addresses"] == []
    assert filters(said["AAAA"])["family"][0] == []


async def test_the_last_resort_is_said() -> None:
    asked = explainer(at(4, FRANKFURT), at(5, NEW_YORK, state=NodeState.DRAINING))
    said = (await asked.explain("blog.cdn.test", "10.3.0.1"))["A"]
    assert said["resort"] == "in-service"
    assert filters(said)["last resort"][0] == ["n4"]
    assert said["addresses"] == ["192.0.2.4"]


async def test_a_name_without_a_site_and_one_of_nobodys() -> None:
    asked = explainer(at(1, FRANKFURT))
    said = await asked.explain("nothing.cdn.test.", "10.1.0.1")
    assert "site" not in said
    assert (said["A"]["rcode"], said["A"]["addresses"]) == ("NXDOMAIN", [])
    assert (await asked.explain("example.org", "10.1.0.1"))["zone"] is None
    for name, source in (("a b", "10.1.0.1"), ("blog.cdn.test", "10.1.0"), ("blog.cdn.test", "10.1.0.1/24")):
        with pytest.raises(InvalidInput):
            await asked.explain(name, source)


async def test_where_a_name_leads_is_said() -> None:
    text = (
        "$TTL 60\n@ SOA ns.o. h 1 2 3 4 5\n@ NS ns.o.\na CNAME b\nb CNAME blog.cdn.test.\nlab NS ns.o.\nc A 192.0.2.9\n"
    )
    zones = ZoneFold()
    change = read_zone_file(text, file="z", cdn_zone="cdn.test", name="o.org")
    zones.apply(Record(1, "e", 1, "zone/o.org", 0.0, "test", Audience.DNS, change))
    asked = explainer(at(1, FRANKFURT), zones=zones)
    said = [
        (await asked.explain(name, "10.1.0.1"))["A"] for name in ("a.o.org", "x.lab.o.org", "c.o.org", "blog.cdn.test")
    ]
    assert [each["leads_to"] for each in said] == ["blog.cdn.test", None, None, None]
    assert [each["is_delegated"] for each in said] == [False, True, False, False]


async def test_visitors_are_answered_as_before() -> None:
    asked = explainer(at(1, FRANKFURT))
    before = asked._sites.addresses
    await asked.explain("blog.cdn.test", "10.1.0.1")
    assert asked._sites.addresses is before


async def test_before_anything_is_known_of_the_fleet() -> None:
    said = await explainer(is_known=False).explain("blog.cdn.test", "10.1.0.1")
    assert said["A"]["rcode"] == "SERVFAIL"


async def test_of_a_large_fleet_some_are_named() -> None:
    nodes = [node(number, addresses=(f"10.9.{number}.1",)) for number in range(1, 2 * MAX_NAMED)]
    said = (await explainer(*nodes).explain("blog.cdn.test", "10.1.0.1"))["A"]
    left = said["filters"][0]["left"]
    assert (len(left), left[-1]) == (MAX_NAMED + 1, f"and {MAX_NAMED - 1} more")
    assert len(said["nearest"]) == MAX_NAMED


def test_a_network_is_what_a_resolver_passes_on() -> None:
    assert read_client("203.0.113.0/24") == Client(AddressFamily.IPV4, 0xCB007100, 24)
    assert read_client("2001:db8::/48") == Client(AddressFamily.IPV6, 0x20010DB8 << 96, 48)
    assert read_client("2001:db8::1").source_prefix is None
