"""Looks at domains in zones that our own name server answers for, which is asked as the resolver too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from cdn.control.dns_asker import LookupSettings
from cdn.control.dns_sight import DnsSight
from cdn.dns.answer import AnswerSettings, Responder, Transport
from cdn.dns.edge_zone import EdgeZone
from cdn.dns.site_names import SiteNames
from cdn.dns.zone_book import ZoneBook
from cdn.dns.zone_file import read_zone_file
from cdn.fleet.position import Position
from cdn.journal.record import Audience, Record
from cdn.journal.zone_fold import ZoneFold
from cdn.sites.catalog import Catalog
from cdn.sites.onboarding import Looked
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site
from tests.dns.zone_of_tests import ZONE, Nodes, zone

LINES = (
    "$TTL 300",
    "@ SOA ns1.cdn.example.net. h 1 2 3 4 5",
    "@ NS ns1.cdn.example.net.",
    "@ ALIAS blog.cdn.example.net.",
    "www CNAME blog.cdn.example.net.",
    "_cdn-verify TXT cdn-verify=apex",
    "_cdn-verify.www TXT cdn-verify=www",
    "*.shops CNAME blog.cdn.example.net.",
    "old A 198.51.100.9",
)


class _Here:
    own_zone = ZONE

    def target_of(self, domain: str, token: str | None) -> str:
        return f"blog.{ZONE}"

    def is_ours(self, name: str) -> bool:
        return name == f"blog.{ZONE}"

    def addresses(self) -> tuple[str, ...]:
        return ("192.0.2.1", "192.0.2.2")

    def imported_zone(self, name: str) -> str:
        return "example.com"


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._responder.answer(data, addr[0], Transport.UDP, 1_800_000_000.0)
        assert answer is not None
        self._transport.sendto(answer, addr)


@pytest.fixture
async def sight() -> AsyncIterator[DnsSight]:
    catalog = Catalog(ZONE)
    catalog.create_site(Site("id-blog", "blog", 0.0, SiteSettings()))
    sites, fold = SiteNames(catalog, 30), ZoneFold()
    book = ZoneBook(EdgeZone(zone(f"ns1.{ZONE} 127.0.0.1"), sites), sites, fold)
    book.choose(Nodes())
    book.journal_loaded(Position("e", 0), 0.0)
    change = read_zone_file("\n".join(LINES), file="z", cdn_zone=ZONE, name="example.com")
    record = Record(2, "e", 1, "s", 0.0, "a", Audience.ALL, change)
    fold.apply(record)
    book.journal_applied([record], Position("e", 1), 0.0)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(Responder(book, None, AnswerSettings())), local_addr=("127.0.0.1", 0)
    )
    port = transport.get_extra_info("sockname")[1]
    settings = LookupSettings(
        resolvers=(f"127.0.0.1:{port}",), authority_port=port, allows_private=True, timeout_s=1.0, tries=1
    )
    yield DnsSight(settings, _Here())
    transport.close()


async def look(sight: DnsSight, domain: str, token: str) -> Looked:
    return (await sight.look(domain, token)).looked


@pytest.mark.parametrize(("domain", "token"), [("example.com", "apex"), ("www.example.com", "www")])
async def test_a_domain_of_an_imported_zone(sight: DnsSight, domain: str, token: str) -> None:
    looked = await look(sight, domain, token)
    assert (looked.is_shown, looked.leads_here, looked.may_sign, looked.has_our_dns) == (True, True, True, True)
    assert (await look(sight, domain, "other")).is_shown is False


async def test_a_wildcard_of_an_imported_zone(sight: DnsSight) -> None:
    looked = await look(sight, "*.shops.example.com", "x")
    assert (looked.is_shown, looked.leads_here, looked.has_our_dns) == (False, True, True)
    assert "_cdn-verify.shops.example.com" in looked.ownership_says


async def test_a_name_that_leads_elsewhere(sight: DnsSight) -> None:
    looked = await look(sight, "old.example.com", "x")
    assert (looked.leads_here, looked.has_our_dns) == (False, True)


async def test_a_name_that_nobody_here_answers_for(sight: DnsSight) -> None:
    looked = await look(sight, "www.example.org", "x")
    assert (looked.is_shown, looked.leads_here, looked.has_our_dns) == (None, None, False)
    assert "REFUSED" in looked.ownership_says
