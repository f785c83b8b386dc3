"""Answers of the CDN's own zone: bytes in, bytes out, read back with dnspython and held against a plain model."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from dns.message import Message
from hypothesis import given
from hypothesis import strategies as st

from cdn.dns.answer import Transport
from cdn.dns.choice import Family
from cdn.dns.client import client_at
from cdn.dns.code import Rcode
from tests.dns.zone_of_tests import SITES, ZONE, Nodes, answerer

UDP, TCP = Transport.UDP, Transport.TCP
SOURCE = "198.51.100.7"


def ask(name: str, rdtype: str, *, rdclass: str = "IN", transport: Transport = UDP, edns: int = 0) -> Message:
    query = dns.message.make_query(name, rdtype, rdclass, use_edns=edns, payload=1232)
    raw = answerer().answer(query.to_wire(), SOURCE, transport)
    assert raw is not None
    response = dns.message.from_wire(raw)
    assert query.is_response(response)
    return response


def lines(response: Message, section: int) -> list[str]:
    return sorted(line for rrset in response.sections[section] for line in rrset.to_text().splitlines())


def test_a_site_is_answered_with_authority_and_nothing_beside() -> None:
    response = ask(f"blog.{ZONE}", "A")
    assert lines(response, 1) == [f"blog.{ZONE}. 30 IN A 192.0.2.{last}" for last in (1, 2)]
    assert (response.rcode(), response.authority, response.additional) == (dns.rcode.NOERROR, [], [])
    flags = response.flags
    assert (flags & dns.flags.AA, flags & dns.flags.RA, flags & dns.flags.AD) == (dns.flags.AA, 0, 0)
    assert flags & dns.flags.RD, "as it was asked"


def test_the_case_of_the_question_comes_back_and_means_nothing() -> None:
    nodes = Nodes()
    query = dns.message.make_query(f"bLoG.{ZONE.upper()}", "A")
    raw = answerer(nodes=nodes).answer(query.to_wire(), SOURCE, UDP)
    assert raw is not None
    assert query.to_wire()[12:-11] in raw or raw[12 : 12 + 26] == query.to_wire()[12 : 12 + 26]
    assert b"bLoG" in raw
    assert nodes.asked == [("blog", Family.IPV4, client_at(SOURCE))]


SOA = f"{ZONE}. 10 IN SOA ns1.{ZONE}. dns\\.people.example.net. 7 3600 600 1209600 10"


@pytest.mark.parametrize(
    ("name", "rdtype"),
    [
        (f"blog.{ZONE}", "AAAA"),
        (f"blog.{ZONE}", "TXT"),
        (f"empty.{ZONE}", "A"),
        (ZONE, "A"),
        (ZONE, "TYPE65280"),
        (f"ns1.{ZONE}", "MX"),
        (f"b.ns.{ZONE}", "AAAA"),
        (f"ns.{ZONE}", "ANY"),
        (f"ns.{ZONE}", "A"),  # nothing is there, and something is below it
    ],
)
def test_a_name_without_such_records(name: str, rdtype: str) -> None:
    response = ask(name, rdtype)
    assert (response.rcode(), response.answer, lines(response, 2)) == (dns.rcode.NOERROR, [], [SOA])
    assert response.flags & dns.flags.AA


@pytest.mark.parametrize("name", [f"nobody-knows.{ZONE}", f"a.blog.{ZONE}", f"_acme-challenge.blog.{ZONE}"])
@pytest.mark.parametrize("rdtype", ["A", "ANY", "SOA"])
def test_a_name_that_does_not_exist(name: str, rdtype: str) -> None:
    response = ask(name, rdtype)
    assert (response.rcode(), response.answer, lines(response, 2)) == (dns.rcode.NXDOMAIN, [], [SOA])


def test_what_cannot_be_said_now_is_a_failure_and_no_denial() -> None:
    response = ask(f"nobody.{ZONE}", "A")
    assert (response.rcode(), response.answer, response.authority) == (dns.rcode.SERVFAIL, [], [])
    assert not response.flags & dns.flags.AA


def test_the_apex() -> None:
    assert lines(ask(ZONE, "SOA"), 1) == [SOA.replace(" 10 IN", " 3600 IN")]
    response = ask(ZONE, "NS")
    assert lines(response, 1) == [
        f"{ZONE}. 3600 IN NS b.ns.{ZONE}.",
        f"{ZONE}. 3600 IN NS ns.example.org.",
        f"{ZONE}. 3600 IN NS ns1.{ZONE}.",
    ]
    assert lines(response, 3) == [
        f"b.ns.{ZONE}. 3600 IN A 198.51.100.53",
        f"ns1.{ZONE}. 3600 IN A 192.0.2.53",
        f"ns1.{ZONE}. 3600 IN AAAA 2001:db8::53",
    ]
    assert lines(ask(f"ns1.{ZONE}", "A"), 1) == [f"ns1.{ZONE}. 3600 IN A 192.0.2.53"]
    assert lines(ask(f"ns1.{ZONE}", "AAAA"), 1) == [f"ns1.{ZONE}. 3600 IN AAAA 2001:db8::53"]


@pytest.mark.parametrize("name", [ZONE, f"blog.{ZONE}", f"ns1.{ZONE}"])
def test_any_is_answered_with_as_little_as_possible(name: str) -> None:
    assert lines(ask(name, "ANY"), 1) == [f'{name}. 3600 IN HINFO "RFC8482" ""']


@pytest.mark.parametrize(
    ("name", "rdtype", "rdclass"),
    [
        ("example.org", "A", "IN"),
        ("example.net", "SOA", "IN"),
        (f"x{ZONE}", "A", "IN"),
        (".", "NS", "IN"),
        ("version.bind", "TXT", "CH"),
        ("hostname.bind", "TXT", "CH"),
        (f"blog.{ZONE}", "A", "CH"),
        (f"blog.{ZONE}", "A", "ANY"),
        (ZONE, "AXFR", "IN"),
        (ZONE, "IXFR", "IN"),
    ],
)
def test_what_is_not_ours_or_not_given_is_refused(name: str, rdtype: str, rdclass: str) -> None:
    for transport in Transport:
        response = ask(name, rdtype, rdclass=rdclass, transport=transport)
        assert (response.rcode(), response.sections[1:3]) == (dns.rcode.REFUSED, [[], []])
        assert not response.flags & dns.flags.AA


@pytest.mark.parametrize("rdtype", ["TKEY", "TSIG", "MAILA", "MAILB"])
def test_types_that_ask_for_more_than_records(rdtype: str) -> None:
    assert ask(f"blog.{ZONE}", rdtype).rcode() == dns.rcode.NOTIMP


def test_opt_is_no_question() -> None:
    assert ask(f"blog.{ZONE}", "OPT").rcode() == dns.rcode.FORMERR


def test_edns_is_answered_with_edns_and_only_then() -> None:
    assert ask(f"blog.{ZONE}", "A", edns=-1).edns == -1
    response = ask(f"blog.{ZONE}", "A")
    assert (response.edns, response.payload, response.options) == (0, 1232, ())
    query = dns.message.make_query(f"blog.{ZONE}", "A", want_dnssec=True)
    query.flags |= dns.flags.CD | dns.flags.AD
    raw = answerer().answer(query.to_wire(), SOURCE, UDP)
    assert raw is not None
    response = dns.message.from_wire(raw)
    assert response.ednsflags & dns.flags.DO
    assert not response.flags & (dns.flags.CD | dns.flags.AD)


@given(st.integers(0, 0xFFFF))
def test_of_the_flags_only_rd_comes_back(flags: int) -> None:
    raw = bytearray(dns.message.make_query(f"blog.{ZONE}", "A").to_wire())
    flags &= 0x07FF  # a question
    raw[2:4] = flags.to_bytes(2, "big")
    response = answerer().answer(bytes(raw), SOURCE, UDP)
    assert response is not None
    assert int.from_bytes(response[2:4], "big") == 0x8400 | flags & 0x0100


def test_a_later_version_of_edns() -> None:
    response = ask(f"blog.{ZONE}", "A", edns=1)
    assert (response.rcode(), response.edns, response.answer) == (dns.rcode.BADVERS, 0, [])


def test_what_does_not_fit_is_truncated_and_whole_over_tcp() -> None:
    many = SITES["many"]
    assert many is not None
    query = dns.message.make_query(f"many.{ZONE}", "A", use_edns=-1)
    asked = answerer()
    for payload, limit in ((None, 512), (100, 512), (900, 900), (1232, 1232), (65535, 1232)):
        if payload is not None:
            query.use_edns(0, payload=payload)
        raw = asked.answer(query.to_wire(), SOURCE, UDP)
        assert raw is not None
        assert len(raw) <= limit
        response = dns.message.from_wire(raw)
        assert (response.answer, bool(response.flags & dns.flags.TC)) == ([], True)
    assert asked.counters.truncated == 5
    whole = ask(f"many.{ZONE}", "A", transport=TCP)
    assert len(lines(whole, 1)) == len(many)
    assert not whole.flags & dns.flags.TC


def test_addresses_of_name_servers_are_left_out_where_there_is_no_room_and_that_is_no_truncation() -> None:
    """Thirteen names of servers leave no room for all of their addresses."""
    addresses = " ".join(f"2001:db8::{number}" for number in range(1, 9))
    asked = answerer(*(f"{'n' * 20}{number}.{ZONE} {addresses}" for number in range(13)))
    raw = asked.answer(dns.message.make_query(ZONE, "NS", use_edns=-1).to_wire(), SOURCE, UDP)
    assert raw is not None
    response = dns.message.from_wire(raw)
    assert len(raw) <= 512
    assert len(lines(response, 1)) == 13
    assert not response.flags & dns.flags.TC
    assert len(response.additional) < 13


def test_everything_is_counted() -> None:
    asked = answerer()
    for name in (f"blog.{ZONE}", f"gone.{ZONE}", "example.org"):
        asked.answer(dns.message.make_query(name, "A").to_wire(), SOURCE, UDP)
    asked.answer(b"\0" * 12, SOURCE, TCP)
    asked.answer(b"\0" * 11, SOURCE, TCP)
    counters = asked.counters
    assert (counters.queries[UDP], counters.queries[TCP], counters.silent) == (3, 2, 1)
    assert {rcode: count for rcode, count in counters.rcodes.items() if count} == {
        Rcode.NOERROR: 1, Rcode.NXDOMAIN: 1, Rcode.REFUSED: 1, Rcode.FORMERR: 1,
    }  # fmt: skip


@given(st.binary(max_size=400))
def test_no_bytes_raise_and_every_answer_can_be_read(raw: bytes) -> None:
    response = answerer().answer(raw, SOURCE, UDP)
    if response is None:
        assert len(raw) < 12 or raw[2] & 0x80
        return
    assert response[:2] == raw[:2]
    assert response[2] & 0x80
    assert len(response) <= 1232
    if raw[2] >> 3 & 0xF == 0:
        dns.message.from_wire(response)


NAMES = st.one_of(
    st.sampled_from([*(f"{site}.{ZONE}" for site in SITES), ZONE, f"ns1.{ZONE}", f"ns.{ZONE}", "example.net", "."]),
    st.lists(st.sampled_from(["a", "blog", "cdn", "example", "net", "ns"]), min_size=1, max_size=6).map(".".join),
)


@given(name=NAMES, rdtype=st.integers(1, 300), payload=st.integers(0, 4096) | st.none(), is_udp=st.booleans())
def test_every_answer_is_what_a_plain_reading_of_the_rfcs_says(
    name: str, rdtype: int, payload: int | None, is_udp: bool
) -> None:
    query = dns.message.make_query(
        name, dns.rdatatype.RdataType.make(rdtype), use_edns=-1 if payload is None else 0, payload=payload or 0
    )
    raw = answerer().answer(query.to_wire(), SOURCE, UDP if is_udp else TCP)
    assert raw is not None
    response = dns.message.from_wire(raw)
    expected = plain_rcode(name, rdtype)
    assert response.rcode() == expected
    assert response.question == query.question
    assert (response.edns == 0) == (payload is not None)
    assert not is_udp or len(raw) <= (512 if payload is None else min(max(payload, 512), 1232))
    if response.flags & dns.flags.TC:
        assert (is_udp, response.answer) == (True, [])
        return
    is_ours = expected in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}
    assert bool(response.flags & dns.flags.AA) == is_ours
    has_soa = any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)
    assert has_soa == (is_ours and not response.answer), "whoever is told of nothing is told for how long"
    for rrset in response.answer:
        assert rrset.name == query.question[0].name
        assert rrset.rdtype == (rdtype if rdtype != 255 else dns.rdatatype.HINFO)


def plain_rcode(name: str, rdtype: int) -> int:
    if rdtype == dns.rdatatype.OPT:
        return dns.rcode.FORMERR
    if rdtype in {249, 250, 253, 254}:
        return dns.rcode.NOTIMP
    asked, apex = dns.name.from_text(name), dns.name.from_text(ZONE)
    if rdtype in {251, 252} or not asked.is_subdomain(apex):
        return dns.rcode.REFUSED
    below = asked.relativize(apex).to_text()
    if below == "nobody" and rdtype in {1, 28}:
        return dns.rcode.SERVFAIL
    is_there = below in {"@", "ns1", "ns", "b.ns", *SITES}
    return dns.rcode.NOERROR if is_there else dns.rcode.NXDOMAIN
