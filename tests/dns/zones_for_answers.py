"""Zones for tests of answers: a table says them, and the address of the client decides where the table says so."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.message import Message

from cdn.dns.answer import AnswerSettings, Responder, Transport
from cdn.dns.client import Client
from cdn.dns.code import Rcode
from cdn.dns.name import Labels, labels_of
from cdn.dns.zone_answer import AuthoritativeZone, Rrset, Signer, ZoneAnswer

ZONE = "example.net"
SOURCE = "198.51.100.7"
WALL_S = 1_790_000_000.0
MANY = 90
"""Addresses at `many`: more than fit into an answer over UDP."""


def rrset(owner: str, rdtype: str, ttl_s: int, *rdatas: str) -> Rrset:
    """From text, with names in it whole."""
    made = [dns.rdata.from_text("IN", rdtype, each, dns.name.root, False).to_wire() for each in rdatas]
    return Rrset(labels_of(owner), dns.rdatatype.from_text(rdtype), ttl_s, tuple(each or b"" for each in made))


SOA = rrset(ZONE, "SOA", 60, f"ns1.{ZONE}. hostmaster.{ZONE}. 7 3600 600 1209600 60")
NS = rrset(ZONE, "NS", 3600, f"ns1.{ZONE}.", f"ns2.{ZONE}.", "ns.example.org.")
GLUE = (rrset(f"ns1.{ZONE}", "A", 3600, "192.0.2.53"), rrset(f"ns2.{ZONE}", "AAAA", 3600, "2001:db8::53"))

TABLE: dict[tuple[str, str], ZoneAnswer] = {
    (ZONE, "SOA"): ZoneAnswer(Rcode.NOERROR, answer=(SOA,)),
    (ZONE, "NS"): ZoneAnswer(Rcode.NOERROR, answer=(NS,), additional=GLUE),
    (f"mail.{ZONE}", "MX"): ZoneAnswer(
        Rcode.NOERROR, answer=(rrset(f"mail.{ZONE}", "MX", 300, f"10 mx.mail.{ZONE}.", f"20 mx2.mail.{ZONE}."),)
    ),
    (f"srv.{ZONE}", "SRV"): ZoneAnswer(
        Rcode.NOERROR, answer=(rrset(f"srv.{ZONE}", "SRV", 300, f"1 2 443 www.{ZONE}."),)
    ),
    (f"chain.{ZONE}", "A"): ZoneAnswer(
        Rcode.NOERROR,
        answer=(
            rrset(f"chain.{ZONE}", "CNAME", 300, f"www.deep.{ZONE}."),
            rrset(f"www.deep.{ZONE}", "A", 30, "192.0.2.1"),
        ),
    ),
    (f"many.{ZONE}", "A"): ZoneAnswer(
        Rcode.NOERROR, answer=(rrset(f"many.{ZONE}", "A", 30, *(f"10.0.0.{last}" for last in range(MANY))),)
    ),
    (f"some.{ZONE}", "A"): ZoneAnswer(
        Rcode.NOERROR, answer=(rrset(f"some.{ZONE}", "A", 30, *(f"10.0.0.{last}" for last in range(60))),)
    ),
    (f"below.{ZONE}", "A"): ZoneAnswer(
        Rcode.NOERROR,
        is_authoritative=False,
        authority=(rrset(f"below.{ZONE}", "NS", 3600, f"ns.below.{ZONE}."),),
        additional=(rrset(f"ns.below.{ZONE}", "A", 3600, "192.0.2.77"),),
    ),
    (f"signed.{ZONE}", "A"): ZoneAnswer(
        Rcode.NOERROR,
        is_authoritative=False,
        authority=(
            rrset(f"signed.{ZONE}", "NS", 3600, "ns.example.org."),
            rrset(f"signed.{ZONE}", "DS", 3600, "1 13 2 " + 32 * "ab"),
        ),
    ),
    (f"wide.below.{ZONE}", "A"): ZoneAnswer(
        Rcode.NOERROR,
        is_authoritative=False,
        authority=(rrset(f"wide.below.{ZONE}", "NS", 3600, f"ns.wide.below.{ZONE}."),),
        additional=(rrset(f"ns.wide.below.{ZONE}", "A", 3600, *(f"10.0.1.{last}" for last in range(MANY))),),
    ),
    (f"crowd.{ZONE}", "MX"): ZoneAnswer(
        Rcode.NOERROR,
        answer=(rrset(f"crowd.{ZONE}", "MX", 300, f"10 mx.crowd.{ZONE}."),),
        additional=(
            rrset(f"mx.crowd.{ZONE}", "A", 300, "192.0.2.9"),
            rrset(f"mx.crowd.{ZONE}", "AAAA", 300, *(f"2001:db8::{last}" for last in range(1, MANY))),
        ),
    ),
    (f"broken.{ZONE}", "A"): ZoneAnswer(Rcode.SERVFAIL, is_authoritative=False),
}
ABSENT = ZoneAnswer(Rcode.NXDOMAIN, authority=(SOA,))
NO_DATA = ZoneAnswer(Rcode.NOERROR, authority=(SOA,))
GEO = f"www.{ZONE}"
"""Answered by where the client is: the first octet of its address is the last of the answer."""
GEO_SCOPE = 20


@dataclass(slots=True)
class TableZone:
    """Counts what it is asked."""

    apex: Labels = (b"example", b"net")
    asked: int = 0

    def answer(self, labels: Labels, qtype: int, client: Client) -> ZoneAnswer:
        self.asked += 1
        name = b".".join(labels).decode("latin-1")
        if name == GEO and qtype == dns.rdatatype.A:
            if client.is_private:
                return ZoneAnswer(Rcode.NOERROR, answer=(rrset(GEO, "A", 30, "192.0.2.255"),))
            first = client.address >> client.family.bits - 8
            return ZoneAnswer(Rcode.NOERROR, answer=(rrset(GEO, "A", 30, f"192.0.2.{first}"),), scope_prefix=GEO_SCOPE)
        found = TABLE.get((name, dns.rdatatype.to_text(dns.rdatatype.RdataType.make(qtype))))
        if found is not None:
            return found
        return NO_DATA if any(name == known for known, _ in TABLE) or name == GEO else ABSENT


@dataclass(slots=True)
class TableZones:
    """One zone."""

    generation: object = field(default_factory=object)
    zone: TableZone = field(default_factory=TableZone)

    def zone_of(self, labels: Labels, qtype: int) -> AuthoritativeZone | None:
        return self.zone if labels[-2:] == self.zone.apex else None


class TextSigner:
    """Says that it was here."""

    def unsigned(self, answer: ZoneAnswer, qtype: int, wall_s: float) -> ZoneAnswer:
        return answer

    def signed(self, answer: ZoneAnswer, qtype: int, wall_s: float) -> ZoneAnswer:
        return replace(answer, additional=(rrset(f"signed.{ZONE}", "TXT", 5, f'"{qtype} at {wall_s:.0f}"'),))


@dataclass(slots=True)
class OneSigner:
    """For the zone, or for none."""

    signer: Signer | None

    def signer_of(self, apex: Labels) -> Signer | None:
        return self.signer if apex == labels_of(ZONE) else None


def responder(zones: TableZones | None = None, signer: Signer | None = None, **settings: object) -> Responder:
    signers = None if signer is None else OneSigner(signer)
    return Responder(zones or TableZones(), signers, AnswerSettings(**settings))  # type: ignore[arg-type]


def ask(
    asked: Responder, query: Message, *, source: str = SOURCE, transport: Transport = Transport.UDP, at: float = WALL_S
) -> Message:
    """The response, which dnspython can read and takes for one."""
    raw = asked.answer(query.to_wire(), source, transport, at)
    assert raw is not None
    response = dns.message.from_wire(raw)
    assert query.is_response(response)
    return response


def lines(response: Message, section: int) -> list[str]:
    return sorted(line for each in response.sections[section] for line in each.to_text().splitlines())
