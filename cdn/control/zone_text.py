"""A recorded zone in the standard text form (RFC 1035 5), so that it can be read, changed and imported again."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from cdn.journal.record import ZoneRecords
from cdn.journal.zone_fold import ImportedZone

ALIAS = 65401
"""See `ZoneRecords`."""


def zone_text(zone: ImportedZone) -> str:
    """One record a line with every name whole, the SOA first. Slow for large zones: call it on a thread."""
    in_order = sorted(zone.rrsets, key=lambda each: (each.type != dns.rdatatype.SOA, _order(each.name), each.type))
    lines = [f"; {zone.name}. as recorded with the sequence {zone.sequence}"]
    lines += (line for each in in_order for line in _lines(each))
    return "\n".join(lines) + "\n"


def _lines(rrset: ZoneRecords) -> Iterator[str]:
    for each in rrset.rdatas:
        rtype, rdata = _presented(rrset.type, b64decode(each))
        yield f"{rrset.name}. {rrset.ttl_s} IN {rtype} {rdata}"


def _presented(rrtype: int, wire: bytes) -> tuple[str, str]:
    if rrtype == ALIAS:
        return "ALIAS", dns.name.from_wire(wire, 0)[0].to_text()
    rdtype = dns.rdatatype.RdataType.make(rrtype)
    try:
        rdata = dns.rdata.from_wire(dns.rdataclass.IN, rdtype, wire, 0, len(wire))
    except (dns.exception.DNSException, ValueError):
        return f"TYPE{rrtype}", f"\\# {len(wire)} {wire.hex()}"  # RFC 3597 5: any type, as it is
    return dns.rdatatype.to_text(rdtype), rdata.to_text()


def _order(name: str) -> list[str]:
    """Names below one another stand together."""
    return name.split(".")[::-1]
