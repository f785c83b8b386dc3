"""Name servers in this process: those of a few zones, each at its own address, and resolvers that know them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.servers.ports import free_ports

Records = Mapping[tuple[str, str], tuple[str, ...]]
"""Presentation form by owner and type; names without the final dot."""

MAX_UDP_OCTETS = 1232


@dataclass(slots=True)
class Server:
    """Answers for `zones`. `records` are changed as a test likes; `lies` go before all of them."""

    address: str
    zones: set[str]
    records: dict[tuple[str, str], tuple[str, ...]]
    lies: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    is_resolver: bool = False
    is_silent: bool = False
    rcode: dns.rcode.Rcode | None = None
    has_authority: bool = True
    garbles: bool = False
    refers_to: set[str] = field(default_factory=set)
    """Zones below its own that are others': it answers with their name servers, and without authority."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, type and transport of each question."""

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        question = dns.message.from_wire(wire)
        name = question.question[0].name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.question[0].rdtype)
        self.asked.append((name, kind, transport))
        if self.is_silent:
            return None
        if self.garbles:
            return wire[:2] + b"\x84\x00\xff\xff"
        answer = dns.message.make_response(question, recursion_available=self.is_resolver)
        if self.rcode is not None:
            answer.set_rcode(self.rcode)
        else:
            self._fill(answer, name, kind)
        whole = answer.to_wire(max_size=65_535)
        if transport == "udp" and len(whole) > MAX_UDP_OCTETS:
            cut = dns.message.make_response(question)
            cut.flags |= dns.flags.TC | (answer.flags & dns.flags.AA)
            return cut.to_wire()
        return whole

    def _fill(self, answer: dns.message.Message, name: str, kind: str) -> None:
        for _ in range(12):
            zone = max((each for each in self.zones if _within(name, each)), key=len, default=None)
            if zone is None:
                if not answer.answer:
                    answer.set_rcode(dns.rcode.REFUSED)
                return
            if any(_within(name, each) for each in self.refers_to):
                return
            if self.has_authority and not self.is_resolver:
                answer.flags |= dns.flags.AA
            owner = self._owner(name, zone)
            if owner is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
                return
            found = self._of(owner, kind)
            if found:
                answer.answer.append(_rrset(name, kind, found))
                return
            alias = self._of(owner, "CNAME")
            if not alias:
                return
            answer.answer.append(_rrset(name, "CNAME", alias))
            name = alias[0].removesuffix(".").lower()

    def _of(self, name: str, kind: str) -> tuple[str, ...]:
        return self.lies.get((name, kind)) or self.records.get((name, kind), ())

    def _owner(self, name: str, zone: str) -> str | None:
        known = {owner for owner, _ in (*self.records, *self.lies)}
        if any(_within(owner, name) for owner in known) or name == zone:
            return name
        wildcard = f"*.{name.partition('.')[2]}"
        return wildcard if wildcard in known else None


class World:
    """`resolvers` know all zones; `servers` are those of zones, by their names."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.records: dict[tuple[str, str], tuple[str, ...]] = {}
        self.servers: dict[str, Server] = {}
        self.resolvers: list[Server] = []
        self._stack = contextlib.AsyncExitStack()
        self._zones: set[str] = set()

    async def zone(self, name: str, *server_names: str, records: Records) -> None:
        """A zone with its servers, each with records of its own, which are made where they are not there yet."""
        self.records[name, "NS"] = tuple(f"{each}." for each in server_names)
        self.records[name, "SOA"] = (f"{server_names[0]}. admin.{name}. 1 3600 600 86400 60",)
        self.records.update(records)
        self._zones.add(name)
        own = {key: value for key, value in self.records.items() if _within(key[0], name)}
        for each in server_names:
            server = self.servers.get(each)
            if server is None:
                server = self.servers[each] = Server(f"127.0.0.{10 + len(self.servers)}", set(), {})
                self.records[each, "A"] = (server.address,)
                await self._open(server)
            server.zones.add(name)
            server.records.update(own)
        for resolver in self.resolvers:
            resolver.zones.add(name)

    async def resolver(self) -> Server:
        """Another resolver."""
        made = Server(f"127.0.0.{200 + len(self.resolvers)}", self._zones | {"net"}, self.records, is_resolver=True)
        self.resolvers.append(made)
        await self._open(made)
        return made

    async def _open(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(server), local_addr=(server.address, self.port)
        )
        self._stack.callback(transport.close)
        listening = await asyncio.start_server(_streams(server), server.address, self.port)
        self._stack.callback(listening.close)

    async def aclose(self) -> None:
        await self._stack.aclose()


@contextlib.asynccontextmanager
async def dns_world(*, resolvers: int = 1) -> AsyncIterator[World]:
    """Servers that are closed in the end."""
    world = World(free_ports(1)[0])
    try:
        for _ in range(resolvers):
            await world.resolver()
        yield world
    finally:
        await world.aclose()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, "udp")
        if answer is not None:
            self._transport.sendto(answer, addr)


def _streams(server: Server) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = server.answer(await reader.readexactly(size), "tcp")
            if answer is not None:
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        writer.close()

    return serve


def _within(name: str, zone: str) -> bool:
    return name == zone or name.endswith(f".{zone}")


def _rrset(name: str, kind: str, texts: tuple[str, ...]) -> dns.rrset.RRset:
    return dns.rrset.from_text(name + ".", 60, "IN", kind, *texts)
