"""Writing a response: names shortened, nothing above the size that the client takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from cdn.dns.code import IN, Rrtype
from cdn.dns.name import Labels
from cdn.dns.query import HEADER_BYTES, Query
from cdn.dns.zone_answer import Rrset, ZoneAnswer

MAX_PAYLOAD_BYTES = 1232
"""The longest response over UDP, whatever the client says: it fits every path of IPv6 without fragments."""

MAX_TCP_BYTES = 65_535
"""What the two octets before a message over TCP can say."""

RESPONSE_BIT = 0x8000
AUTHORITATIVE_BIT = 0x0400
TRUNCATED_BIT = 0x0200
RECURSION_DESIRED_BIT = 0x0100
DNSSEC_OK_BIT = 0x8000

_HEADER = Struct("!HHHHHH")
_RECORD_TAIL = Struct("!HHIH")
_POINTER = 0xC000
_QNAME = (_POINTER | HEADER_BYTES).to_bytes(2, "big")
_MAX_OFFSET = 0x3FFF
_MAX_TTL_S = 0x7FFF_FFFF

_NAMES_IN_RDATA: dict[int, tuple[int, int]] = {
    Rrtype.NS: (0, 1), Rrtype.CNAME: (0, 1), Rrtype.PTR: (0, 1), Rrtype.SOA: (0, 2), Rrtype.MX: (2, 1),
}  # fmt: skip
"""Where names begin in the rdata of the types in which they may be shortened (RFC 3597 4), and how many they are."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a response is written into: the octets that its client takes, of which `reserved_bytes` come after it."""

    limit_bytes: int
    reserved_bytes: int = 0


def opt_record(payload_bytes: int, rcode: int, *, is_dnssec_ok: bool, options_bytes: int) -> bytes:
    """The OPT record without its options, of which there will be so many octets; version 0 (RFC 6891 6.1)."""
    ttl = rcode >> 4 << 24 | DNSSEC_OK_BIT * is_dnssec_ok
    return b"\0" + _RECORD_TAIL.pack(Rrtype.OPT, payload_bytes, ttl, options_bytes)


def encode_response(query: Query, found: ZoneAnswer, opt: bytes, room: Room) -> tuple[bytes, bool]:
    """The message, and whether it had to be truncated: then the client asks again over TCP (RFC 2181 9).

    Additional records are left out where there is no room, but the addresses in a referral are needed (RFC 9471).
    """
    question = query.question
    writer = _Writer(question, query.labels)
    limit_bytes = room.limit_bytes - room.reserved_bytes - len(opt)
    flags = RESPONSE_BIT | AUTHORITATIVE_BIT * found.is_authoritative | found.rcode & 0xF
    flags |= RECURSION_DESIRED_BIT * query.is_recursion_desired
    is_referral = not found.is_authoritative and not found.answer
    counts = [bool(question), writer.write(found.answer), writer.write(found.authority), 0]
    if is_referral:
        counts[3] = writer.write(found.additional)
    content = writer.content
    is_truncated = len(content) > limit_bytes
    if is_truncated:
        flags |= TRUNCATED_BIT
        counts[1:] = 0, 0, 0
        del content[HEADER_BYTES + len(question) :]
    elif not is_referral:
        for rrset in found.additional:
            end = len(content)
            written = writer.write((rrset,))
            if len(content) > limit_bytes:
                del content[end:]
                break
            counts[3] += written
    counts[3] += bool(opt)
    _HEADER.pack_into(content, 0, query.id, flags, *counts)
    content += opt
    return bytes(content), is_truncated


def header_and_question(number: int, flags: int, question: bytes, rcode: int, opt: bytes) -> bytes:
    """A response without records."""
    flags |= RESPONSE_BIT | rcode & 0xF
    return _HEADER.pack(number, flags, bool(question), 0, 0, bool(opt)) + question + opt


class _Writer:
    """Knows where every name that it wrote stands, to point there when it comes again (RFC 1035 4.1.4)."""

    def __init__(self, question: bytes, labels: Labels) -> None:
        self.content = bytearray(HEADER_BYTES) + question
        self._labels = labels
        self._at: dict[Labels, int] | None = None  # most answers need nothing of it but where the question's name is

    def write(self, rrsets: Sequence[Rrset]) -> int:
        """Append the records, and say how many they are."""
        content, written = self.content, 0
        for rrset in rrsets:
            owner, rrtype, rdatas = rrset.owner, rrset.rrtype, rrset.rdatas
            ttl_s = min(rrset.ttl_s, _MAX_TTL_S)
            names = _NAMES_IN_RDATA.get(rrtype)
            written += len(rdatas)
            for rdata in rdatas:
                if owner == self._labels:
                    content += _QNAME
                else:
                    self._write_name(owner)
                if names is None:
                    content += _RECORD_TAIL.pack(rrtype, IN, ttl_s, len(rdata))
                    content += rdata
                else:
                    self._write_rdata_with_names(_RECORD_TAIL.pack(rrtype, IN, ttl_s, 0), rdata, *names)
        return written

    def _known(self) -> dict[Labels, int]:
        """Where names stand: at first those in the question's."""
        if self._at is None:
            self._at, place = {}, HEADER_BYTES
            for skipped, label in enumerate(self._labels):
                self._at[self._labels[skipped:]] = place
                place += 1 + len(label)
        return self._at

    def _write_rdata_with_names(self, tail: bytes, rdata: bytes, place: int, names: int) -> None:
        content = self.content
        content += tail
        start = len(content)
        content += rdata[:place]
        for _ in range(names):
            labels, place = _name_at(rdata, place)
            self._write_name(labels)
        content += rdata[place:]
        content[start - 2 : start] = (len(content) - start).to_bytes(2, "big")

    def _write_name(self, labels: Labels) -> None:
        content, known = self.content, self._known()
        for skipped, label in enumerate(labels):
            rest = tuple(map(bytes.lower, labels[skipped:]))
            offset = known.get(rest)
            if offset is not None:
                content += (_POINTER | offset).to_bytes(2, "big")
                return
            if len(content) <= _MAX_OFFSET:
                known[rest] = len(content)
            content.append(len(label))
            content += label
        content.append(0)


def _name_at(rdata: bytes, place: int) -> tuple[Labels, int]:
    """A whole name in rdata, as it is written there, and where it ends."""
    labels = []
    while length := rdata[place]:
        labels.append(rdata[place + 1 : place + 1 + length])
        place += 1 + length
    return tuple(labels), place + 1
