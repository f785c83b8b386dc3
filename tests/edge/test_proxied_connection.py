"""Connections that begin with a header of the PROXY protocol, on a transport without a socket."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from cdn.edge.limits import HttpLimits
from cdn.edge.peer_address import UNKNOWN_ADDRESS
from cdn.edge.proxied_connection import ProxiedConnection
from cdn.edge.trusted_proxies import TrustedProxies
from tests.edge.engine_application import EchoApplication
from tests.edge.engine_responses import read_responses
from tests.edge.engine_transport import Client, RecordingTransport, settle

PROXIES = TrustedProxies((ip_network("10.0.0.0/8"),))
PROXY = "10.1.1.1"
LINE = b"PROXY TCP4 198.51.100.9 192.0.2.1 1 2\r\n"
LOCAL = bytes.fromhex("0d0a0d0a000d0a515549540a 20 00 0000")
FORGED = b"X-Forwarded-For: 1.1.1.1\r\n"


def get(path: str = "/echo", fields: bytes = b"") -> bytes:
    return b"GET " + path.encode() + b" HTTP/1.1\r\nHost: a.example\r\n" + fields + b"\r\n"


class Proxied(Client):
    """A client that comes through a proxy, or says so."""

    def connect(self, peer: str = PROXY) -> ProxiedConnection:
        self.transport = Passing(peer)
        connection = ProxiedConnection(self.service, PROXIES)
        self.transport.protocol = connection
        connection.connection_made(self.transport)
        return connection

    def say(self, data: bytes) -> None:
        assert self.transport.protocol is not None
        self.transport.protocol.data_received(data)

    def check(self, seconds: float) -> None:
        self.now += seconds
        for connection in tuple(self.service.connections):
            connection.check(self.now)


class Passing(RecordingTransport):
    """Knows its peer, and hands its bytes to whichever protocol it has."""

    def __init__(self, peer: str | None) -> None:
        super().__init__()
        self._peer = peer

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._peer, 4711) if name == "peername" and self._peer is not None else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol


@pytest.fixture
def application() -> EchoApplication:
    application = EchoApplication()
    application.remember("/a", b"hello")
    return application


@pytest.fixture
def client(application: EchoApplication) -> Proxied:
    client = Proxied(application, HttpLimits(max_connections=3))
    client.connection.connection_lost(None)
    return client


def addresses(application: EchoApplication) -> list[str]:
    return [visitor.address for visitor in application.visitors]


@pytest.mark.parametrize(
    "header", [LINE, bytes.fromhex("0d0a0d0a000d0a515549540a 21 11 000c c6336409 c0000201 0001 0002")]
)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_the_header_names_the_client(
    application: EchoApplication, client: Proxied, header: bytes, size: int
) -> None:
    client.connect()
    data = header + get(fields=FORGED) + get("/more")
    for start in range(0, len(data), size):
        client.say(data[start : start + size])
        await settle()
    assert [response.status for response in read_responses(client.transport.sent)] == [200, 200]
    assert addresses(application) == ["198.51.100.9"] * 2
    assert len(client.service.connections) == 1


async def test_hits_behind_a_header_are_hits(application: EchoApplication, client: Proxied) -> None:
    client.connect()
    client.say(LINE + get("/a"))
    for _ in range(3):
        client.say(get("/a"))
    assert client.service.counters.memo_hits == 2
    assert len(read_responses(client.transport.sent)) == 4


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
async def test_a_proxy_that_asks_for_itself_is_the_client(
    application: EchoApplication, client: Proxied, header: bytes
) -> None:
    client.connect()
    client.say(header + get(fields=FORGED))
    await settle()
    assert addresses(application) == [PROXY], "what the client wrote itself names nobody"


async def test_who_is_not_trusted_is_a_client(application: EchoApplication, client: Proxied) -> None:
    client.connect("203.0.113.5")
    client.say(get(fields=FORGED))
    await settle()
    assert addresses(application) == ["203.0.113.5"]
    client.connect("203.0.113.5")
    client.say(LINE + get())
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.status == 400
    assert len(application.visitors) == 1


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (get(), "malformed-proxy-header"),
        (LINE.replace(b"198", b"998") + get(), "malformed-proxy-header"),
        (bytes.fromhex("0d0a0d0a000d0a515549540a 21 11 ffff"), "proxy-header-too-large"),
    ],
)
async def test_a_trusted_proxy_that_says_something_else_is_left(
    application: EchoApplication, client: Proxied, data: bytes, fault: str
) -> None:
    client.connect()
    client.say(data)
    await settle()
    assert client.transport.is_aborted
    assert client.transport.sent == b""
    assert application.answered == application.recalled == []
    assert client.service.counters.refused == {fault: 1}


async def test_a_header_has_its_time(application: EchoApplication, client: Proxied) -> None:
    connection = client.connect()
    client.say(LINE[:-1])
    client.check(4.9)
    assert not client.transport.is_over
    client.check(0.1)
    assert client.transport.is_aborted
    assert client.service.counters.refused == {"proxy-header-timeout": 1}
    connection.connection_lost(None)
    assert client.service.connections == set()
    client.connect()
    client.say(LINE + get("/a"))
    client.check(60.0)
    assert not client.transport.is_over, "its time was for the header alone"


async def test_connections_without_a_header_count(application: EchoApplication, client: Proxied) -> None:
    for _ in range(3):
        client.connect()
    client.connect()
    (response,) = read_responses(client.transport.sent)
    assert response.status == 503
    client.say(LINE + get())
    assert len(read_responses(client.transport.sent)) == 1


async def test_the_last_place_is_for_one_connection(application: EchoApplication, client: Proxied) -> None:
    for _ in range(2):
        client.connect()
    client.connect()
    client.say(LINE + get("/a"))
    assert [response.status for response in read_responses(client.transport.sent)] == [200]


async def test_nothing_keeps_a_listener_from_ending(application: EchoApplication, client: Proxied) -> None:
    gone: list[str] = []
    client.service.on_connection_gone = lambda: gone.append("gone")
    first = client.connect()
    first.drain()
    assert client.transport.is_closed
    first.connection_lost(None)
    second = client.connect()
    second.abort()
    assert client.transport.is_aborted
    second.connection_lost(None)
    assert gone == ["gone", "gone"]
    assert client.service.connections == set()


@pytest.mark.parametrize(
    ("peer", "fields", "address"),
    [
        (None, b"", UNKNOWN_ADDRESS),
        ("::ffff:10.1.1.1", b"", "10.1.1.1"),
        ("::ffff:10.1.1.1", FORGED, "1.1.1.1"),
        ("203.0.113.5", FORGED, "203.0.113.5"),
        (PROXY, FORGED + b"X-Forwarded-For: 198.51.100.9\r\nx-forwarded-for: 10.2.2.2\r\n", "198.51.100.9"),
    ],
)
async def test_without_the_protocol_forwarders_are_believed(
    application: EchoApplication, client: Proxied, peer: str | None, fields: bytes, address: str
) -> None:
    client.service.forwarders = PROXIES
    client.reconnect(Passing(peer))
    client.send(get(fields=fields))
    await settle()
    assert addresses(application) == [address]
