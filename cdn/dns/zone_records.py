"""Records as the journal keeps them, made ready for answers."""

from __future__ import annotations

import re
from base64 import b64decode

import dns.exception
import dns.name

from cdn.dns.code import Rrtype
from cdn.dns.name import Labels
from cdn.dns.zone_answer import Rrset
from cdn.errors import InvalidInput
from cdn.journal.record import ZoneRecords

_PLAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_*-]{1,63}(\.[a-z0-9_*-]{1,63})*")
"""Names that are written as they are; they are nearly all."""

_TARGET_AT: dict[int, int] = {
    Rrtype.NS: 0,
    Rrtype.CNAME: 0,
    Rrtype.DNAME: 0,
    Rrtype.ALIAS: 0,
    Rrtype.MX: 2,
    Rrtype.SRV: 6,
    Rrtype.SVCB: 2,
    Rrtype.HTTPS: 2,
}
"""How many octets stand before the name that records of these types point to."""


def rrset_of(records: ZoneRecords) -> Rrset:
    """The records in wire form. Raises InvalidInput when they are no base64 or the name is none."""
    owner = labels_from_text(records.name)
    try:
        rdatas = tuple(b64decode(rdata, validate=True) for rdata in records.rdatas)
    except ValueError as exc:
        raise InvalidInput(f"records of {records.name[:80]!r} cannot be read: {exc}", field="zone") from exc
    return Rrset(owner, records.type, records.ttl_s, rdatas)


def labels_from_text(name: str) -> Labels:
    """A whole name as the journal writes it: in lower case, without the final dot, escaped where it must be. Raises
    InvalidInput."""
    if _PLAIN.fullmatch(name):
        return tuple(name.encode("ascii").split(b"."))
    try:
        return dns.name.from_text(name).canonicalize().labels[:-1]
    except (dns.exception.DNSException, ValueError) as exc:
        raise InvalidInput(f"{name[:80]!r} is no name: {exc}", field="name") from exc


def target_of(rrtype: int, rdata: bytes) -> Labels | None:
    """The name that a record points to, in lower case; None for a type that points to none."""
    at = _TARGET_AT.get(rrtype)
    return None if at is None else read_labels(rdata, at)


def read_labels(rdata: bytes, at: int) -> Labels:
    """An uncompressed name within an rdata. Raises InvalidInput when it does not end there."""
    labels: list[bytes] = []
    while at < len(rdata):
        length = rdata[at]
        if not length:
            return tuple(labels)
        labels.append(rdata[at + 1 : at + 1 + length].lower())
        at += 1 + length
    raise InvalidInput("a name in an rdata does not end", field="zone")
