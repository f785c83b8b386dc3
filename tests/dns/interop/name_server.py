"""A name server for the programs of others: a signed zone with zones below it, the CDN's own zone and an unsigned one,
over real sockets in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

from cdn.dns.answer import AnswerSettings, Responder
from cdn.dns.choice import Family
from cdn.dns.client import Client
from cdn.dns.cookie import CookieSecrets
from cdn.dns.edge_zone import EdgeZone
from cdn.dns.name import labels_of, mailbox_labels
from cdn.dns.settings import TcpSettings
from cdn.dns.signer_book import SignerBook, ZoneTtls
from cdn.dns.site_addresses import Chosen
from cdn.dns.site_names import SiteNames
from cdn.dns.tcp import TcpConnections, TcpServer
from cdn.dns.udp import UdpSocket
from cdn.dns.zone import SoaTimes, Zone, name_server
from cdn.dns.zone_book import ZoneBook
from cdn.dns.zone_file import read_zone_file
from cdn.fleet.position import Position
from cdn.journal.record import Audience, Change, Record, SealedZoneKey, ZoneKeysSet
from cdn.journal.zone_fold import ZoneFold
from cdn.sites.catalog import Catalog
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site
from cdn.tls.sealed import KeyRing, SealingKey
from cdn.tls.zone_key_roll import ZoneKeyRoll
from cdn.tls.zone_signing import SigningAction

CDN_ZONE = "cdn.example.net"
PATIENCE_S = 30.0
DAY_S = 86_400.0

PARENT = """
$ORIGIN example.org.
$TTL 1h
@            SOA   ns hostmaster 7 3600 600 1209600 60
@            NS    ns
@            A     192.0.2.80
@            MX    10 mail
@            TXT   "some text"
ns           A     127.0.0.1
mail         A     192.0.2.25
mail         AAAA  2001:db8::25
www          CNAME pages
pages        A     192.0.2.1
pages        A     192.0.2.2
deep.er.down TXT   "far below"
*.wild       A     192.0.2.99
host.wild    TXT   "not wild"
*.also       CNAME pages
old          DNAME wild
site         ALIAS blog.cdn.example.net.
_sip._tcp    SRV   1 2 5060 pages
caa          CAA   0 issue "ca.example.net"
open         NS    ns
child        NS    ns
"""
CHILD = """
$ORIGIN {name}.
$TTL 1h
@    SOA   ns.example.org. hostmaster 3 3600 600 1209600 60
@    NS    ns.example.org.
www  A     192.0.2.150
up   CNAME www.example.org.
"""
LARGE = "".join(f'big TXT "{number:03} {"x" * 200}"\n' for number in range(12))


class ByNetwork:
    """One node for clients of 198.51.100.0/24, another one for everybody else."""

    def addresses(self, site: Site, family: Family, client: Client) -> Chosen | None:
        if family is Family.IPV6:
            return Chosen(())
        is_near = client.address >> 8 == 0xC63364
        return Chosen((b"\xcb\x00\x71\x01",) if is_near else (b"\xcb\x00\x71\x02",), 24)


class NameServer:
    """Records are applied like those of the journal; keys are as old as resolvers want them to be."""

    def __init__(self) -> None:
        self.roll = ZoneKeyRoll(KeyRing([SealingKey(b"k" * 32)], "dns.keys"))
        self.fold = ZoneFold()
        catalog = Catalog(CDN_ZONE)
        catalog.create_site(Site("s1", "blog", 0.0, SiteSettings()))
        sites = SiteNames(catalog, 30)
        sites.addresses = ByNetwork()
        servers = [name_server("ns.cdn.example.net 127.0.0.1", CDN_ZONE)]
        zone = Zone(labels_of(CDN_ZONE), servers, mailbox_labels("dns@example.net"), SoaTimes())
        self.book = ZoneBook(EdgeZone(zone, sites, ("h2",)), sites, self.fold)
        self.signers = SignerBook(
            self.fold,
            KeyRing([SealingKey(b"k" * 32)], "dns.keys"),
            edge_zone=CDN_ZONE,
            edge_ttls=ZoneTtls(3600, 10),
        )
        settings = AnswerSettings(nsid=b"ns1.test", cookies=CookieSecrets((b"c" * 16,)))
        self.responder = Responder(self.book, self.signers, settings)
        self._sequence = 0
        self.book.journal_loaded(Position("e", 0), time.time())
        self.signers.journal_loaded()

    def apply(self, change: Change) -> None:
        self._sequence += 1
        record = Record(2, "e", self._sequence, "zone", time.time(), "test", Audience.DNS, change)
        self.fold.apply(record)
        self.signers.journal_applied((record,))
        self.book.journal_applied((record,), record.position, time.time())

    def set_zone(self, text: str) -> None:
        self.apply(read_zone_file(text, file="test.zone", cdn_zone=CDN_ZONE))

    def step(self, zone: str, action: SigningAction, days_ago: float) -> None:
        """The next step of the zone's keys, as if it had been made some days ago."""
        keys = self.roll.changed(
            zone, self.fold.keys(zone), action, longest_ttl_s=3600, now=time.time() - days_ago * DAY_S
        )
        self.apply(ZoneKeysSet(zone, keys))

    def ds(self, zone: str) -> list[str]:
        """The DS records of the zone's keys, as the operator is told of them."""
        keys: tuple[SealedZoneKey, ...] = self.fold.keys(zone)
        return [key.ds for key in self.roll.described(zone, keys, longest_ttl_s=3600, now=time.time()).keys]

    def sign_everything(self) -> None:
        """The zones of this file: `child` is signed and the zone above says so, `open` is not."""
        self.set_zone(CHILD.format(name="child.example.org"))
        self.set_zone(CHILD.format(name="open.example.org"))
        self.set_zone(CHILD.format(name="plain.example.com"))
        self.step("child.example.org", SigningAction.ON, 9)
        self.set_zone(PARENT + LARGE + "\n".join(self.ds("child.example.org")) + "\n")
        self.step("example.org", SigningAction.ON, 9)
        self.step(CDN_ZONE, SigningAction.ON, 9)


@contextmanager
def served(responder: Responder) -> Iterator[int]:
    """The port, over UDP and TCP and both families, at 127.0.0.1 and ::1."""
    ready: list[int] = []
    started, stop = threading.Event(), threading.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(responder, ready, started, stop))

    thread = threading.Thread(target=run, name="name server")
    thread.start()
    try:
        assert started.wait(PATIENCE_S)
        yield ready[0]
    finally:
        stop.set()
        thread.join()


async def _serve(responder: Responder, ready: list[int], started: threading.Event, stop: threading.Event) -> None:
    def answering(answer: Callable[[bytes, str, float], bytes | None]) -> Callable[[bytes, str], bytes | None]:
        return lambda message, source: answer(message, source, time.time())

    connections = TcpConnections(TcpSettings(), answering(responder.answer_tcp))
    first = await _listening(lambda: TcpServer.start("127.0.0.1", 0, connections))
    sixth = await TcpServer.start("::1", first.port, connections)
    sockets = [UdpSocket.bind(host, first.port, answering(responder.answer_udp)) for host in ("127.0.0.1", "::1")]
    for each in sockets:
        each.start()
    ready.append(first.port)
    started.set()
    await asyncio.get_running_loop().run_in_executor(None, stop.wait)
    for each in sockets:
        each.close()
    for server in (first, sixth):
        server.close()
    await connections.aclose(1.0)


async def _listening(start: Callable[[], Coroutine[Any, Any, TcpServer]]) -> TcpServer:
    return await start()
