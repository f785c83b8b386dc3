"""One question to one name server, over UDP and, where the answer does not fit, TCP."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from dns.rdtypes.txtbase import TXTBase

from cdn.control.bounded_sockets import ShortDatagrams, ShortStream
from cdn.control.domain_evidence import Answer, NameServer, Outcome
from cdn.errors import InvalidInput
from cdn.origin.outbound import OutboundRule

MAX_RESOLVERS = 5
"""Each is asked all that is asked of resolvers."""

PAYLOAD_OCTETS = 1232
"""Of an answer over UDP: what no path has to fragment."""

MAX_ANSWER_OCTETS = 4096
"""Of one over TCP: all servers of a zone, or all addresses of a name, take half of it. To read 64 KB, which whoever
answers for a domain may send to a hundred questions of a look, holds up control for 0.15 s each time."""


@dataclass(frozen=True, slots=True)
class LookupSettings:
    """How name servers of domains are asked: the table [lookups] of control's settings."""

    resolvers: tuple[str, ...] = ()
    """Public resolvers as ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT. They name the servers of a zone, which are then
    asked themselves; more than half have to agree that there are any. None: those of the system."""
    authority_port: int = 53
    """Where servers of zones listen."""
    allows_private: bool = False
    """Whether servers of a zone are asked at loopback, link-local or private addresses (I15)."""
    timeout_s: float = 2.0
    """How long a server may take for one try."""
    tries: int = 2
    """A datagram may be lost."""
    max_questions: int = 24
    """Under way at one time for one look: each holds a socket."""
    look_s: float = 20.0
    """All of a look; what is not known by then is not known."""

    def __post_init__(self) -> None:
        if len(self.resolvers) > MAX_RESOLVERS:
            raise InvalidInput(f"at most {MAX_RESOLVERS} resolvers are asked", field="resolvers")
        for text in self.resolvers:
            resolver_at(text)
        if not 1 <= self.authority_port <= 65_535:
            raise InvalidInput("authority_port is a port: 1 to 65535", field="authority_port")
        for name in ("timeout_s", "tries", "max_questions", "look_s"):
            if not getattr(self, name) > 0:
                raise InvalidInput(f"{name} is above 0", field=name)


def resolver_at(text: str) -> NameServer:
    """The resolver at ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT. Raises InvalidInput."""
    host, port = text, "53"
    if text.startswith("[") and "]" in text:
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address = str(ip_address(host))
    except ValueError as exc:
        raise InvalidInput(f"{text!r} is no address of a resolver, such as 192.0.2.1:53", field="resolvers") from exc
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise InvalidInput(f"{text!r} has no port between 1 and 65535", field="resolvers")
    return NameServer("resolver", address, int(port))


class DnsAsker:
    """Asks for one look: so many questions at one time, and none once it has taken `look_s`."""

    def __init__(self, settings: LookupSettings) -> None:
        self._settings = settings
        self._rule = OutboundRule(allows_private=settings.allows_private)
        self._room = asyncio.Semaphore(settings.max_questions)
        self._silent: set[tuple[str, int]] = set()
        self._until = asyncio.get_running_loop().time() + settings.look_s

    async def resolve(self, resolver: NameServer, name: str, kind: str) -> Answer:
        """What a resolver, which the operator chose, says."""
        return await self._ask(resolver, name, kind, is_resolver=True)

    async def ask(self, server: NameServer, name: str, kind: str) -> Answer:
        """What a server of the name's own zone says. It counts only with authority (AA, RFC 1035 4.1.1): what a server
        merely heard of others, or refers to, has FAILED. Addresses that may not be asked (I15) are not."""
        if not server.address:
            return Answer(server, name, kind, Outcome.FAILED, detail="it has no address")
        if not self._rule.may_connect(ip_address(server.address)):
            detail = "its address is none of the public internet, and is not asked (allows_private in [lookups])"
            return Answer(server, name, kind, Outcome.FAILED, detail=detail)
        if (server.address, server.port) in self._silent:
            return Answer(server, name, kind, Outcome.FAILED, detail=self._no_answer)
        answer = await self._ask(server, name, kind, is_resolver=False)
        # Who does not even answer this keeps nobody waiting again; other types are dropped by some on the way.
        if kind == "NS" and answer.detail == self._no_answer:
            self._silent.add((server.address, server.port))
        return answer

    @property
    def _no_answer(self) -> str:
        return f"no answer within {self._settings.timeout_s:g} s"

    async def _ask(self, server: NameServer, name: str, kind: str, *, is_resolver: bool) -> Answer:
        detail = ""
        async with self._room:
            for _ in range(self._settings.tries):
                if (left_s := self._until - asyncio.get_running_loop().time()) <= 0:
                    return Answer(
                        server, name, kind, Outcome.FAILED, detail=detail or "was not asked: no time was left"
                    )
                try:
                    answer = await self._once(server, name, kind, left_s, is_resolver=is_resolver)
                except (TimeoutError, dns.exception.Timeout):
                    detail = self._no_answer
                except EOFError:
                    detail = "hung up"
                except OSError as error:
                    detail = f"cannot be reached: {error.strerror or error}"
                except dns.exception.DNSException as error:
                    detail = f"an answer that cannot be read: {error}"
                else:
                    return answer
        return Answer(server, name, kind, Outcome.FAILED, detail=detail)

    async def _once(self, server: NameServer, name: str, kind: str, left_s: float, *, is_resolver: bool) -> Answer:
        question = dns.message.make_query(name + ".", kind, use_edns=0, payload=PAYLOAD_OCTETS)
        if not is_resolver:
            question.flags &= ~dns.flags.RD
        async with asyncio.timeout(min(left_s, 2 * self._settings.timeout_s)):
            message = await self._answer(question, server)
        return _read(message, server, name, kind, is_resolver=is_resolver)

    async def _answer(self, question: dns.message.Message, server: NameServer) -> dns.message.Message:
        """Over TCP where the answer does not fit into a datagram."""
        backend: Any = dns.asyncbackend.get_default_backend()  # the base class lacks types
        timeout_s = self._settings.timeout_s
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        try:
            async with await backend.make_socket(family, socket.SOCK_DGRAM) as datagrams:
                return await dns.asyncquery.udp(
                    question,
                    server.address,
                    timeout=timeout_s,
                    port=server.port,
                    ignore_unexpected=True,
                    raise_on_truncation=True,
                    sock=ShortDatagrams(datagrams, PAYLOAD_OCTETS),
                    ignore_errors=True,
                )
        except dns.message.Truncated:
            pass
        place = server.address, server.port
        async with await backend.make_socket(family, socket.SOCK_STREAM, 0, None, place, timeout_s) as stream:
            short = ShortStream(stream, MAX_ANSWER_OCTETS)
            return await dns.asyncquery.tcp(question, server.address, timeout=timeout_s, sock=short)


def _read(message: dns.message.Message, server: NameServer, name: str, kind: str, *, is_resolver: bool) -> Answer:
    code = message.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return Answer(server, name, kind, Outcome.FAILED, detail=f"answered {dns.rcode.to_text(code)}")
    if not is_resolver and not message.flags & dns.flags.AA:
        return Answer(server, name, kind, Outcome.FAILED, detail=f"does not answer for the zone of {name}")
    owner, wanted = dns.name.from_text(name + "."), dns.rdatatype.from_text(kind)
    alias = _first(message, owner, dns.rdatatype.CNAME) if wanted != dns.rdatatype.CNAME else None
    target = "" if alias is None else _text(str(alias[0].target))
    # A resolver has followed aliases and answers with what is at their end; a zone's own server speaks for the name.
    found = _all(message, wanted) if is_resolver and alias is not None else _first(message, owner, wanted)
    records = () if found is None else tuple(_record(rdata) for rdata in found)
    if records:
        return Answer(server, name, kind, Outcome.ANSWERED, records, target)
    if target:
        return Answer(server, name, kind, Outcome.NO_RECORD, (), target)
    return Answer(server, name, kind, Outcome.NO_NAME if code == dns.rcode.NXDOMAIN else Outcome.NO_RECORD)


def _first(message: dns.message.Message, owner: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.rrset.RRset | None:
    return next((each for each in message.answer if each.name == owner and each.rdtype == kind), None)


def _all(message: dns.message.Message, kind: dns.rdatatype.RdataType) -> dns.rrset.RRset | None:
    return next((each for each in message.answer if each.rdtype == kind), None)


def _record(rdata: dns.rdata.Rdata) -> str:
    if isinstance(rdata, TXTBase):
        return b"".join(rdata.strings).decode("utf-8", "replace")
    return _text(rdata.to_text())


def _text(text: str) -> str:
    return text.lower().removesuffix(".") if '"' not in text else text
