"""Reading a query: strict, one pass, no name that points elsewhere (RFC 1035 4, 6891, 8906, 9619)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from cdn.dns.client_subnet import SUBNET_OPTION, ClientSubnet, read_subnet
from cdn.dns.code import IN, QUERY, Rcode, Rrtype
from cdn.dns.cookie import is_well_formed
from cdn.dns.name import MAX_LABEL_OCTETS, MAX_NAME_OCTETS, Labels

HEADER_BYTES = 12

MAX_QUERY_BYTES = 4096
"""A question takes at most 271 bytes; options as long as all of this are none that a resolver needs to send."""

MIN_PAYLOAD_BYTES = 512
"""What every client takes over UDP (RFC 1035 4.2.1); EDNS cannot say less (RFC 6891 6.2.3)."""

NSID_OPTION, COOKIE_OPTION = 3, 10

_HEADER = Struct("!HHHHHH")
_QUESTION_TAIL = Struct("!HH")
_RECORD_TAIL = Struct("!HHIH")
_OPTION = Struct("!HH")

_RESPONSE_BIT = 0x8000
_RECURSION_DESIRED_BIT = 0x0100
_DNSSEC_OK_BIT = 0x8000


@dataclass(frozen=True, slots=True)
class Edns:
    """What the OPT record of a query says (RFC 6891 6.1). `cookie` is empty when there is none."""

    payload_bytes: int
    version: int = 0
    is_dnssec_ok: bool = False
    subnet: ClientSubnet | None = None
    cookie: bytes = b""
    wants_nsid: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `question` is as it was sent, with the case of its letters; `labels` are in lower case.

    `question` is empty when there is only a cookie to be judged (RFC 7873 5.4).
    """

    id: int
    is_recursion_desired: bool
    question: bytes
    labels: Labels
    qtype: int
    qclass: int
    edns: Edns | None
    opcode: int = QUERY


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that gets an answer without having been a question that can be looked up.

    `question` is empty when there is none that could be repeated.
    """

    id: int
    is_recursion_desired: bool
    opcode: int
    rcode: Rcode
    question: bytes = b""
    edns: Edns | None = None


class _Malformed(Exception):
    """What was read does not end where it should, or says what it must not."""


def read_query(message: bytes) -> Query | Refusal | None:
    """The question in `message`, or how to refuse it; None: say nothing.

    Nothing is said to what is too short to have an id and a meaning, and to responses: two servers that answer each
    other's would never stop.
    """
    if len(message) < HEADER_BYTES:
        return None
    number, flags, *counts = _HEADER.unpack_from(message)
    if flags & _RESPONSE_BIT:
        return None
    opcode, wants_recursion = flags >> 11 & 0xF, bool(flags & _RECURSION_DESIRED_BIT)
    if opcode != QUERY:
        return Refusal(number, wants_recursion, opcode, Rcode.NOTIMP)
    questions, answers, authorities, additionals = counts
    if questions > 1 or answers or len(message) > MAX_QUERY_BYTES:
        return Refusal(number, wants_recursion, opcode, Rcode.FORMERR)
    if not questions:
        return _read_without_question(message, number, wants_recursion)
    try:
        labels, end = _read_name(message)
    except _Malformed:
        return Refusal(number, wants_recursion, opcode, Rcode.FORMERR)
    question = message[HEADER_BYTES : end + _QUESTION_TAIL.size]
    qtype, qclass = _QUESTION_TAIL.unpack_from(message, end)
    records = _Records(message, end + _QUESTION_TAIL.size)
    try:
        records.read(authorities, additionals)
    except _Malformed:
        return Refusal(number, wants_recursion, opcode, Rcode.FORMERR, question, records.edns)
    if records.edns is not None and records.edns.version:
        return Refusal(number, wants_recursion, opcode, Rcode.BADVERS, question, records.edns)
    return Query(number, wants_recursion, question, labels, qtype, qclass, records.edns)


def _read_without_question(message: bytes, number: int, wants_recursion: bool) -> Query | Refusal:
    """A client may ask for a cookie and nothing else (RFC 7873 5.4)."""
    records = _Records(message, HEADER_BYTES)
    _, _, _, _, authorities, additionals = _HEADER.unpack_from(message)
    try:
        records.read(authorities, additionals)
    except _Malformed:
        return Refusal(number, wants_recursion, QUERY, Rcode.FORMERR, edns=records.edns)
    edns = records.edns
    if edns is None or edns.version or not edns.cookie:
        rcode = Rcode.BADVERS if edns is not None and edns.version else Rcode.FORMERR
        return Refusal(number, wants_recursion, QUERY, rcode, edns=edns)
    return Query(number, wants_recursion, b"", (), 0, IN, edns)


def _read_name(message: bytes) -> tuple[Labels, int]:
    """The labels of the question's name, and where it ends with a type and a class after it. Raises _Malformed.

    A question comes first, so there is nothing before it that a pointer could mean.
    """
    place, most = HEADER_BYTES, len(message) - _QUESTION_TAIL.size
    labels: list[bytes] = []
    while place < most:
        length = message[place]
        if not length:
            if place + 1 - HEADER_BYTES > MAX_NAME_OCTETS:
                break
            return tuple(labels), place + 1
        if length > MAX_LABEL_OCTETS:
            break
        labels.append(message[place + 1 : place + 1 + length].lower())
        place += 1 + length
    raise _Malformed


class _Records:
    """What comes after the question: read for its OPT record, and for whether it is what the counts say."""

    def __init__(self, message: bytes, place: int) -> None:
        self.edns: Edns | None = None
        self._message = message
        self._place = place

    def read(self, authorities: int, additionals: int) -> None:
        """Everything up to the end of the message. Raises _Malformed; `edns` is then what was found of it."""
        for _ in range(authorities):
            self._read_record(may_be_opt=False)
        for _ in range(additionals):
            self._read_record(may_be_opt=True)
        if self._place != len(self._message):
            raise _Malformed

    def _read_record(self, *, may_be_opt: bool) -> None:
        owner = self._place
        self._skip_name()
        message, tail = self._message, self._place
        if tail + _RECORD_TAIL.size > len(message):
            raise _Malformed
        rrtype, rrclass, ttl, length = _RECORD_TAIL.unpack_from(message, tail)
        start = tail + _RECORD_TAIL.size
        self._place = start + length
        if self._place > len(message):
            raise _Malformed
        if rrtype != Rrtype.OPT:
            return
        if not may_be_opt or self.edns is not None or message[owner]:
            raise _Malformed
        self.edns = edns = Edns(max(rrclass, MIN_PAYLOAD_BYTES), ttl >> 16 & 0xFF, bool(ttl & _DNSSEC_OK_BIT))
        if length and not edns.version:  # how a later version writes its options is not known here
            self.edns = self._with_options(edns, start, self._place)

    def _skip_name(self) -> None:
        """The name of a record that nobody looks at: a pointer ends it and is not followed, so nothing can loop."""
        message, place = self._message, self._place
        while place < len(message):
            length = message[place]
            if length >> 6 == 0b11:
                self._place = place + 2
                return
            if length > MAX_LABEL_OCTETS:
                break
            place += 1 + length
            if not length:
                self._place = place
                return
        raise _Malformed

    def _with_options(self, edns: Edns, start: int, end: int) -> Edns:
        """Unknown ones are passed over (RFC 6891 6.1.2); they have to fill the record exactly.

        Of several cookies the first counts (RFC 7873 5.2). Two networks cannot both be answered.
        """
        message = self._message
        subnet, cookie, wants_nsid = None, b"", False
        while start < end:
            if start + _OPTION.size > end:
                raise _Malformed
            code, length = _OPTION.unpack_from(message, start)
            content = message[start + _OPTION.size : start + _OPTION.size + length]
            start += _OPTION.size + length
            if start > end:
                raise _Malformed
            if code == SUBNET_OPTION:
                if subnet is not None or (subnet := read_subnet(content)) is None:
                    raise _Malformed
            elif code == COOKIE_OPTION and not cookie:
                if not is_well_formed(content):
                    raise _Malformed
                cookie = content
            elif code == NSID_OPTION:
                wants_nsid = True
        return Edns(edns.payload_bytes, 0, edns.is_dnssec_ok, subnet, cookie, wants_nsid)
