"""A zone that answers by the letter of RFC 1034 4.3.2 with 4592, 6672 and 2308: slow, from text, without any tables.

Where the product deviates on purpose it is said here too: a chain ends at the zone's edge, at a CNAME from a wildcard
and after 16 names, and ANY is RFC 8482.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

Name = dns.name.Name


@lru_cache
def _name(text: str) -> Name:
    return dns.name.from_text(text)


@dataclass(frozen=True)
class PlainRecord:
    owner: Name
    ttl_s: int
    rrtype: str
    rdata: str

    @property
    def points_to(self) -> Name:
        return _name(self.rdata.split(" ")[-1])

    def text(self, owner: Name | None = None) -> str:
        return f"{(owner or self.owner).to_text()} {self.ttl_s} {self.rrtype} {self.rdata}"


@dataclass
class PlainAnswer:
    rcode: str = "NOERROR"
    is_authoritative: bool = True
    answer: list[str] = field(default_factory=list)
    authority: list[str] = field(default_factory=list)
    additional: set[str] = field(default_factory=set)
    proof: str = "none"
    encloser: Name | None = None


@dataclass
class PlainZone:
    apex: Name
    records: Sequence[PlainRecord]

    def at(self, name: Name, rrtype: str | None = None) -> list[PlainRecord]:
        return [each for each in self.records if each.owner == name and rrtype in {None, each.rrtype}]

    def exists(self, name: Name) -> bool:
        """RFC 4592 2.2: it or something below it has a record."""
        return any(each.owner.is_subdomain(name) for each in self.records)

    def answer(self, qname: Name, qtype: str) -> PlainAnswer:
        said = PlainAnswer()
        asked: set[Name] = set()
        while qname not in asked and len(asked) < 16 and qname.is_subdomain(self.apex):
            asked.add(qname)
            next_name = self._step(said, qname, qtype)
            if next_name is None:
                break
            said.proof, said.encloser = "none", None
            qname = next_name
        if said.answer:
            said.is_authoritative = True  # RFC 1035 4.1.1: about the first owner name in the answer section
        return said

    def _step(self, said: PlainAnswer, qname: Name, qtype: str) -> Name | None:
        """Step 3: match down, label by label."""
        matched = self.apex
        while True:
            if matched != self.apex and self.at(matched, "NS") and not (matched == qname and qtype == "DS"):
                self._refer(said, matched)  # 3b
                return None
            if matched == qname:
                return self._whole(said, qname, qtype, self.at(qname))  # 3a
            following = dns.name.Name(qname.labels[-len(matched.labels) - 1 :])
            if not self.exists(following):
                return self._unmatched(said, qname, qtype, matched)  # 3c
            matched = following

    def _refer(self, said: PlainAnswer, cut: Name) -> None:
        said.is_authoritative = False
        said.authority += sorted(each.text() for each in self.at(cut, "NS"))
        said.authority += sorted(each.text() for each in self.at(cut, "DS"))
        for each in self.at(cut, "NS"):
            said.additional |= self._addresses(each.points_to)
        said.proof, said.encloser = ("none", None) if self.at(cut, "DS") else ("no-ds", cut)

    def _addresses(self, name: Name) -> set[str]:
        return {each.text() for each in self.at(name) if each.rrtype in {"A", "AAAA"}}

    def _whole(
        self, said: PlainAnswer, qname: Name, qtype: str, found: Sequence[PlainRecord], wild_in: Name | None = None
    ) -> Name | None:
        if wild_in is not None:
            said.proof, said.encloser = "wildcard", wild_in
        for each in found:
            if each.rrtype == "CNAME":
                said.answer.append(each.text(qname))
                return None if qtype in {"CNAME", "ANY"} or wild_in is not None else each.points_to
        if qtype == "ANY" and found:
            said.answer.append(f'{qname.to_text()} 3600 HINFO "RFC8482" ""')
            return None
        wanted = [each for each in found if each.rrtype == qtype]
        if not wanted:
            self._deny(said)
            said.proof = "no-data" if wild_in is None else "wildcard-no-data"
            said.encloser = qname if wild_in is None else wild_in
            return None
        said.answer += [text for text in sorted(each.text(qname) for each in wanted) if text not in said.answer]
        if qtype in {"NS", "MX"}:
            for each in wanted:
                said.additional |= {text for text in self._addresses(each.points_to) if self._may_add(each, qtype)}
        return None

    def _may_add(self, each: PlainRecord, qtype: str) -> bool:
        """Additional data: what is known, be it glue."""
        return qtype in {"NS", "MX"} and each.points_to.is_subdomain(self.apex)

    def _unmatched(self, said: PlainAnswer, qname: Name, qtype: str, encloser: Name) -> Name | None:
        for each in self.at(encloser, "DNAME"):
            said.answer += [text for text in [each.text()] if text not in said.answer]
            try:
                target = qname.relativize(encloser).concatenate(each.points_to)
            except dns.name.NameTooLong:
                said.rcode = "YXDOMAIN"
                return None
            said.answer.append(f"{qname.to_text()} {each.ttl_s} CNAME {target.to_text()}")
            return None if qtype in {"CNAME", "ANY"} else target
        wild = dns.name.Name((b"*", *encloser.labels))
        if self.exists(wild):
            return self._whole(said, qname, qtype, self.at(wild), encloser)
        self._deny(said)
        said.rcode, said.proof, said.encloser = "NXDOMAIN", "no-name", encloser
        return None

    def _deny(self, said: PlainAnswer) -> None:
        """RFC 2308 5: the SOA, with the smaller of its TTL and its MINIMUM."""
        (soa,) = self.at(self.apex, "SOA")
        ttl_s = min(soa.ttl_s, int(soa.rdata.split(" ")[-1]))
        said.authority.append(f"{self.apex.to_text()} {ttl_s} SOA {soa.rdata}")
