"""What has to hold between the records of a zone before it is answered from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import dns.name
import dns.rdatatype
from dns.rdatatype import RdataType

from cdn.dns.code import Rrtype
from cdn.errors import InvalidInput
from cdn.sites.name import check_alias, check_site_name, split_label

MAX_ZONE_NAMES = 100_000
"""With those that exist only because others are below them, of which one deep name brings many: 40 MB in memory."""

MAX_SET_BYTES = 64_000
"""Of the records of one name and type in an answer, which has 65,535 octets with its question and signatures."""

_RECORD_HEAD_BYTES = 12
"""Of a record in an answer whose name points to the question's."""

_SIGNED = frozenset(
    {RdataType.RRSIG, RdataType.NSEC, RdataType.NSEC3, RdataType.NSEC3PARAM, RdataType.DNSKEY, RdataType.CDS,
     RdataType.CDNSKEY, RdataType.SIG, RdataType.NXT}
)  # fmt: skip
_ADDRESSES = frozenset({RdataType.A, RdataType.AAAA})
_AT_CUT = _ADDRESSES | {RdataType.NS, RdataType.DS}
_ONE = frozenset({RdataType.SOA, RdataType.CNAME, RdataType.DNAME, Rrtype.ALIAS})
_WILD = b"*"


@dataclass(frozen=True, slots=True)
class Line:
    """One record, canonical, and the number of the line it begins on."""

    number: int
    owner: dns.name.Name
    rrtype: int
    ttl_s: int
    rdata: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """A sentence, and the number of the line that is wrong."""

    line: int
    sentence: str


def faults_of(lines: Sequence[Line], apex: dns.name.Name, cdn_zone: dns.name.Name) -> list[Fault]:
    """Everything that is wrong, by line."""
    inside, found = [], []
    for line in lines:
        if line.owner.is_subdomain(apex):
            inside.append(line)
        else:
            found.append(Fault(line.number, f"{_shown(line.owner)} is not in the zone {_shown(apex)}: take it out"))
    zone = _Zone(inside, apex)
    if not zone.is_small():
        return [Fault(1, f"the zone has more than {MAX_ZONE_NAMES} names, with all that stand between: delegate parts")]
    for check in (_of_records, _of_names, _of_apex, _of_delegations, _of_dnames):
        found.extend(check(zone))
    found.extend(_of_aliases(zone, cdn_zone))
    return sorted(found, key=lambda fault: fault.line)


class _Zone:
    """The lines by name and type."""

    def __init__(self, lines: Sequence[Line], apex: dns.name.Name) -> None:
        self.apex = apex
        self.lines = lines
        self.at: dict[dns.name.Name, dict[int, list[Line]]] = {}
        for line in lines:
            self.at.setdefault(line.owner, {}).setdefault(line.rrtype, []).append(line)
        self.cuts = {owner for owner, types in self.at.items() if RdataType.NS in types and owner != apex}
        self._cuts = _Above(self.cuts, apex)

    def is_small(self) -> bool:
        """Whether it has at most MAX_ZONE_NAMES names."""
        depth, names = len(self.apex.labels), set[tuple[bytes, ...]]()
        for owner in self.at:
            labels = owner.labels
            while len(labels) > depth and labels not in names:
                names.add(labels)
                labels = labels[1:]
            if len(names) > MAX_ZONE_NAMES:
                return False
        return True

    def cut_above(self, owner: dns.name.Name) -> dns.name.Name | None:
        """The highest delegation that a name is below."""
        return self._cuts.highest(owner)


class _Above:
    """Which of some names stands highest above another, between it and the apex. Of what names have in common above
    them it looks at every name once: zones have thousands of names, and names more than a hundred labels."""

    def __init__(self, some: Iterable[dns.name.Name], apex: dns.name.Name) -> None:
        self._some = {name.labels: name for name in some}
        self._highest: dict[tuple[bytes, ...], dns.name.Name | None] = {apex.labels: None}

    def highest(self, name: dns.name.Name) -> dns.name.Name | None:
        """None: none of them. The name is the apex or below it."""
        if not self._some:
            return None
        labels, known = name.labels, self._highest
        first = next(start for start in range(len(labels)) if labels[start:] in known)
        found = known[labels[first:]]
        for start in range(first - 1, -1, -1):
            found = known[labels[start:]] = found or self._some.get(labels[start + 1 :])
        return found


def _of_records(zone: _Zone) -> Iterator[Fault]:
    for owner, types in zone.at.items():
        for rrtype, lines in types.items():
            first, text = lines[0], dns.rdatatype.to_text(RdataType.make(rrtype))
            if dns.rdatatype.is_metatype(RdataType.make(rrtype)):
                yield Fault(first.number, f"{text} is a type of questions, there are no records of it")
            elif rrtype in _SIGNED:
                yield Fault(
                    first.number,
                    f"{text} records are made here when the zone is signed (`cdn zone sign`): import it unsigned",
                )
            set_bytes = sum(_RECORD_HEAD_BYTES + len(rdata) for rdata in {line.rdata for line in lines})
            if set_bytes > MAX_SET_BYTES:
                yield Fault(
                    first.number,
                    f"all {text} of {_shown(owner)} together take {set_bytes} octets in an answer, which has room for "
                    f"{MAX_SET_BYTES}: nobody could ever be told them",
                )
            for line in lines[1:]:
                if line.ttl_s != first.ttl_s:
                    yield Fault(
                        line.number,
                        f"the TTL of {_shown(owner)} {text} is {line.ttl_s} here and {first.ttl_s} in line "
                        f"{first.number}: records of one name and type have one (RFC 2181 5.2)",
                    )
                if rrtype in _ONE and line.rdata != first.rdata:
                    yield Fault(
                        line.number,
                        f"{_shown(owner)} has another {text} in line {first.number}: there can be only one",
                    )


def _of_names(zone: _Zone) -> Iterator[Fault]:
    for owner, types in zone.at.items():
        if RdataType.CNAME in types and len(types) > 1:
            line = types[RdataType.CNAME][0]
            what = "the zone itself, which has SOA and NS" if owner == zone.apex else f"{_shown(owner)}, which has more"
            yield Fault(
                line.number,
                f"a CNAME cannot stand at {what} (RFC 1034 3.6.2): use ALIAS for a site, or remove the other records",
            )
        if owner.labels[0] == _WILD:
            for rrtype in sorted(types.keys() & {RdataType.NS, RdataType.DNAME}):
                yield Fault(
                    types[rrtype][0].number,
                    f"a {dns.rdatatype.to_text(RdataType.make(rrtype))} at a wildcard means something else to every "
                    "server (RFC 4592 4.2, 4.4): write it for each name",
                )


def _of_apex(zone: _Zone) -> Iterator[Fault]:
    types = zone.at.get(zone.apex, {})
    for rrtype, why in ((RdataType.SOA, "begins the zone"), (RdataType.NS, "names its servers")):
        if rrtype not in types:
            yield Fault(1, f"{_shown(zone.apex)} has no {rrtype.name} record, the one that {why}: add it")
    for owner, its_types in zone.at.items():
        for line in its_types.get(RdataType.SOA, ()) if owner != zone.apex else ():
            yield Fault(line.number, f"a SOA stands at {_shown(owner)}, and the zone is {_shown(zone.apex)}")
    for line in types.get(RdataType.DS, ()):
        yield Fault(line.number, "the DS of a zone belongs to the zone above it: take it out")
    yield from _of_name_servers(zone, types.get(RdataType.NS, ()))


def _of_delegations(zone: _Zone) -> Iterator[Fault]:
    glue = {_target(line) for name in zone.cuts for line in zone.at[name][RdataType.NS]}
    for owner, types in zone.at.items():
        above = zone.cut_above(owner)
        is_cut = owner in zone.cuts
        for rrtype, lines in types.items():
            if above is not None and (rrtype not in _ADDRESSES or owner not in glue):
                yield Fault(
                    lines[0].number,
                    f"{_shown(owner)} is below {_shown(above)}, which is delegated: nothing but the addresses of "
                    "its name servers can stand here",
                )
            elif is_cut and rrtype not in _AT_CUT:
                yield Fault(lines[0].number, f"{_shown(owner)} is delegated: only NS, DS and addresses can stand here")
        if RdataType.DS in types and not is_cut and owner != zone.apex and above is None:
            yield Fault(types[RdataType.DS][0].number, f"{_shown(owner)} has a DS and is not delegated: add its NS")
        if is_cut and above is None:
            yield from _of_name_servers(zone, types[RdataType.NS])


def _of_name_servers(zone: _Zone, lines: Sequence[Line]) -> Iterator[Fault]:
    for line in lines:
        target = _target(line)
        if not target.is_subdomain(zone.apex):
            continue
        types = zone.at.get(target, {})
        if RdataType.CNAME in types:
            yield Fault(line.number, f"{_shown(target)} is a CNAME, a name server has addresses (RFC 2181 10.3)")
        elif not types.keys() & _ADDRESSES and (line.owner == zone.apex or not _is_delegated_elsewhere(zone, line)):
            yield Fault(line.number, f"the name server {_shown(target)} has no address: add its A or AAAA")


def _is_delegated_elsewhere(zone: _Zone, line: Line) -> bool:
    """Whether the server's name is below another delegation than its own: then that one's servers know its address."""
    above = zone.cut_above(_target(line)) or _target(line)
    return above in zone.cuts and above != line.owner


def _of_dnames(zone: _Zone) -> Iterator[Fault]:
    owners = {owner for owner, types in zone.at.items() if RdataType.DNAME in types}
    renamed = _Above(owners, zone.apex)
    for owner, types in zone.at.items():
        first = min(lines[0].number for lines in types.values())
        above = renamed.highest(owner)
        if above is not None:
            yield Fault(
                first,
                f"{_shown(owner)} is below {_shown(above)}, whose DNAME stands for every such name (RFC 6672 2.4)",
            )
        if owner in owners and owner in zone.cuts:
            yield Fault(first, f"{_shown(owner)} has NS and DNAME, which exclude each other (RFC 6672 2.3)")


def _of_aliases(zone: _Zone, cdn_zone: dns.name.Name) -> Iterator[Fault]:
    for owner, types in zone.at.items():
        for line in types.get(Rrtype.ALIAS, ()):
            others = sorted(types.keys() & _ADDRESSES)
            if others:
                names = " and ".join(dns.rdatatype.to_text(RdataType.make(other)) for other in others)
                yield Fault(line.number, f"{_shown(owner)} has {names} beside its ALIAS, which answers for them")
            if not _is_site(_target(line), cdn_zone):
                yield Fault(
                    line.number,
                    f"{_shown(_target(line))} is no site: an ALIAS names SITE.{_shown(cdn_zone)} or "
                    f"PREVIEW--SITE.{_shown(cdn_zone)}",
                )


def _is_site(target: dns.name.Name, cdn_zone: dns.name.Name) -> bool:
    if not target.is_subdomain(cdn_zone) or len(target) != len(cdn_zone) + 1:
        return False
    alias, site = split_label(target.labels[0].decode("latin-1"))
    try:
        check_site_name(site)
        check_alias(alias)
    except InvalidInput:
        return False
    return True


def _target(line: Line) -> dns.name.Name:
    return dns.name.from_wire(line.rdata, 0)[0].canonicalize()


def _shown(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
