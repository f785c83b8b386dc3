"""Answers of zones as text, to be compared and read."""

from __future__ import annotations

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from cdn.dns.client import AddressFamily, Client
from cdn.dns.name import Labels
from cdn.dns.zone_answer import Proof, Rrset, ZoneAnswer

CLIENT = Client(AddressFamily.IPV4, 0xC6336407)


def labels(text: str) -> Labels:
    return dns.name.from_text(text).labels[:-1]


def shown(name: Labels) -> str:
    return dns.name.Name((*name, b"")).to_text()


def rrtype(text: str) -> int:
    return 65401 if text == "ALIAS" else int(dns.rdatatype.from_text(text))


def records(rrsets: tuple[Rrset, ...]) -> list[str]:
    """Every record on a line."""
    told = []
    for rrset in rrsets:
        made = dns.rdatatype.RdataType.make(rrset.rrtype)
        for wire in rrset.rdatas:
            rdata = dns.rdata.from_wire(dns.rdataclass.IN, made, wire, 0, len(wire))
            told.append(f"{shown(rrset.owner)} {rrset.ttl_s} {dns.rdatatype.to_text(made)} {rdata.to_text()}")
    return told


def told(answer: ZoneAnswer) -> list[str]:
    """The whole answer, a fact to a line, SOA records by their TTL alone."""
    lines = [answer.rcode.name + (" aa" if answer.is_authoritative else "")]
    for section in ("answer", "authority", "additional"):
        lines += [f"{section} {_short(record)}" for record in records(getattr(answer, section))]
    if answer.proof is not Proof.NONE:
        lines.append(f"proof {answer.proof.value} {shown(answer.name)} below {shown(answer.closest_encloser)}")
    if answer.scope_prefix:
        lines.append(f"scope {answer.scope_prefix}")
    return lines


def _short(record: str) -> str:
    owner, ttl_s, rrtype_, *rdata = record.split(" ")
    return f"{owner} {ttl_s} SOA" if rrtype_ == "SOA" else f"{owner} {ttl_s} {rrtype_} {' '.join(rdata)}"
