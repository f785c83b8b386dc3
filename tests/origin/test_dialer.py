"""Names, addresses and TLS on the way to an upstream."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cdn.errors import InvalidInput
from cdn.http.response_head import ResponseHead
from cdn.origin.names import Names
from cdn.origin.outbound import OutboundRule, parse_networks
from cdn.origin.upstream import UpstreamBroken, UpstreamFault, UpstreamRequest, UpstreamTimeouts
from cdn.origin.upstream_limits import UpstreamLimits
from cdn.origin.upstreams import Upstreams
from cdn.sites.origin import HttpOrigin
from tests.origin.scripted_server import AUTHORITY, Peer, answering, serving

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
PRIVATE = OutboundRule(allows_private=True)
REQUEST = UpstreamRequest("GET", "/", (("host", "www.example"),))
NONE = UpstreamTimeouts(connect_s=5, retries=0)


def ignore(head: ResponseHead) -> None:
    del head


class Resolver:
    """Stands in for the system's: gives what it is told, in turn; the last stays."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def getaddrinfo(self, host: str, port: object, **_: object) -> list[Any]:
        self.asked.append(host)
        assert self.gate.wait(10)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return [
            (
                socket.AF_INET6 if ":" in text else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (text, 0, 0, 0) if ":" in text else (text, 0),
            )
            for text in answer
        ]


def resolve(monkeypatch: pytest.MonkeyPatch, *answers: list[str] | OSError) -> Resolver:
    resolver = Resolver(*answers)
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    return resolver


@contextlib.asynccontextmanager
async def upstreams_with(rule: OutboundRule, **more: Any) -> AsyncIterator[Upstreams]:
    upstreams = Upstreams(rule, **more)
    yield upstreams
    await upstreams.aclose()
    assert upstreams.open_connections == 0


async def ask(upstreams: Upstreams, origin: HttpOrigin, timeouts: UpstreamTimeouts = NONE) -> bytes:
    response = await upstreams.of(origin, timeouts).send(REQUEST, ignore)
    return b"".join([part async for part in response.content])


async def fault_of(upstreams: Upstreams, origin: HttpOrigin, timeouts: UpstreamTimeouts = NONE) -> UpstreamFault:
    with pytest.raises(UpstreamBroken) as broken:
        await ask(upstreams, origin, timeouts)
    return broken.value.fault


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
async def test_a_private_upstream_is_refused_when_connected_to(host: str) -> None:
    async with serving(answering(HELLO)) as server, upstreams_with(OutboundRule()) as upstreams:
        assert await fault_of(upstreams, HttpOrigin("http", host, server.port)) is UpstreamFault.FORBIDDEN_ADDRESS
        assert server.accepted == 0


async def test_the_refusal_names_what_allows_the_address() -> None:
    async with upstreams_with(OutboundRule()) as upstreams:
        with pytest.raises(UpstreamBroken, match=r"10\.1\.2\.3, which is inside a private network") as broken:
            await ask(upstreams, HttpOrigin("http", "10.1.2.3", 80))
        assert "allowed_upstream_networks" in broken.value.message
        assert "`cdn up --allow-private-upstreams`" in broken.value.message


async def test_an_allowed_network_is_connected_to() -> None:
    rule = OutboundRule(allowed_networks=parse_networks(("127.0.0.0/8",)))
    async with serving(answering(HELLO)) as server, upstreams_with(rule) as upstreams:
        assert await ask(upstreams, server.origin) == b"hello"


async def test_every_answer_of_a_name_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that was public when it was looked up first and is private the next time (DNS rebinding)."""
    rule = OutboundRule(allowed_networks=parse_networks(("127.0.0.1",)))
    limits = UpstreamLimits(name_lifetime_s=0.0)
    async with serving(answering(HELLO)) as server, upstreams_with(rule, limits=limits) as upstreams:
        resolver = resolve(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
        origin = HttpOrigin("http", "rebinding.example", server.port)
        response = await upstreams.of(origin, NONE).send(REQUEST, ignore)
        assert await fault_of(upstreams, origin) is UpstreamFault.FORBIDDEN_ADDRESS
        await response.content.aclose()
        assert resolver.asked == ["rebinding.example"] * 2


async def test_forbidden_addresses_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = OutboundRule(allowed_networks=parse_networks(("127.0.0.1",)))
    async with serving(answering(HELLO)) as server, upstreams_with(rule) as upstreams:
        resolve(monkeypatch, ["10.0.0.1", "::1", "127.0.0.1"])
        assert await ask(upstreams, HttpOrigin("http", "a.example", server.port)) == b"hello"


async def test_the_next_address_is_tried_and_preferred_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(HELLO)) as server, upstreams_with(PRIVATE) as upstreams:
        resolver = resolve(monkeypatch, ["127.0.0.9", "127.0.0.1"])
        origin = HttpOrigin("http", "a.example", server.port)
        assert await ask(upstreams, origin) == b"hello"
        assert await ask(upstreams, origin) == b"hello"
        assert resolver.asked == ["a.example"]


async def test_a_name_without_addresses_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstreams_with(PRIVATE) as upstreams:
        resolve(monkeypatch, socket.gaierror(-2, "Name or service not known"), [])
        origin = HttpOrigin("http", "missing.example", 80)
        assert await fault_of(upstreams, origin) is UpstreamFault.NAME_UNKNOWN
        assert await fault_of(upstreams, origin) is UpstreamFault.NAME_UNKNOWN


async def test_a_name_that_no_resolver_can_take_is_a_fault() -> None:
    async with upstreams_with(PRIVATE) as upstreams:
        origin = HttpOrigin("http", f"{'a' * 64}.example", 80)
        assert await fault_of(upstreams, origin) is UpstreamFault.NAME_UNKNOWN


async def test_lookups_are_joined_bounded_in_time_and_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(UpstreamLimits(max_lookups=1))
    resolver = resolve(monkeypatch, ["192.0.2.1"])
    resolver.gate.clear()
    first, second = (asyncio.create_task(names.addresses("a.example", 5)) for _ in range(2))
    with pytest.raises(UpstreamBroken) as broken:
        await names.addresses("a.example", 0.02)
    assert broken.value.fault is UpstreamFault.NAME_TIMEOUT
    with pytest.raises(UpstreamBroken) as broken:
        await names.addresses("b.example", 5)
    assert broken.value.fault is UpstreamFault.NAME_TIMEOUT
    resolver.gate.set()
    assert await first == await second
    assert resolver.asked == ["a.example"]
    await names.aclose()


async def test_names_that_hang_do_not_take_those_that_were_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8767: whoever names an upstream that no resolver ever answers for fills the places for lookups."""
    names = Names(UpstreamLimits(max_lookups=1, name_lifetime_s=0.0, stale_name_lifetime_s=60.0))
    resolver = resolve(monkeypatch, ["192.0.2.1"])
    known = await names.addresses("known.example", 5)
    resolver.gate.clear()
    hanging = asyncio.create_task(names.addresses("hangs.example", 5))
    await asyncio.sleep(0)
    assert await names.addresses("known.example", 5) == known, "there is no place to look it up"
    with pytest.raises(UpstreamBroken):
        await names.addresses("new.example", 5)
    resolver.gate.set()
    await hanging
    resolver.gate.clear()
    assert await names.addresses("known.example", 0.02) == known, "it is looked up, but that takes too long"
    resolver.gate.set()
    await names.aclose()


async def test_a_name_that_is_gone_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(UpstreamLimits(max_lookups=1, name_lifetime_s=0.0, stale_name_lifetime_s=60.0))
    resolver = resolve(monkeypatch, ["192.0.2.1"])
    await names.addresses("a.example", 5)
    monkeypatch.setattr(socket, "getaddrinfo", _raise_unknown)
    with pytest.raises(UpstreamBroken) as broken:
        await names.addresses("a.example", 5)
    assert broken.value.fault is UpstreamFault.NAME_UNKNOWN
    resolver = resolve(monkeypatch, ["192.0.2.1"])
    resolver.gate.clear()
    with pytest.raises(UpstreamBroken) as broken:
        await names.addresses("a.example", 0.02)
    assert broken.value.fault is UpstreamFault.NAME_TIMEOUT
    resolver.gate.set()
    await names.aclose()


def _raise_unknown(*args: object, **options: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "unknown")


async def test_a_lookup_that_hangs_ends_with_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(UpstreamLimits())
    resolver = resolve(monkeypatch, ["192.0.2.1"])
    resolver.gate.clear()
    waiting = asyncio.create_task(names.addresses("a.example", 5))
    await asyncio.sleep(0)
    await names.aclose()
    with pytest.raises(UpstreamBroken) as broken:
        await waiting
    assert broken.value.fault is UpstreamFault.CLOSED
    resolver.gate.set()


async def test_addresses_are_remembered_for_a_short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = resolve(monkeypatch, ["192.0.2.1"])
    names = Names(UpstreamLimits(max_names=2))
    for host in ("a.example", "a.example", "b.example", "c.example", "a.example"):
        await names.addresses(host, 5)
    assert resolver.asked == ["a.example", "b.example", "c.example", "a.example"]
    forgetful = Names(UpstreamLimits(name_lifetime_s=0.0))
    for _ in range(2):
        await forgetful.addresses("d.example", 5)
    assert resolver.asked[-2:] == ["d.example"] * 2


async def test_a_connection_that_is_not_taken_runs_into_the_timeout() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        held: list[socket.socket] = []
        for _ in range(4):  # the queue of what is not accepted is full from here on, and a SYN gets no answer
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            held.append(one)
        async with upstreams_with(PRIVATE) as upstreams:
            timeouts = UpstreamTimeouts(connect_s=0.2)
            fault = await fault_of(upstreams, HttpOrigin("http", "127.0.0.1", port), timeouts)
            assert fault is UpstreamFault.CONNECT_TIMEOUT
        for one in held:
            one.close()


async def test_tls_is_verified_against_the_authorities_given() -> None:
    async with serving(answering(HELLO), "https") as server:
        async with upstreams_with(PRIVATE, extra_ca_file=AUTHORITY) as trusting:
            assert await ask(trusting, server.origin) == b"hello"
            assert await ask(trusting, server.origin) == b"hello"
            assert server.accepted == 1
            other_name = HttpOrigin("https", "127.0.0.1", server.port)
            assert await fault_of(trusting, other_name) is UpstreamFault.TLS
        async with upstreams_with(PRIVATE) as doubting:
            with pytest.raises(UpstreamBroken, match="certificate is not good") as broken:
                await ask(doubting, server.origin)
            assert broken.value.fault is UpstreamFault.TLS


async def test_what_does_not_speak_tls_is_a_fault() -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def closing(peer: Peer) -> None:
        await peer.reader.read(1)

    async def silent(peer: Peer) -> None:
        await peer.until_closed()

    for script in (plain, closing, silent):
        async with serving(script) as server, upstreams_with(PRIVATE, extra_ca_file=AUTHORITY) as upstreams:
            origin = HttpOrigin("https", "localhost", server.port)
            assert await fault_of(upstreams, origin, UpstreamTimeouts(connect_s=0.3)) is UpstreamFault.TLS
            await server.left.acquire()


async def test_a_cancelled_handshake_leaves_nothing_behind() -> None:
    asked = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.reader.read(1)
        asked.set()
        await peer.until_closed()

    async with serving(silent) as server, upstreams_with(PRIVATE, extra_ca_file=AUTHORITY) as upstreams:
        asking = asyncio.create_task(ask(upstreams, HttpOrigin("https", "localhost", server.port)))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.left.acquire()


def test_a_file_without_authorities_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for path in (empty, tmp_path / "missing.pem"):
        with pytest.raises(InvalidInput, match="PEM"):
            Upstreams(PRIVATE, extra_ca_file=path)
