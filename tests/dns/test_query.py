"""Reading queries: what is a question, what is refused and how, what gets no answer; and nothing raises."""

from __future__ import annotations

import struct

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.dns.code import Rcode
from cdn.dns.query import MAX_QUERY_BYTES, Edns, Query, Refusal, read_query

QUESTION = b"\x04Blog\x03cdn\x07example\x03net\x00\x00\x01\x00\x01"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"


def message(
    content: bytes = QUESTION, *, flags: int = 0x0100, counts: tuple[int, int, int, int] = (1, 0, 0, 0)
) -> bytes:
    return struct.pack("!HHHHHH", 0xBEEF, flags, *counts) + content


def refused(raw: bytes) -> Refusal:
    found = read_query(raw)
    assert isinstance(found, Refusal), found
    return found


def asked(raw: bytes) -> Query:
    found = read_query(raw)
    assert isinstance(found, Query), found
    return found


def test_a_question() -> None:
    assert asked(message()) == Query(0xBEEF, True, QUESTION, (b"blog", b"cdn", b"example", b"net"), 1, 1, None)
    assert not asked(message(flags=0)).is_recursion_desired


@pytest.mark.parametrize("length", range(12))
def test_what_is_too_short_for_a_header_gets_no_answer(length: int) -> None:
    assert read_query(message()[:length]) is None


def test_responses_get_no_answer_whatever_they_say() -> None:
    assert read_query(message(flags=0x8000)) is None
    assert read_query(message(flags=0xA800, counts=(9, 9, 9, 9))) is None


@pytest.mark.parametrize("opcode", range(1, 16))
def test_other_opcodes_are_not_implemented(opcode: int) -> None:
    found = refused(message(flags=opcode << 11 | 0x0100))
    assert (found.rcode, found.opcode, found.is_recursion_desired, found.question) == (Rcode.NOTIMP, opcode, True, b"")


@pytest.mark.parametrize(
    "counts", [(0, 0, 0, 0), (2, 0, 0, 0), (65535, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1), (1, 0, 0, 65535)]
)
def test_counts_that_lie_are_malformed(counts: tuple[int, int, int, int]) -> None:
    assert refused(message(counts=counts)).rcode is Rcode.FORMERR


def test_two_questions_are_malformed_although_both_are_there() -> None:
    assert refused(message(QUESTION + QUESTION, counts=(2, 0, 0, 0))).rcode is Rcode.FORMERR


def test_every_truncation_is_malformed_or_too_short() -> None:
    whole = message(QUESTION + OPT, counts=(1, 0, 0, 1))
    assert isinstance(read_query(whole), Query)
    for length in range(12, len(whole)):
        assert refused(whole[:length]).rcode is Rcode.FORMERR


def test_what_comes_after_the_message_makes_it_malformed() -> None:
    assert refused(message(QUESTION + b"\0")).rcode is Rcode.FORMERR
    assert refused(message(QUESTION + OPT + b"\0", counts=(1, 0, 0, 1))).rcode is Rcode.FORMERR


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",  # itself
        b"\x01a\xc0\x0c",  # a loop
        b"\xc0\xff",  # forward
        b"\x01a\xc0\x00",  # into the header
        b"\x40" + b"a" * 64 + b"\0",  # a label type that never was
        b"\x80a\0",
        (b"\x3f" + b"a" * 63) * 4 + b"\0",  # 257 octets
    ],
)
def test_names_that_point_or_are_too_long_are_malformed(name: bytes) -> None:
    found = refused(message(name + b"\0\1\0\1"))
    assert (found.rcode, found.question) == (Rcode.FORMERR, b"")


def test_the_longest_name_is_a_name() -> None:
    name = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0"
    assert len(name) == 255
    assert len(asked(message(name + b"\0\1\0\1")).labels) == 4


def test_what_is_longer_than_any_question_is_malformed() -> None:
    fits = 12 + len(QUESTION) + len(OPT) + 4
    padding = b"\x00\x0c" + struct.pack("!H", MAX_QUERY_BYTES - fits) + bytes(MAX_QUERY_BYTES - fits)
    opt = OPT[:-2] + struct.pack("!H", len(padding)) + padding
    longest = message(QUESTION + opt, counts=(1, 0, 0, 1))
    assert len(longest) == MAX_QUERY_BYTES
    assert isinstance(read_query(longest), Query)
    assert refused(longest + b"\0").rcode is Rcode.FORMERR


def test_the_opt_record() -> None:
    assert asked(message(QUESTION + OPT, counts=(1, 0, 0, 1))).edns == Edns(1232)
    small = b"\x00\x00\x29\x00\x01\x00\x00\x80\x00\x00\x00"
    assert asked(message(QUESTION + small, counts=(1, 0, 0, 1))).edns == Edns(512, 0, True)
    unknown = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x07\xff\xf0\x00\x03abc"
    assert asked(message(QUESTION + unknown, counts=(1, 0, 0, 1))).edns == Edns(1232)


@pytest.mark.parametrize(
    "additional",
    [
        OPT + OPT,
        b"\x01a" + OPT,  # an owner that is not the root
        b"\xc0\x0c" + OPT[1:],
        b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x03\x00\x08\x00",  # an option that is cut
        b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x05\x00\x08\x00\x09a",  # one that is longer than the record
    ],
)
def test_a_malformed_opt_record_makes_the_query_malformed(additional: bytes) -> None:
    count = 2 if additional == OPT + OPT else 1
    found = refused(message(QUESTION + additional, counts=(1, 0, 0, count)))
    assert (found.rcode, found.question) == (Rcode.FORMERR, QUESTION)


def test_opt_belongs_into_the_additional_section() -> None:
    assert refused(message(QUESTION + OPT, counts=(1, 0, 1, 0))).rcode is Rcode.FORMERR


def test_later_versions_of_edns_are_named_and_their_options_not_looked_at() -> None:
    later = b"\x00\x00\x29\x04\xd0\x00\x01\x80\x00\x00\x03abc"
    found = refused(message(QUESTION + later, counts=(1, 0, 0, 1)))
    assert (found.rcode, found.question) == (Rcode.BADVERS, QUESTION)
    assert found.edns == Edns(1232, 1, True)


def test_other_records_are_passed_over() -> None:
    soa = b"\xc0\x11\x00\x06\x00\x01\x00\x00\x00\x00\x00\x02ab"
    tsig = b"\x03key\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x01x"
    assert asked(message(QUESTION + soa + OPT + tsig, counts=(1, 0, 1, 2))).edns == Edns(1232)
    for cut in (b"\x03ke", b"\x40abc", b"\x03key\xc0", b"\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x09abc"):
        assert refused(message(QUESTION + cut, counts=(1, 0, 0, 1))).rcode is Rcode.FORMERR


@given(st.binary(max_size=600))
def test_no_bytes_raise(raw: bytes) -> None:
    found = read_query(raw)
    assert (found is None) == (len(raw) < 12 or bool(raw[2] & 0x80))


@given(st.data())
def test_a_flipped_bit_raises_nothing(data: st.DataObject) -> None:
    raw = bytearray(message(QUESTION + OPT, counts=(1, 0, 0, 1)))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    found = read_query(bytes(raw))
    is_response = bool(raw[2] & 0x80)
    assert (found is None) == is_response, "only to responses nothing is said"
    assert found is None or found.id == int.from_bytes(raw[:2], "big")


LABELS = st.binary(min_size=1, max_size=20)


@given(
    labels=st.lists(LABELS, max_size=8),
    rdtype=st.integers(0, 65535),
    rdclass=st.integers(0, 65535),
    payload=st.integers(0, 65535),
    wants_dnssec=st.booleans(),
    options=st.lists(st.tuples(st.integers(20, 65535), st.binary(max_size=30)), max_size=3),
    has_edns=st.booleans(),
)
def test_what_dnspython_writes_is_read_as_it_was_meant(
    labels: list[bytes],
    rdtype: int,
    rdclass: int,
    payload: int,
    wants_dnssec: bool,
    options: list[tuple[int, bytes]],
    has_edns: bool,
) -> None:
    query = dns.message.QueryMessage(id=0x1234)
    name = dns.name.Name([*labels, b""])
    query.question.append(dns.rrset.RRset(name, dns.rdataclass.RdataClass(rdclass), dns.rdatatype.RdataType(rdtype)))
    if has_edns:
        generic: list[dns.edns.Option] = [
            dns.edns.GenericOption(dns.edns.OptionType.make(code), content) for code, content in options
        ]
        query.use_edns(0, dns.flags.DO if wants_dnssec else 0, payload, options=generic)
    found = asked(query.to_wire())
    assert found.labels == tuple(label.lower() for label in labels)
    assert (found.qtype, found.qclass, found.id) == (rdtype, rdclass, 0x1234)
    assert found.edns == (Edns(max(payload, 512), 0, wants_dnssec) if has_edns else None)
