"""Responses to every kind of question, read back with dnspython and held against a plain reading of the RFCs."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
from dns.message import Message
from hypothesis import given
from hypothesis import strategies as st

from cdn.dns import answer as subject
from cdn.dns.answer import MEMO_S, Transport
from cdn.dns.cookie import CookieSecrets
from cdn.dns.rate_limit import RateLimits
from cdn.errors import InvalidInput
from tests.dns.zones_for_answers import (
    GEO,
    GEO_SCOPE,
    MANY,
    SOURCE,
    TABLE,
    WALL_S,
    ZONE,
    TableZones,
    TextSigner,
    ask,
    lines,
    responder,
)

UDP, TCP = Transport.UDP, Transport.TCP
SECRETS = CookieSecrets((bytes(range(16)),))
CLIENT_COOKIE = b"\1\2\3\4\5\6\7\x08"


def query(name: str, rdtype: str = "A", *options: dns.edns.Option, edns: int = 0, payload: int = 1232) -> Message:
    return dns.message.make_query(name, rdtype, use_edns=edns, payload=payload, options=list(options))


def subnet(address: str, source: int = 24) -> dns.edns.ECSOption:
    return dns.edns.ECSOption(address, source)


def cookie(content: bytes) -> dns.edns.Option:
    return dns.edns.GenericOption(dns.edns.OptionType.COOKIE, content)


def option(response: Message, code: dns.edns.OptionType) -> bytes | None:
    found = [each.to_wire() for each in response.options if each.otype == code]
    assert len(found) < 2
    return found[0] if found else None


def scope_of(response: Message) -> tuple[str, int, int] | None:
    found = [each for each in response.options if isinstance(each, dns.edns.ECSOption)]
    assert len(found) < 2
    return (found[0].address, found[0].srclen, found[0].scopelen) if found else None


def addresses(response: Message) -> list[str]:
    return sorted(each.to_text() for rrset in response.answer for each in rrset if rrset.rdtype == dns.rdatatype.A)


# What zones say.


@pytest.mark.parametrize(("name", "rdtype"), list(TABLE))
@pytest.mark.parametrize("transport", Transport)
def test_everything_a_zone_says_arrives(name: str, rdtype: str, transport: Transport) -> None:
    response = ask(responder(), query(name, rdtype), transport=transport)
    found = TABLE[name, rdtype]
    if response.flags & dns.flags.TC:
        assert (name.split(".", maxsplit=1)[0] in {"many", "wide"}, transport) == (True, UDP)
        assert response.sections[1:] == [[], [], []]
        return
    assert int(response.rcode()) == int(found.rcode)
    assert bool(response.flags & dns.flags.AA) == found.is_authoritative
    for section, rrsets in ((1, found.answer), (2, found.authority), (3, found.additional)):
        expected = sum(len(each.rdatas) for each in rrsets if each.rrtype != dns.rdatatype.DS)
        is_cut = section == 3 and name.startswith("crowd") and transport is UDP
        assert len(lines(response, section)) == (1 if is_cut else expected)
        for rrset in response.sections[section]:
            owner = tuple(label.lower() for label in rrset.name.labels[:-1])
            made = next(each for each in rrsets if (each.owner, each.rrtype) == (owner, rrset.rdtype))
            assert sorted(each.to_wire() or b"" for each in rrset) == sorted(made.rdatas)
            assert rrset.ttl == made.ttl_s


def test_names_are_shortened_in_owners_and_in_the_rdata_of_the_types_where_they_may_be() -> None:
    for name, rdtype, others in (
        (ZONE, "NS", 2),
        (f"mail.{ZONE}", "MX", 1),
        (f"chain.{ZONE}", "A", 1),
        (ZONE, "SOA", 1),
    ):
        raw = responder().answer(query(name, rdtype).to_wire(), SOURCE, TCP, WALL_S)
        assert raw is not None
        assert raw.count(b"\x07example\x03net\x00") == 1, (name, rdtype)
        del others
    raw = responder().answer(query(f"srv.{ZONE}", "SRV").to_wire(), SOURCE, TCP, WALL_S)
    assert raw is not None
    assert raw.count(b"\x07example\x03net\x00") == 2, "not in SRV (RFC 2782)"


@pytest.mark.parametrize(
    ("name", "rdtype", "rdclass", "rcode"),
    [
        ("example.org", "A", "IN", "REFUSED"),
        (f"x{ZONE}", "A", "IN", "REFUSED"),
        (".", "NS", "IN", "REFUSED"),
        ("version.bind", "TXT", "CH", "REFUSED"),
        (GEO, "A", "CH", "REFUSED"),
        (GEO, "A", "ANY", "REFUSED"),
        (ZONE, "AXFR", "IN", "REFUSED"),
        (ZONE, "IXFR", "IN", "REFUSED"),
        (GEO, "TKEY", "IN", "NOTIMP"),
        (GEO, "TSIG", "IN", "NOTIMP"),
        (GEO, "MAILA", "IN", "NOTIMP"),
        (GEO, "MAILB", "IN", "NOTIMP"),
        (GEO, "OPT", "IN", "FORMERR"),
    ],
)
def test_what_no_zone_is_asked(name: str, rdtype: str, rdclass: str, rcode: str) -> None:
    zones = TableZones()
    asked = dns.message.make_query(name, rdtype, rdclass, use_edns=0, options=[subnet("203.0.113.0")])
    for transport in Transport:
        response = ask(responder(zones), asked, transport=transport)
        assert (dns.rcode.to_text(response.rcode()), response.sections[1:]) == (rcode, [[], [], []])
        assert not response.flags & dns.flags.AA
        assert scope_of(response) == ("203.0.113.0", 24, 0)
    assert zones.zone.asked == 0


# Client subnets.


@pytest.mark.parametrize(
    ("options", "source", "answer", "scope"),
    [
        ((subnet("203.0.113.0"),), SOURCE, "192.0.2.203", ("203.0.113.0", 24, GEO_SCOPE)),
        ((subnet("203.0.113.7", 32),), SOURCE, "192.0.2.203", ("203.0.113.7", 32, GEO_SCOPE)),
        ((subnet("203.0.0.0", 9),), SOURCE, "192.0.2.203", ("203.0.0.0", 9, GEO_SCOPE)),
        ((subnet("2001:db8::", 56),), SOURCE, "192.0.2.32", ("2001:db8::", 56, GEO_SCOPE)),
        ((subnet("0.0.0.0", 0),), SOURCE, "192.0.2.255", ("0.0.0.0", 0, 0)),
        ((subnet("::", 0),), SOURCE, "192.0.2.255", ("::", 0, 0)),
        ((), SOURCE, "192.0.2.198", None),
        ((), "2001:db8::1", "192.0.2.32", None),
        ((cookie(CLIENT_COOKIE),), SOURCE, "192.0.2.198", None),
        ((subnet("203.0.113.0"), cookie(CLIENT_COOKIE)), SOURCE, "192.0.2.203", ("203.0.113.0", 24, GEO_SCOPE)),
        ((cookie(CLIENT_COOKIE), subnet("203.0.113.0")), SOURCE, "192.0.2.203", ("203.0.113.0", 24, GEO_SCOPE)),
        (
            (subnet("203.0.113.0"), dns.edns.GenericOption(dns.edns.OptionType.make(65001), b"abc")),
            SOURCE, "192.0.2.203", ("203.0.113.0", 24, GEO_SCOPE),
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_with_cookies", [False, True])
def test_an_answer_is_for_the_network_in_the_question_or_the_resolver(
    options: tuple[dns.edns.Option, ...],
    source: str,
    answer: str,
    scope: tuple[str, int, int] | None,
    is_with_cookies: bool,
) -> None:
    asked = responder(cookies=SECRETS if is_with_cookies else None)
    for transport in (UDP, UDP, TCP, UDP):  # from memory too
        for name in (GEO, GEO.upper()):
            response = ask(asked, query(name, "A", *options), source=source, transport=transport)
            assert addresses(response) == [answer]
            assert scope_of(response) == scope


def test_a_family_that_is_none_is_answered_as_it_was_asked() -> None:
    nobody = dns.edns.GenericOption(dns.edns.OptionType.ECS, b"\0\0\0\0")
    raw = responder().answer(query(GEO, "A", nobody).to_wire(), SOURCE, UDP, WALL_S)
    assert raw is not None
    assert raw.endswith(b"\x00\x08\x00\x04\x00\x00\x00\x00")
    assert b"\xc0\x00\x02\xff" in raw


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        (GEO, "NOERROR"),
        (f"gone.{ZONE}", "NXDOMAIN"),
        ("example.org", "REFUSED"),
        (f"below.{ZONE}", "NOERROR"),
        (f"broken.{ZONE}", "SERVFAIL"),
    ],
)
def test_every_answer_says_the_scope(name: str, rcode: str) -> None:
    response = ask(responder(), query(name, "AAAA" if name == GEO else "A", subnet("203.0.113.0")))
    assert (dns.rcode.to_text(response.rcode()), scope_of(response)) == (rcode, ("203.0.113.0", 24, 0))


def test_a_malformed_option_is_a_malformed_question() -> None:
    for code, content in ((8, b"\0\1\x18\0\xc0\0"), (8, b"\0\1\x17\0\xc0\0\3"), (10, b"1234567"), (10, b"1" * 41)):
        bad = dns.edns.GenericOption(dns.edns.OptionType.make(code), content)
        response = ask(responder(cookies=SECRETS), query(GEO, "A", bad))
        assert (response.rcode(), response.edns, response.options) == (dns.rcode.FORMERR, 0, ())
    twice = query(GEO, "A", subnet("203.0.113.0"), subnet("203.0.113.0"))
    assert ask(responder(), twice).rcode() == dns.rcode.FORMERR


# EDNS, and options beside the network.


def test_edns_is_answered_with_edns_and_only_then() -> None:
    assert ask(responder(), query(GEO, edns=-1)).edns == -1
    response = ask(responder(), query(GEO, "A", dns.edns.GenericOption(dns.edns.OptionType.make(65001), b"abc")))
    assert (response.edns, response.payload, response.options) == (0, 1232, ())
    response = ask(responder(), query(GEO, edns=1))
    assert (response.rcode(), response.edns, response.answer) == (dns.rcode.BADVERS, 0, [])


def test_what_does_not_fit_is_truncated_and_whole_over_tcp() -> None:
    asked = responder(cookies=SECRETS)
    for payload, limit in ((512, 512), (100, 512), (900, 900), (1232, 1232), (65535, 1232)):
        for options in ((), (subnet("203.0.113.0"),), (cookie(CLIENT_COOKIE), subnet("203.0.113.0"))):
            raw = asked.answer(query(f"many.{ZONE}", "A", *options, payload=payload).to_wire(), SOURCE, UDP, WALL_S)
            assert raw is not None
            assert len(raw) <= limit
            response = dns.message.from_wire(raw)
            assert (bool(response.flags & dns.flags.TC), response.answer) == (True, [])
    assert asked.counters.truncated == 15
    assert len(addresses(ask(asked, query(f"many.{ZONE}"), transport=TCP))) == MANY


@pytest.mark.parametrize(
    "options",
    [(), (subnet("203.0.113.0"),), (cookie(CLIENT_COOKIE),), (cookie(CLIENT_COOKIE), subnet("203.0.113.9", 32))],
)
def test_an_answer_is_never_longer_than_was_said_and_truncated_only_when_it_would_be(
    options: tuple[dns.edns.Option, ...],
) -> None:
    asked = responder(cookies=SECRETS)
    whole = asked.answer(query(f"some.{ZONE}", "A", *options).to_wire(), SOURCE, TCP, WALL_S)
    assert whole is not None
    for payload in range(len(whole) - 2, len(whole) + 3):
        raw = asked.answer(query(f"some.{ZONE}", "A", *options, payload=payload).to_wire(), SOURCE, UDP, WALL_S)
        assert raw is not None
        assert bool(raw[2] & 2) == (payload < len(whole))
        assert raw[2] & 2 or raw[2:] == whole[2:]


def test_a_server_says_its_name_to_who_asks() -> None:
    nsid = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
    assert option(ask(responder(nsid=b"ns1-fra"), query(GEO, "A", nsid)), dns.edns.OptionType.NSID) == b"ns1-fra"
    assert option(ask(responder(nsid=b"ns1-fra"), query(GEO)), dns.edns.OptionType.NSID) is None
    assert option(ask(responder(), query(GEO, "A", nsid)), dns.edns.OptionType.NSID) is None
    with pytest.raises(InvalidInput, match="129"):
        responder(nsid=b"n" * 129)


def test_who_sets_do_gets_signatures_in_zones_that_have_keys() -> None:
    asked = responder(signer=TextSigner())
    plain = query(GEO)
    with_do = dns.message.make_query(GEO, "A", want_dnssec=True)
    for transport in Transport:
        assert ask(asked, plain, transport=transport).additional == []
        response = ask(asked, with_do, transport=transport)
        assert lines(response, 3) == [f'signed.{ZONE}. 5 IN TXT "1 at {WALL_S:.0f}"']
        assert response.ednsflags & dns.flags.DO
    asked._signers.signer = None  # type: ignore[union-attr]
    assert ask(asked, with_do, transport=TCP).additional == []


def test_that_a_delegated_zone_is_signed_is_told_to_who_sets_do() -> None:
    with_do = dns.message.make_query(f"signed.{ZONE}", "A", want_dnssec=True)
    for sent, types in ((query(f"signed.{ZONE}"), ["NS"]), (with_do, ["DS", "NS"])):
        response = ask(responder(), sent)
        assert sorted(dns.rdatatype.to_text(each.rdtype) for each in response.authority) == types


# Cookies.


def test_a_cookie_is_made_believed_and_given_back() -> None:
    asked = responder(cookies=SECRETS)
    for transport in Transport:
        first = option(
            ask(asked, query(GEO, "A", cookie(CLIENT_COOKIE)), transport=transport), dns.edns.OptionType.COOKIE
        )
        assert first is not None
        assert (first[:8], len(first)) == (CLIENT_COOKIE, 24)
        again = ask(asked, query(GEO, "A", cookie(first)), transport=transport)
        assert option(again, dns.edns.OptionType.COOKIE) == first
    assert asked.counters.bad_cookies == 0
    assert first is not None
    other = ask(asked, query(GEO, "A", cookie(first)), source="203.0.113.1")
    assert addresses(other) == ["192.0.2.203"], "a bad cookie is as good as none"
    assert asked.counters.bad_cookies == 1
    assert option(ask(asked, query(GEO)), dns.edns.OptionType.COOKIE) is None
    assert option(ask(responder(), query(GEO, "A", cookie(first))), dns.edns.OptionType.COOKIE) is None


@pytest.mark.parametrize(("is_bad", "rcode"), [(False, dns.rcode.NOERROR), (True, dns.rcode.BADCOOKIE)])
def test_a_message_may_have_a_cookie_and_no_question(is_bad: bool, rcode: int) -> None:
    asked = responder(cookies=SECRETS)
    only = dns.message.QueryMessage(id=7)
    only.use_edns(0, options=[cookie(CLIENT_COOKIE + b"12345678" * is_bad)])
    raw = asked.answer(only.to_wire(), SOURCE, UDP, WALL_S)
    assert raw is not None
    response = dns.message.from_wire(raw)
    assert (response.rcode(), response.sections) == (rcode, [[], [], [], []])
    made = option(response, dns.edns.OptionType.COOKIE)
    assert made is not None
    assert made[:8] == CLIENT_COOKIE


def test_without_a_cookie_a_message_without_a_question_is_malformed() -> None:
    only = dns.message.QueryMessage(id=7)
    only.use_edns(0, options=[cookie(CLIENT_COOKIE)])
    raw = responder().answer(only.to_wire(), SOURCE, UDP, WALL_S)
    assert raw is not None
    assert dns.message.from_wire(raw).rcode() == dns.rcode.FORMERR, "nobody speaks of cookies here"
    only.use_edns(-1)
    assert responder(cookies=SECRETS).answer(only.to_wire(), SOURCE, UDP, WALL_S) == b"\0\7\x80\1" + bytes(8)
    for edns, rcode in ((0, dns.rcode.FORMERR), (1, dns.rcode.BADVERS)):
        only.use_edns(edns)
        raw = responder(cookies=SECRETS).answer(only.to_wire(), SOURCE, UDP, WALL_S)
        assert raw is not None
        assert dns.message.from_wire(raw).rcode() == rcode


# Rate limits.


def limited(slip: int = 2) -> RateLimits:
    return RateLimits(answers_per_s=5, absences_per_s=3, errors_per_s=2, slip=slip)


def flood(asked: subject.Responder, sent: Message, times: int = 25, transport: Transport = UDP) -> list[Message | None]:
    raws = [asked.answer(sent.to_wire(), SOURCE, transport, WALL_S) for _ in range(times)]
    return [None if raw is None else dns.message.from_wire(raw) for raw in raws]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        (GEO, 5),
        (f"below.{ZONE}", 5),
        (f"gone.{ZONE}", 3),
        (f"mail.{ZONE}", 3),
        ("example.org", 2),
        (f"broken.{ZONE}", 2),
    ],
)
@pytest.mark.parametrize("options", [(), (subnet("203.0.113.0"),)])
def test_above_the_limit_every_other_answer_slips_truncated(
    name: str, most: int, options: tuple[dns.edns.Option, ...]
) -> None:
    for spelt in (name, name.upper()):
        asked = responder(rate_limits=limited())
        sent = query(spelt, "A", *options)
        heard = flood(asked, sent)
        whole = [each for each in heard if each is not None and not each.flags & dns.flags.TC]
        slipped = [each for each in heard if each is not None and each.flags & dns.flags.TC]
        assert (len(whole), len(slipped)) == (most, (25 - most) // 2)
        assert all(sent.is_response(each) and not each.answer for each in slipped)
        assert scope_of(slipped[0]) == (("203.0.113.0", 24, 0) if options else None)
        counters = asked.counters
        assert (counters.queries[UDP], counters.limited, counters.slipped) == (25, 25 - most, len(slipped))
        assert all(each is not None for each in flood(asked, sent, transport=TCP)), "over TCP nobody is somebody else"


def test_malformed_questions_are_limited_too() -> None:
    asked = responder(rate_limits=limited())
    raws = [asked.answer(bytes(12), SOURCE, UDP, WALL_S) for _ in range(10)]
    assert raws.count(None) == 4
    assert asked.answer(bytes(12), SOURCE, UDP, WALL_S + 1) is not None


def test_a_valid_cookie_has_no_limit_and_who_has_none_yet_gets_one() -> None:
    asked = responder(rate_limits=limited(), cookies=SECRETS)
    heard = flood(asked, query(GEO, "A", cookie(CLIENT_COOKIE)))
    assert sum(each is not None and each.rcode() == dns.rcode.NOERROR for each in heard) == 5
    bad = [each for each in heard if each is not None and each.rcode() == dns.rcode.BADCOOKIE]
    assert len(bad) == 10
    made = option(bad[0], dns.edns.OptionType.COOKIE)
    assert made is not None
    assert all(each is not None and addresses(each) for each in flood(asked, query(GEO, "A", cookie(made))))


def test_a_slip_of_nothing_is_silence() -> None:
    heard = flood(responder(rate_limits=limited(slip=0)), query(GEO))
    assert [each is None for each in heard] == [False] * 5 + [True] * 20


# What is remembered.


def test_answers_are_remembered_until_zones_change_or_the_time_is_over() -> None:
    zones = TableZones()
    asked = responder(zones)
    for sent in (query(GEO, "A", subnet("203.0.113.0")), query(GEO.upper(), "A", subnet("203.0.113.0"))):
        zones.generation, zones.zone.asked = object(), 0
        for at, count in ((WALL_S, 1), (WALL_S + MEMO_S - 1, 1), (WALL_S + MEMO_S, 2), (WALL_S - 5, 3)):
            ask(asked, sent, at=at)
            assert zones.zone.asked == count
        zones.generation = object()
        ask(asked, sent, at=WALL_S - 5)
        assert zones.zone.asked == 4


def test_one_question_in_any_case_is_asked_once_and_comes_back_as_it_was_spelt() -> None:
    zones = TableZones()
    asked = responder(zones)
    for spelt in ("wWw", "Www", "WWW", "wwW"):
        raw = asked.answer(query(f"{spelt}.{ZONE}", "A", subnet("203.0.113.0")).to_wire(), SOURCE, UDP, WALL_S)
        assert raw is not None
        assert spelt.encode() in raw
        assert addresses(dns.message.from_wire(raw)) == ["192.0.2.203"]
    assert zones.zone.asked == 1


def test_types_that_look_like_letters_are_told_apart() -> None:
    """65 and 97 are one letter in two cases."""
    asked = responder()
    for rdtype in (65, 97, 65):
        raw = dns.message.make_query(GEO.upper(), dns.rdatatype.RdataType.make(rdtype)).to_wire()
        response = asked.answer(raw, SOURCE, UDP, WALL_S)
        assert response is not None
        assert dns.message.from_wire(response).question[0].rdtype == rdtype


def test_capitals_in_addresses_are_told_apart() -> None:
    asked = responder()
    for first in (65, 97, 65):
        response = ask(asked, query(GEO.upper(), "A", subnet(f"{first}.0.0.0")))
        assert addresses(response) == [f"192.0.2.{first}"]


def test_a_resolver_is_not_told_what_another_one_was() -> None:
    asked = responder()
    for _ in range(2):
        for source in ("203.0.113.1", "198.51.100.1", "2001:db8::1"):
            for name in (GEO, GEO.upper()):
                expected = {"203": "203", "198": "198", "200": "32"}[source[:3]]
                assert addresses(ask(asked, query(name), source=source)) == [f"192.0.2.{expected}"]


def test_everything_is_counted() -> None:
    asked = responder()
    for name, rdtype in ((GEO, "A"), (GEO, "A"), (f"gone.{ZONE}", "A"), ("example.org", "A"), (f"many.{ZONE}", "A")):
        asked.answer(query(name, rdtype).to_wire(), SOURCE, UDP, WALL_S)
        asked.answer(query(name, rdtype).to_wire(), SOURCE, TCP, WALL_S)
    asked.answer(b"\0" * 12, SOURCE, TCP, WALL_S)
    asked.answer(b"\0" * 11, SOURCE, TCP, WALL_S)
    asked.answer(b"\0" * 11, SOURCE, UDP, WALL_S)
    counters = asked.counters
    assert (counters.queries[UDP], counters.queries[TCP], counters.silent, counters.truncated) == (6, 7, 2, 1)
    assert {rcode.name: count for rcode, count in counters.rcodes.items() if count} == {
        "NOERROR": 6, "NXDOMAIN": 2, "REFUSED": 2, "FORMERR": 1,
    }  # fmt: skip


# A slow plain model, and hostile octets.

NAMES = st.sampled_from([name for name, _ in TABLE] + [GEO, f"gone.{ZONE}", f"a.b.{ZONE}", "example.org", "net", "."])
SUBNETS = st.one_of(
    st.none(),
    st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 32)),
    st.tuples(st.ip_addresses(v=6).map(str), st.integers(0, 128)),
)


@given(
    name=NAMES,
    rdtype=st.sampled_from([1, 2, 6, 15, 28, 33, 41, 255, 252, 250, 999]),
    payload=st.integers(0, 4096) | st.none(),
    network=SUBNETS,
    has_cookie=st.booleans(),
    is_udp=st.booleans(),
    capitals=st.integers(0, 2**20),
)
def test_every_answer_is_what_a_plain_reading_of_the_rfcs_says(
    name: str,
    rdtype: int,
    payload: int | None,
    network: tuple[str, int] | None,
    has_cookie: bool,
    is_udp: bool,
    capitals: int,
) -> None:
    spelt = "".join(each.upper() if capitals >> place & 1 else each for place, each in enumerate(name))
    options: list[dns.edns.Option] = [] if network is None else [subnet(*network)]
    options += [cookie(CLIENT_COOKIE)] * has_cookie
    kind = dns.rdatatype.RdataType.make(rdtype)
    sent = dns.message.make_query(
        spelt, kind, use_edns=-1 if payload is None else 0, payload=payload or 0, options=options
    )
    asked = responder(cookies=SECRETS)
    for _ in range(2):
        raw = asked.answer(sent.to_wire(), SOURCE, UDP if is_udp else TCP, WALL_S)
        assert raw is not None
        response = dns.message.from_wire(raw)
        assert sent.is_response(response)
        assert response.question[0].name.to_text() == sent.question[0].name.to_text(), "case and all"
        assert response.edns == (-1 if payload is None else 0)
        assert not is_udp or len(raw) <= (512 if payload is None else min(max(payload, 512), 1232))
        assert (option(response, dns.edns.OptionType.COOKIE) is not None) == (has_cookie and payload is not None)
        has_network = network is not None and payload is not None
        found = scope_of(response)
        assert (found is not None) == has_network
        is_geo = name == GEO and rdtype == 1
        if found is not None and network is not None:
            assert (found[1], found[2]) == (network[1], GEO_SCOPE if is_geo and network[1] else 0)
        if is_geo:
            assert len(response.answer) == 1
        is_ours = name.endswith(ZONE) and rdtype not in {41, 250, 252}
        assert (response.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}) == (
            is_ours and not (name.startswith("broken") and rdtype == 1)
        )


def real_queries() -> list[bytes]:
    return [
        query(GEO, edns=-1).to_wire(),
        query(GEO).to_wire(),
        query(GEO, "AAAA", subnet("203.0.113.0"), cookie(CLIENT_COOKIE + bytes(16))).to_wire(),
        query(
            f"many.{ZONE}", "A", cookie(CLIENT_COOKIE), dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
        ).to_wire(),
        dns.message.make_query(f"GoNe.{ZONE}", "MX", want_dnssec=True).to_wire(),
        dns.message.make_query("a" * 63 + ("." + "b" * 63) * 2 + "." + "c" * 49 + f".{ZONE}", "TXT").to_wire(),
    ]


def check(raw: bytes, response: bytes | None) -> None:
    """The right answer or silence, and nothing that a client could choke on."""
    if response is None:
        assert len(raw) < 12 or raw[2] & 0x80
        return
    assert (response[:2], response[2] & 0x80) == (raw[:2], 0x80)
    assert len(response) <= 1232
    if raw[2] >> 3 & 0xF == 0:
        dns.message.from_wire(response)


@pytest.mark.parametrize("number", range(len(real_queries())))
def test_every_truncation_and_every_flipped_bit_gets_an_answer_or_silence(number: int) -> None:
    raw = real_queries()[number]
    asked = responder(cookies=SECRETS, nsid=b"n", signer=TextSigner())
    check(raw, asked.answer(raw, SOURCE, UDP, WALL_S))
    for length in range(len(raw)):
        response = asked.answer(raw[:length], SOURCE, UDP, WALL_S)
        check(raw[:length], response)
        assert response is None or response[3] & 0xF == dns.rcode.FORMERR
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        check(bytes(changed), asked.answer(bytes(changed), SOURCE, UDP, WALL_S))


@given(raw=st.binary(max_size=400), is_question=st.booleans())
def test_no_octets_raise(raw: bytes, is_question: bool) -> None:
    if is_question:
        raw = b"\0\1\1\0\0\1\0\0\0\0\0\1" + raw
    asked = responder(cookies=SECRETS, rate_limits=RateLimits())
    for _ in range(2):
        check(raw, asked.answer(raw, SOURCE, UDP, WALL_S))
