"""Writing a response: names shortened to the question's, nothing above the size that the client takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from cdn.dns.code import IN, Rcode, Rrtype
from cdn.dns.query import HEADER_BYTES, MIN_PAYLOAD_BYTES, Query, Refusal

MAX_PAYLOAD_BYTES = 1232
"""The longest response over UDP, whatever the client says: it fits every path of IPv6 without fragments."""

MAX_TCP_BYTES = 65_535
"""What the two octets before a message over TCP can say."""

_HEADER = Struct("!HHHHHH")
_RECORD_TAIL = Struct("!HHIH")
_RESPONSE_BIT = 0x8000
_AUTHORITATIVE_BIT = 0x0400
_TRUNCATED_BIT = 0x0200
_RECURSION_DESIRED_BIT = 0x0100
_DNSSEC_OK_BIT = 0x8000
_POINTER = 0xC000

QNAME = _POINTER | HEADER_BYTES
"""A pointer to the question's name."""


@dataclass(frozen=True, slots=True)
class Rrset:
    """Records of one owner and type. `owner` and the names in `rdatas` are as they go on the wire."""

    owner: bytes
    rrtype: int
    ttl_s: int
    rdatas: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The records, one after the other."""
        return b"".join(
            self.owner + _RECORD_TAIL.pack(self.rrtype, IN, self.ttl_s, len(rdata)) + rdata for rdata in self.rdatas
        )


@dataclass(frozen=True, slots=True)
class Sections:
    """What a response says beside its question. `additional` may be left out where there is no room."""

    rcode: Rcode
    is_authoritative: bool = False
    answer: Sequence[Rrset] = ()
    authority: Sequence[Rrset] = ()
    additional: Sequence[Rrset] = ()


def pointer_to_suffix(question_labels: Sequence[bytes], suffix_labels: int) -> bytes:
    """A pointer to the last `suffix_labels` labels of the question's name."""
    skipped = question_labels[: len(question_labels) - suffix_labels]
    return (_POINTER | HEADER_BYTES + sum(1 + len(label) for label in skipped)).to_bytes(2, "big")


def encode_response(query: Query | Refusal, sections: Sections, *, is_udp: bool) -> tuple[bytes, bool]:
    """The message, and whether it had to be truncated: then the client asks again over TCP (RFC 2181 9)."""
    flags = _RESPONSE_BIT | query.opcode << 11 | sections.rcode & 0xF
    flags |= _AUTHORITATIVE_BIT * sections.is_authoritative
    flags |= _RECURSION_DESIRED_BIT * query.is_recursion_desired
    opt = b"" if query.edns is None else _opt(sections.rcode, is_dnssec_ok=query.edns.is_dnssec_ok)
    room_bytes = _limit_bytes(query, is_udp=is_udp) - HEADER_BYTES - len(query.question) - len(opt)
    answer = b"".join(rrset.encode() for rrset in sections.answer)
    authority = b"".join(rrset.encode() for rrset in sections.authority)
    counts = [_count(sections.answer), _count(sections.authority), bool(opt)]
    is_truncated = len(answer) + len(authority) > room_bytes
    if is_truncated:
        flags |= _TRUNCATED_BIT
        answer = authority = b""
        counts[:2] = 0, 0
    content = answer + authority
    if not is_truncated:
        for rrset in sections.additional:
            encoded = rrset.encode()
            if len(content) + len(encoded) > room_bytes:
                break
            content += encoded
            counts[2] += len(rrset.rdatas)
    header = _HEADER.pack(query.id, flags, bool(query.question), *counts)
    return header + query.question + content + opt, is_truncated


def _limit_bytes(query: Query | Refusal, *, is_udp: bool) -> int:
    if not is_udp:
        return MAX_TCP_BYTES
    return MIN_PAYLOAD_BYTES if query.edns is None else min(query.edns.payload_bytes, MAX_PAYLOAD_BYTES)


def _opt(rcode: Rcode, *, is_dnssec_ok: bool) -> bytes:
    """Version 0 and no options (RFC 6891 6.1.2); DO comes back as it was sent (RFC 3225)."""
    ttl = rcode >> 4 << 24 | _DNSSEC_OK_BIT * is_dnssec_ok
    return b"\0" + _RECORD_TAIL.pack(Rrtype.OPT, MAX_PAYLOAD_BYTES, ttl, 0)


def _count(rrsets: Sequence[Rrset]) -> int:
    return sum(len(rrset.rdatas) for rrset in rrsets)
