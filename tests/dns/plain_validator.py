"""A validator by the letter of RFC 4035 5 and RFC 7129: slow, on dnspython's records and signatures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdatatype
import dns.rrset
from dns.node import Node
from dns.rdataset import Rdataset
from dns.rdtypes.ANY.NSEC import NSEC
from dns.rdtypes.ANY.RRSIG import RRSIG

from cdn.dns.zone_answer import Rrset, ZoneAnswer

Name = dns.name.Name
RrsetOf = dict[tuple[Name, int], dns.rrset.RRset]


def rrset_of(rrset: Rrset) -> dns.rrset.RRset:
    """One of ours as dnspython reads it."""
    made = dns.rdatatype.RdataType.make(rrset.rrtype)
    rdatas = [dns.rdata.from_wire("IN", made, wire, 0, len(wire)) for wire in rrset.rdatas]
    return dns.rrset.from_rdata_list(dns.name.Name((*rrset.owner, b"")), rrset.ttl_s, rdatas)


@dataclass(frozen=True)
class Denial:
    """An NSEC record whose signature was found to be good."""

    owner: Name
    next: Name
    types: frozenset[int]
    ttl_s: int

    def covers(self, name: Name, apex: Name) -> bool:
        return bool(self.owner < name and (name < self.next or self.next == apex))


class PlainValidator:
    """For the answers of one zone."""

    def __init__(self, apex: Name, keys: dns.rrset.RRset, wall_s: float) -> None:
        self._apex = apex
        self._keys: dict[Name, Node | Rdataset] = {apex: keys}
        self._wall_s = wall_s

    def good(self, section: Iterable[Rrset]) -> RrsetOf:
        """The records of a section whose signatures are good; a bad one raises dns.dnssec.ValidationFailure."""
        read = [rrset_of(rrset) for rrset in section]
        signatures = {
            (rrset.name, rdata.type_covered): rrset for rrset in read for rdata in rrset if isinstance(rdata, RRSIG)
        }
        found: RrsetOf = {}
        for rrset in read:
            if rrset.rdtype == dns.rdatatype.RRSIG:
                continue
            signature = signatures.pop((rrset.name, rrset.rdtype), None)
            if signature is not None:
                dns.dnssec.validate(rrset, signature, self._keys, now=self._wall_s)
                assert all(rdata.original_ttl == rrset.ttl for rdata in signature)
                found[rrset.name, rrset.rdtype] = rrset
        assert not signatures, "signatures of what is not there"
        return found

    def denials(self, answer: ZoneAnswer) -> list[Denial]:
        good = self.good(answer.authority)
        return [
            Denial(rrset.name, nsec.next, types_of(nsec), rrset.ttl)
            for rrset in good.values()
            for nsec in rrset
            if isinstance(nsec, NSEC)
        ]

    def proves_no_name(self, denials: Iterable[Denial], name: Name) -> bool:
        """RFC 4035 5.4: the name is covered, and so is the wildcard at its closest encloser (RFC 7129 5.3)."""
        for denial in denials:
            if denial.covers(name, self._apex):
                ends = (denial.owner, denial.next)
                encloser = max((_common(name, end) for end in ends), key=len)
                wildcard = dns.name.Name((b"*", *encloser.labels))
                return any(each.covers(wildcard, self._apex) for each in denials)
        return False

    def proves_no_data(self, denials: Iterable[Denial], name: Name, qtype: int) -> bool:
        """The name's own NSEC record has neither the type nor a CNAME."""
        refuted = {qtype, int(dns.rdatatype.CNAME)}
        return any(denial.owner == name and not refuted & denial.types for denial in denials)


def types_of(nsec: NSEC) -> frozenset[int]:
    return frozenset(
        window * 256 + octet * 8 + bit
        for window, bitmap in nsec.windows
        for octet, value in enumerate(bitmap)
        for bit in range(8)
        if value & 0x80 >> bit
    )


def _common(one: Name, other: Name) -> Name:
    return one.split(one.fullcompare(other)[2])[1]
