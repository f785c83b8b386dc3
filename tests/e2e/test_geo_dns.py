"""Authoritative geo DNS with real processes: imported zones, ALIAS, nearness by client subnet, signatures, explain;
nodes that die or lag are in no answer, and an answering process that is killed takes no question with it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import pytest
from dns.message import Message

from cdn.dns.client import AddressFamily
from cdn.dns.geo_builder import TableBuilder
from cdn.dns.geography import Place
from cdn.tls.sealed import make_key_file
from tests.e2e.cut_proxy import CutProxy
from tests.e2e.name_server import PATIENCE_S, NamedFleet, addresses_in
from tests.e2e.roles import ZONE, RoleFleet, RoleProcess
from tests.e2e.running import RunningCdn, exchange

pytestmark = pytest.mark.timeout(300)  # whole fleets of processes, on a machine that may do much else

EUROPEANS, AMERICANS, ELSEWHERE = "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"
NODES = {"fra-1": "127.0.0.2", "fra-2": "127.0.0.3", "nyc-1": "127.0.0.4"}
LOCATIONS = {"fra": "50.11,8.68", "nyc": "40.71,-74.01"}
EXAMPLE = f"""\
$ORIGIN example.org.
$TTL 300
@       SOA   ns1.example.net. hostmaster.example.net. 7 3600 600 1209600 60
        NS    ns1.example.net.
        MX    10 mail
        ALIAS blog.{ZONE}.
mail    A     203.0.113.25
*.wild  TXT   "anything"
www     CNAME @
"""
"""A user's whole domain."""


def addresses(*names: str) -> set[str]:
    return {NODES[name] for name in names}


@pytest.fixture
async def geo_fleet(tmp_path: Path) -> AsyncIterator[GeoFleet]:
    fleet = GeoFleet(NamedFleet(RoleFleet(tmp_path, 'url = "store"', {})))
    yield fleet
    await fleet.aclose()


class GeoFleet:
    """Two edges in Frankfurt, one in New York, and a name server of two processes with a table of places of its own."""

    def __init__(self, named: NamedFleet) -> None:
        self.named = named
        self.root = named.fleet.root
        self.server: RoleProcess | None = None
        self.line: CutProxy | None = None

    async def aclose(self) -> None:
        """End whatever still runs."""
        await asyncio.to_thread(self.named.fleet.close)
        if self.line is not None:
            self.line.cut()
            await self.line.aclose()

    async def start(self) -> CutProxy:
        """What control tells fra-2 goes over the line that is returned."""
        fleet = self.named.fleet
        make_key_file(self.root / "dns-key")
        self._write_places(self.root / "places.geo")
        control = fleet.start_control('detach_after_s = 6\ndns_key_file = "dns-key"\n')
        await control.until_ready()
        line = self.line = await CutProxy.start(fleet.url)
        for name, address in NODES.items():
            self._start_edge(name, address, line.url if name == "fra-2" else fleet.url)
        for edge in fleet.edges.values():
            await edge.until_ready()
        fleet.call("POST", "/v1/sites", {"name": "blog"})
        fleet.deploy("blog", {"/index.html": b"<p>home</p>"})
        self.server = self.named.start_server(
            'processes = 2\ndown_after = 5\ngeo_files = ["places.geo"]\ndns_key_file = "dns-key"\n'
        )
        await self.server.until_ready()
        await self.until(f"blog.{ZONE}", EUROPEANS, addresses("fra-1", "fra-2"))
        return line

    async def ask(
        self, name: str, rdtype: str = "A", subnet: str | None = None, *, is_signed: bool = False, is_tcp: bool = False
    ) -> Message:
        """From a port of its own: either process may get it."""
        assert self.server is not None
        host, _, port = self.server.ready["all"][0].rpartition(":")
        address, _, prefix = (subnet or "").partition("/")
        options: list[dns.edns.Option] = [dns.edns.ECSOption(address, int(prefix))] if subnet else []
        query = dns.message.make_query(name, rdtype, use_edns=0, options=options, want_dnssec=is_signed)
        send = dns.query.tcp if is_tcp else dns.query.udp
        return await asyncio.to_thread(send, query, host, 20, int(port))

    async def until(self, name: str, subnet: str, wanted: set[str]) -> None:
        """Return once neither process names others: ten askers in a row hear it."""
        async with asyncio.timeout(PATIENCE_S):
            in_a_row = 0
            while in_a_row < 10:
                found = addresses_in(await self.ask(name, subnet=subnet))
                in_a_row = in_a_row + 1 if found == wanted else 0
                await asyncio.sleep(0.0 if found == wanted else 0.05)

    async def until_there(self, name: str, rdtype: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            in_a_row = 0
            while in_a_row < 10:
                in_a_row = in_a_row + 1 if (await self.ask(name, rdtype)).answer else 0

    def put(self, path: str, content: bytes, content_type: str) -> Any:
        token = (self.root / "control" / "admin-token").read_text().strip()
        fields = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        answer = exchange(self.named.fleet.url, "PUT", path, fields, content)
        assert answer.status < 300, answer
        return json.loads(answer.content)

    def _start_edge(self, name: str, address: str, control_url: str) -> None:
        named, fleet = self.named, self.named.fleet
        location = LOCATIONS[name.partition("-")[0]]
        edge = fleet.configured_edge(name, f'public_addresses = ["{address}"]\nlocation = "{location}"\n')
        config = edge.config
        config.write_text(
            config.read_text()
            .replace('listen = "127.0.0.1:0"', f'listen = "{address}:{named.port}"')
            .replace(f'control_url = "{fleet.url}"', f'control_url = "{control_url}"')
        )
        edge.start()
        if not named.port:  # a free one was found; from now on it is every edge's
            named.port = int(edge.ready["http_url"].rpartition(":")[2])
            config.write_text(config.read_text().replace(f"{address}:0", f"{address}:{named.port}"))

    def _write_places(self, path: Path) -> None:
        table = TableBuilder()
        for subnet, place in (
            (EUROPEANS, Place(48.86, 2.35, "FR", "EU")),
            (AMERICANS, Place(42.36, -71.06, "US", "NA")),
        ):
            start = int.from_bytes(socket.inet_aton(subnet.partition("/")[0]), "big")
            table.add(AddressFamily.IPV4, start, start + 256, table.number_of(place))
        table.write(path, "made up")


async def test_the_nearest_that_lives_and_is_current_for_every_zone(geo_fleet: GeoFleet) -> None:
    line = await geo_fleet.start()
    fleet = geo_fleet.named.fleet
    blog = f"blog.{ZONE}"

    # Where the client is decides, and the answer says for whom it holds.
    near = await geo_fleet.ask(blog, subnet=EUROPEANS)
    assert addresses_in(near) == addresses("fra-1", "fra-2")
    assert scope_of(near) == 24
    assert addresses_in(await geo_fleet.ask(blog, subnet=AMERICANS, is_tcp=True)) == addresses("nyc-1")
    unplaced = await geo_fleet.ask(blog, subnet=ELSEWHERE)
    assert addresses_in(unplaced) <= set(NODES.values())
    assert addresses_in(unplaced)

    # A zone that is imported is answered, an ALIAS with the nodes that are nearest.
    geo_fleet.put("/v1/zones/example.org", EXAMPLE.encode(), "text/dns")
    await geo_fleet.until_there("example.org", "MX")
    alias = await geo_fleet.ask("example.org", subnet=AMERICANS)
    assert (addresses_in(alias), scope_of(alias)) == (addresses("nyc-1"), 24)
    assert alias.flags & dns.flags.AA
    www = await geo_fleet.ask("www.example.org", subnet=EUROPEANS)
    assert {str(each) for each in www.answer[-1]} == addresses("fra-1", "fra-2")
    mail = await geo_fleet.ask("example.org", "MX")
    assert [str(each) for rrset in mail.additional for each in rrset] == ["203.0.113.25"]
    assert str((await geo_fleet.ask("a.b.wild.example.org", "TXT")).answer[0][0]) == '"anything"'
    assert (await geo_fleet.ask("none.example.org")).rcode() == dns.rcode.NXDOMAIN

    # Explained by the name server itself, filter by filter.
    explained = fleet.call("GET", f"/v1/explain/name?name=example.org&from={EUROPEANS.replace('/', '%2F')}")
    [said] = explained["servers"]
    assert said["result"]["A"]["addresses"] == sorted(said["result"]["A"]["addresses"])
    assert set(said["result"]["A"]["addresses"]) == addresses("fra-1", "fra-2")
    [nearest] = [each for each in said["result"]["A"]["filters"] if each["filter"] == "nearest"]
    assert [name for name, _ in nearest["out"]] == ["nyc-1"]

    # Signed as soon as it has a key, by either process.
    fleet.call("POST", "/v1/zones/example.org/signing", {"do": "on"})
    await geo_fleet.until_there("example.org", "DNSKEY")
    keys = (await geo_fleet.ask("example.org", "DNSKEY", is_tcp=True)).answer[0]
    for _ in range(10):
        signed = await geo_fleet.ask("example.org", subnet=EUROPEANS, is_signed=True)
        name = dns.name.from_text("example.org.")
        rrset = signed.find_rrset(signed.answer, name, dns.rdataclass.IN, dns.rdatatype.A)
        rrsig = signed.find_rrset(signed.answer, name, dns.rdataclass.IN, dns.rdatatype.RRSIG, covers=dns.rdatatype.A)
        dns.dnssec.validate(rrset, rrsig, {name: keys})
    denied = await geo_fleet.ask("none.example.org", is_signed=True)
    assert any(rrset.rdtype == dns.rdatatype.NSEC for rrset in denied.authority)

    # One that lags is in no answer, although it lives: the others of the region take over.
    line.cut()
    await geo_fleet.until(blog, EUROPEANS, addresses("fra-1"))
    assert addresses_in(await geo_fleet.ask("example.org", subnet=EUROPEANS)) == addresses("fra-1")
    # One that is killed is in none either.
    fleet.edges["nyc-1"].end(signal.SIGKILL)
    await geo_fleet.until("example.org", AMERICANS, addresses("fra-1"))
    line.mend()
    await geo_fleet.until(blog, AMERICANS, addresses("fra-1", "fra-2"))
    assert geo_fleet.server is not None
    assert geo_fleet.server.end(signal.SIGTERM) == 0
    log = geo_fleet.server.log.read_text()
    assert "Traceback" not in log
    assert "never awaited" not in log


async def test_a_killed_answering_process_loses_no_more_than_what_it_held(geo_fleet: GeoFleet) -> None:
    await geo_fleet.start()
    server = geo_fleet.server
    assert server is not None
    assert server.process is not None
    host, _, port = server.ready["listen"].rpartition(":")
    query = dns.message.make_query(f"blog.{ZONE}", "A", use_edns=0).to_wire()
    is_over = asyncio.Event()

    def over_udp() -> tuple[int, int]:
        """How many questions were answered, and how many were not, each from a port of its own."""
        answered = lost = 0
        while not is_over.is_set():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.connect((host, int(port)))
                client.send(query)
                try:
                    assert client.recv(4096)[:2] == query[:2]
                    answered += 1
                except TimeoutError:
                    lost += 1
        return answered, lost

    askers = [asyncio.create_task(asyncio.to_thread(over_udp)) for _ in range(4)]
    killed = 0
    try:
        for _ in range(3):
            victim = children_of(server.process.pid)[0]
            os.kill(victim, signal.SIGKILL)
            killed += 1
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    metrics = await asyncio.to_thread(server.metrics)
                    if metrics["cdn_dns_processes_died_total"] == killed and metrics["cdn_dns_processes"] == 2:
                        break
                    await asyncio.sleep(0.1)
    finally:
        is_over.set()
    counts = await asyncio.gather(*askers)
    assert sum(answered for answered, _ in counts) > 100
    assert sum(lost for _, lost in counts) <= killed, "at the most the one that it was answering"
    metrics = await asyncio.to_thread(server.metrics)
    assert metrics['cdn_dns_queries_total{transport="udp"}'] > 100, "counted by all that there were"


async def test_cdn_up_answers_imported_and_signed_zones(start_cdn: Any) -> None:
    cdn: RunningCdn = start_cdn("--dns", "127.0.0.1:0")
    host, _, port = cdn.dns.rpartition(":")

    async def ask(name: str, rdtype: str, *, is_signed: bool = False) -> Message:
        query = dns.message.make_query(name, rdtype, use_edns=0, want_dnssec=is_signed)
        return await asyncio.to_thread(dns.query.udp, query, host, 20, int(port))

    assert cdn.call("POST", "/v1/sites", {"name": "blog"}).status == 201
    file = cdn.folder / "example.org.zone"
    file.write_text(EXAMPLE)
    await asyncio.to_thread(cdn.run, "zone", "import", str(file))
    await asyncio.to_thread(cdn.run, "zone", "sign", "example.org", "--on")
    async with asyncio.timeout(PATIENCE_S):
        while not (await ask("example.org", "DNSKEY")).answer:
            await asyncio.sleep(0.05)
    signed = await ask("example.org", "A", is_signed=True)
    assert {rrset.rdtype for rrset in signed.answer} == {dns.rdatatype.A, dns.rdatatype.RRSIG}
    assert str(signed.answer[0][0]) == "127.0.0.1"
    explained = await asyncio.to_thread(cdn.run, "explain", "--from", "203.0.113.7", "example.org")
    assert "127.0.0.1" in json.dumps(explained)


def scope_of(response: Message) -> int:
    [scope] = [option.scopelen for option in response.options if isinstance(option, dns.edns.ECSOption)]
    return int(scope)


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
