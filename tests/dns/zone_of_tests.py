"""The CDN's own zone for tests, with sites that a table names, behind the whole answer path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cdn.dns.answer import AnswerCounters, AnswerSettings, Responder, Transport
from cdn.dns.choice import Family
from cdn.dns.client import Client
from cdn.dns.edge_zone import EdgeZone
from cdn.dns.name import labels_of, mailbox_labels
from cdn.dns.site_addresses import Chosen
from cdn.dns.site_names import SiteNames
from cdn.dns.zone import SoaTimes, Zone, name_server
from cdn.dns.zone_book import ZoneBook
from cdn.fleet.position import Position
from cdn.journal.zone_fold import ZoneFold
from cdn.sites.catalog import Catalog
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site

ZONE = "cdn.example.net"
SERVERS = ("ns1.cdn.example.net 192.0.2.53 2001:db8::53", "b.ns.cdn.example.net 198.51.100.53", "ns.example.org")
SITES: Mapping[str, tuple[bytes, ...] | None] = {
    "blog": (b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02"),
    "empty": (),
    "many": tuple(bytes((10, 0, 0, number)) for number in range(1, 90)),
    "nobody": None,
}
"""The addresses of their nodes; None: no node may answer."""


@dataclass(slots=True)
class Nodes:
    """Everything is an IPv4 address."""

    asked: list[tuple[str, Family, Client]] = field(default_factory=list)

    def addresses(self, site: Site, family: Family, client: Client) -> Chosen | None:
        self.asked.append((site.name, family, client))
        found = SITES[site.name]
        return None if found is None else Chosen(found if family is Family.IPV4 else ())


@dataclass(slots=True)
class Asked:
    """A responder at one moment."""

    responder: Responder

    @property
    def counters(self) -> AnswerCounters:
        return self.responder.counters

    def answer(self, message: bytes, source: str, transport: Transport) -> bytes | None:
        return self.responder.answer(message, source, transport, 1_800_000_000.0)


def zone(*servers: str) -> Zone:
    made = [name_server(text, ZONE) for text in servers or SERVERS]
    return Zone(labels_of(ZONE), made, mailbox_labels("dns.people@example.net"), SoaTimes(negative_ttl_s=10))


def answerer(*servers: str, nodes: Nodes | None = None) -> Asked:
    """What answers for the sites, with other name servers if they are given."""
    catalog = Catalog(ZONE)
    for name in SITES:
        catalog.create_site(Site(f"id-{name}", name, 0.0, SiteSettings()))
    sites = SiteNames(catalog, 30)
    book = ZoneBook(EdgeZone(zone(*servers), sites), sites, ZoneFold())
    book.journal_loaded(Position("e", 7), 0.0)
    book.choose(nodes or Nodes())
    return Asked(Responder(book, None, AnswerSettings()))
