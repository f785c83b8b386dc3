"""The way of a question in one zone: what answers until the process has its zones from `Zones`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import assert_never

from cdn.dns.answers import Absence, Answers, Records
from cdn.dns.code import IN, Rcode, Rrtype
from cdn.dns.name import Labels, wire_of
from cdn.dns.one_zone_response import QNAME, Rrset, Sections, encode_response, pointer_to_suffix
from cdn.dns.query import Query, Refusal, read_query
from cdn.dns.transport import Transport
from cdn.dns.zone import NameServer, Zone

ANY_TTL_S = 3600
"""How long the answer to ANY may be kept: it never says anything else."""

_QNAME = QNAME.to_bytes(2, "big")
_ANY = b"\x07RFC8482\x00"
_NOT_IMPLEMENTED = frozenset({Rrtype.TKEY, Rrtype.TSIG, Rrtype.MAILA, Rrtype.MAILB})
_TRANSFERS = frozenset({Rrtype.AXFR, Rrtype.IXFR})


@dataclass(slots=True)
class AnswerCounters:
    """What was asked and how it was answered. `silent`: what got no answer."""

    queries: Counter[Transport] = field(default_factory=Counter)
    rcodes: Counter[Rcode] = field(default_factory=Counter)
    truncated: int = 0
    silent: int = 0


class Answerer:
    """Answers for one zone, and refuses every other name (RFC 8906: an answer, not silence)."""

    def __init__(self, zone: Zone, answers: Answers) -> None:
        self.counters = AnswerCounters()
        self._zone = zone
        self._answers = answers
        self._depth = len(zone.apex)
        self._primary = zone.servers[0].labels

    def answer(self, message: bytes, source: str, transport: Transport) -> bytes | None:
        """The response to what `source`, an IP address, sent; None: say nothing. It raises nothing."""
        counters = self.counters
        counters.queries[transport] += 1
        query = read_query(message)
        match query:
            case None:
                counters.silent += 1
                return None
            case Refusal(rcode=rcode):
                sections = Sections(rcode)
            case Query():
                sections = self._sections(query, source)
            case _:
                assert_never(query)
        counters.rcodes[sections.rcode] += 1
        response, is_truncated = encode_response(query, sections, is_udp=transport is Transport.UDP)
        counters.truncated += is_truncated
        return response

    def _sections(self, query: Query, source: str) -> Sections:
        if query.qtype == Rrtype.OPT:
            return Sections(Rcode.FORMERR)  # it stands in no question (RFC 6891 6.1.1)
        if query.qtype in _NOT_IMPLEMENTED:
            return Sections(Rcode.NOTIMP)
        if query.qclass != IN or query.qtype in _TRANSFERS or not self._zone.has(query.labels):
            return Sections(Rcode.REFUSED)
        below = query.labels[: len(query.labels) - self._depth]
        if not below:
            return self._at_apex(query)
        server = self._zone.server_at.get(query.labels)
        if server is not None:
            return self._found(query, _addresses(server, query.qtype, self._zone.times.ttl_s))
        if query.labels in self._zone.between:
            return self._found(query, Records(0))
        found = self._answers.find(below, query.qtype, source)
        match found:
            case Records():
                return self._found(query, found)
            case Absence.NO_SUCH_NAME:
                return Sections(Rcode.NXDOMAIN, is_authoritative=True, authority=(self._soa_of_absence(query),))
            case Absence.NOT_KNOWN_YET | Absence.NO_NODE:
                return Sections(Rcode.SERVFAIL)
            case _:
                assert_never(found)

    def _at_apex(self, query: Query) -> Sections:
        zone = self._zone
        match query.qtype:
            case Rrtype.SOA:
                return _positive(Rrset(_QNAME, Rrtype.SOA, zone.times.ttl_s, (self._soa(query),)))
            case Rrtype.NS:
                names = tuple(self._name(server.labels, query) for server in zone.servers)
                glue = [rrset for server in zone.server_at.values() for rrset in self._glue(server, query)]
                return Sections(
                    Rcode.NOERROR,
                    is_authoritative=True,
                    answer=(Rrset(_QNAME, Rrtype.NS, zone.times.ttl_s, names),),
                    additional=glue,
                )
            case _:
                return self._found(query, Records(0))

    def _found(self, query: Query, records: Records) -> Sections:
        """The name exists."""
        if query.qtype == Rrtype.ANY:
            return _positive(Rrset(_QNAME, Rrtype.HINFO, ANY_TTL_S, (_ANY,)))  # RFC 8482 4.2
        if records.rdatas:
            return _positive(Rrset(_QNAME, query.qtype, records.ttl_s, records.rdatas))
        return Sections(Rcode.NOERROR, is_authoritative=True, authority=(self._soa_of_absence(query),))

    def _glue(self, server: NameServer, query: Query) -> list[Rrset]:
        owner, ttl_s = self._name(server.labels, query), self._zone.times.ttl_s
        of_types = ((Rrtype.A, server.ipv4), (Rrtype.AAAA, server.ipv6))
        return [Rrset(owner, rrtype, ttl_s, rdatas) for rrtype, rdatas in of_types if rdatas]

    def _soa_of_absence(self, query: Query) -> Rrset:
        """How long it may be remembered that there is nothing (RFC 2308 3 and 5)."""
        times = self._zone.times
        owner = pointer_to_suffix(query.labels, self._depth)
        return Rrset(owner, Rrtype.SOA, min(times.ttl_s, times.negative_ttl_s), (self._soa(query),))

    def _soa(self, query: Query) -> bytes:
        times = self._zone.times
        numbers = (self._answers.serial, times.refresh_s, times.retry_s, times.expire_s, times.negative_ttl_s)
        names = self._name(self._primary, query) + self._name(self._zone.mailbox, query)
        return names + b"".join((number & 0xFFFF_FFFF).to_bytes(4, "big") for number in numbers)

    def _name(self, labels: Labels, query: Query) -> bytes:
        """A name, shortened by what it shares with the question's when it is in the zone (RFC 1035 4.1.4)."""
        if not self._zone.has(labels):
            return wire_of(labels)
        own = labels[: len(labels) - self._depth]
        return wire_of(own)[:-1] + pointer_to_suffix(query.labels, self._depth)


def _positive(rrset: Rrset) -> Sections:
    return Sections(Rcode.NOERROR, is_authoritative=True, answer=(rrset,))


def _addresses(server: NameServer, qtype: int, ttl_s: int) -> Records:
    match qtype:
        case Rrtype.A:
            return Records(ttl_s, server.ipv4)
        case Rrtype.AAAA:
            return Records(ttl_s, server.ipv6)
        case _:
            return Records(0)
