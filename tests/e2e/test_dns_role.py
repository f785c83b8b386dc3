"""`cdn dns` with real processes: it names the nodes that serve, goes by its own eyes, and outlives control."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.e2e.name_server import ADDRESSES, PATIENCE_S, NamedFleet, addresses_in, ask
from tests.e2e.roles import ZONE, RoleFleet, RoleProcess

pytestmark = pytest.mark.timeout(300)  # whole fleets of processes, on a machine that may do much else


@pytest.fixture
def named(tmp_path: Path) -> Iterator[NamedFleet]:
    fleet = RoleFleet(tmp_path, 'url = "store"', {})
    yield NamedFleet(fleet)
    fleet.close()


async def test_it_names_the_nodes_and_none_that_hangs_or_is_killed(named: NamedFleet) -> None:
    server = await named.start()
    for is_tcp in (False, True):
        for which in (0, 1):
            response = await ask(server, f"blog.{ZONE}", "A", is_tcp=is_tcp, which=which)
            assert response.rcode() == dns.rcode.NOERROR
            assert response.flags & dns.flags.AA
            assert addresses_in(response) == set(ADDRESSES.values())
    assert (await ask(server, f"other.{ZONE}", "A")).rcode() == dns.rcode.NXDOMAIN
    assert (await ask(server, f"blog.{ZONE}", "AAAA")).answer == []
    assert str((await ask(server, ZONE, "SOA")).answer[0][0]).startswith(f"ns1.{ZONE}. who.example.net. ")
    assert (await ask(server, "example.org", "A")).rcode() == dns.rcode.REFUSED
    assert named.fleet.call("GET", "/v1/status")["node_count"] == 2, "a name server is no node"
    purged = named.fleet.call("POST", "/v1/sites/blog/purges?wait=20", {"everything": True})
    assert sorted(line["node"] for line in purged["nodes"]) == ["e1", "e2"]

    hanging = named.fleet.edges["e1"]
    hanging.send(signal.SIGSTOP)
    try:
        await named.until(server, "blog", {ADDRESSES["e2"]})
        named.fleet.call("POST", "/v1/sites", {"name": "later"})
        await named.until(server, "later", {ADDRESSES["e2"]})
        await until_share(named, server, "e1", lambda share: share == 0)
    finally:
        hanging.send(signal.SIGCONT)
    await until_share(named, server, "e1", lambda share: share > 0)  # all of it takes a minute
    named.fleet.edges["e2"].end(signal.SIGKILL)
    await named.until(server, "blog", {ADDRESSES["e1"]})
    named.fleet.edges["e2"].start()
    await until_share(named, server, "e2", lambda share: share > 0)
    assert (await asyncio.to_thread(server.metrics))["cdn_dns_fleet_frozen"] == 0
    assert server.end(signal.SIGTERM) == 0
    assert "Traceback" not in server.log.read_text()


async def test_it_answers_without_control_from_its_own_copy(named: NamedFleet) -> None:
    server = await named.start()
    async with asyncio.timeout(PATIENCE_S):
        while not (named.fleet.root / "ns1" / "fleet.json").exists():
            await asyncio.sleep(0.05)
    assert named.fleet.control is not None
    named.fleet.control.end(signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S):
        while not (await asyncio.to_thread(server.metrics))["cdn_dns_fleet_frozen"]:
            await asyncio.sleep(0.1)
    await named.until(server, "blog", set(ADDRESSES.values()))
    server.end(signal.SIGKILL)
    server.start()
    assert (await asyncio.to_thread(server.ask, "/readyz")).status == 503, "it does not know whether it is current"
    await named.until(server, "blog", set(ADDRESSES.values()))
    assert (await ask(server, f"other.{ZONE}", "A")).rcode() == dns.rcode.NXDOMAIN
    named.fleet.edges["e2"].end(signal.SIGKILL)
    await named.until(server, "blog", {ADDRESSES["e1"]})
    named.fleet.edges["e1"].end(signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S):
        while (await asyncio.to_thread(server.metrics))["cdn_dns_addresses_down"] < 2:
            await asyncio.sleep(0.1)
    await named.until(server, "blog", set(ADDRESSES.values()))  # nobody is left: whoever may answer is named


async def test_sigterm_under_load_loses_no_query(named: NamedFleet) -> None:
    """Each question is answered, or its sender hears at once that nobody is there: none waits in vain."""
    server = await named.start(nodes=1)
    query = dns.message.make_query(f"blog.{ZONE}", "A").to_wire()
    host, _, port = server.ready["listen"].rpartition(":")

    def over_udp() -> int:
        answered = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(20)
            client.connect((host, int(port)))
            while True:
                try:
                    client.send(query)
                    response = client.recv(4096)
                except ConnectionRefusedError:
                    return answered
                assert response[:2] == query[:2]
                answered += 1

    def over_tcp() -> int:
        answered = 0
        with socket.create_connection((host, int(port)), timeout=20) as client:
            stream = client.makefile("rb")
            while True:
                try:
                    client.sendall(struct.pack("!H", len(query)) + query)
                    head = stream.read(2)
                except ConnectionError:
                    return answered
                if not head:
                    return answered
                assert len(stream.read(int.from_bytes(head, "big"))) > 12
                answered += 1

    askers = [asyncio.create_task(asyncio.to_thread(asker)) for asker in (over_udp, over_udp, over_udp, over_tcp)]
    async with asyncio.timeout(PATIENCE_S):
        while sum((await asyncio.to_thread(queries, server.metrics)).values()) < 500:
            await asyncio.sleep(0.02)
    server.send(signal.SIGTERM)
    readiness = await asyncio.to_thread(server.ask, "/readyz")
    while readiness.status == 200:
        readiness = await asyncio.to_thread(server.ask, "/readyz")
    assert readiness.content == b'{"status": "draining", "role": "dns"}'
    async with asyncio.timeout(PATIENCE_S):
        answered = await asyncio.gather(*askers)
    assert all(count > 0 for count in answered)
    assert await asyncio.to_thread(server.wait) == 0
    assert "Traceback" not in server.log.read_text()


def queries(metrics: object) -> dict[str, float]:
    assert callable(metrics)
    return {name: value for name, value in metrics().items() if name.startswith("cdn_dns_queries_total")}


async def until_share(named: NamedFleet, server: RoleProcess, node_id: str, is_it: Callable[[float], bool]) -> None:
    """Return once the part of a node's weight that stands in answers is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_it(await named.share(server, node_id)):
            await asyncio.sleep(0.1)
