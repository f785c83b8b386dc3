"""Signed answers of whole zones, judged by dnspython and by a plain validator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import dns.dnssec
import dns.name
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.dns.client import AddressFamily, Client
from cdn.dns.code import Rcode, Rrtype
from cdn.dns.name import Labels
from cdn.dns.signature_memo import SignatureMemo
from cdn.dns.signer import JITTER_S, REMAINING_S, SKEW_S, VALID_S, SignatureMemos, ZoneSigner
from cdn.dns.site_names import SiteNames
from cdn.dns.zone_answer import Proof, Rrset, ZoneAnswer
from cdn.dns.zone_file import read_zone_file
from cdn.dns.zone_records import labels_from_text
from cdn.dns.zone_tree import ZoneTree
from cdn.sites.catalog import Catalog
from cdn.tls.zone_key import ZoneKey, ZoneKeyStage, new_zone_key
from tests.dns.plain_validator import PlainValidator, rrset_of

NOW = 1_800_000_000.0
CLIENT = Client(AddressFamily.IPV4, 0xC6336407)
APEX: Labels = (b"example", b"org")
ZONE = """
$ORIGIN example.org.
$TTL 1h
@            SOA   ns.Example.org. hostmaster 7 3600 600 86400 120
@            NS    ns
@            NS    ns.elsewhere.example.
@            MX    10 Mail
@            TXT   "b" "c"
@            TXT   "a"
ns           A     192.0.2.53
mail         A     192.0.2.25
mail         AAAA  2001:db8::25
www          CNAME pages
pages        A     192.0.2.2
pages        A     192.0.2.1
far          CNAME www.example.net.
lost         CNAME nowhere
loop         CNAME loop
deep.er.down TXT   "x"
sub          NS    ns.sub
ns.sub       A     192.0.2.54
signed       NS    ns.sub
signed       DS    12345 13 2 0000000000000000000000000000000000000000000000000000000000000001
own          NS    own
own          A     192.0.2.55
into         CNAME www.sub
*.wild       A     192.0.2.99
*.wild       MX    5 mail
host.wild    TXT   "not wild"
*.alias      CNAME pages
old          DNAME wild
_sip._tcp    SRV   1 2 5060 pages
caa          CAA   0 issue "ca.example.net"
svc          HTTPS 1 . alpn=h2
type         TYPE65280 \\# 2 0102
[            A     192.0.2.91
"""
QTYPES = [1, 2, 5, 6, 15, 16, 28, 33, 39, 43, 47, 48, 59, 60, 65, 255, 257, 65280, 65281]
NEVER_SIGNED = {int(Rrtype.RRSIG)}


@lru_cache
def tree() -> ZoneTree:
    made = read_zone_file(ZONE, file="example.org.zone", cdn_zone="cdn.example.net")
    return ZoneTree(labels_from_text(made.zone), made.rrsets, SiteNames(Catalog("cdn.example.net"), 30))


@lru_cache
def records() -> dict[Labels, frozenset[int]]:
    """By every name in the zone that exists, what is there; below delegations nothing does."""
    found: dict[Labels, frozenset[int]] = {}
    cuts = {labels_from_text(f"{cut}.example.org") for cut in ("sub", "signed", "own")}
    for rrset in read_zone_file(ZONE, file="example.org.zone", cdn_zone="cdn.example.net").rrsets:
        name = labels_from_text(rrset.name)
        if any(name[-len(cut) :] == cut and name != cut for cut in cuts):
            continue
        for start in range(len(name) - len(APEX) + 1):
            found.setdefault(name[start:], frozenset())
        if name not in cuts or rrset.type in (Rrtype.NS, Rrtype.DS):
            found[name] |= {rrset.type}
    found[APEX] |= {Rrtype.DNSKEY, Rrtype.CDS, Rrtype.CDNSKEY}
    return found


def keys(*stages: ZoneKeyStage, created_at: float = 0.0) -> list[ZoneKey]:
    made: list[ZoneKey] = []
    for stage in stages or (ZoneKeyStage.ACTIVE,):
        made.append(new_zone_key("example.org", stage, made, created_at))
    return made


KEYS = keys()


def signer(of_keys: list[ZoneKey] | None = None, memos: SignatureMemos | None = None) -> ZoneSigner:
    return ZoneSigner(APEX, of_keys or KEYS, memos or SignatureMemos(), longest_ttl_s=7200, negative_ttl_s=120)


SIGNER = signer()


def validator(of: ZoneSigner = SIGNER, wall_s: float = NOW) -> PlainValidator:
    answer = of.unsigned(tree().answer(APEX, Rrtype.DNSKEY, CLIENT), Rrtype.DNSKEY, wall_s)
    return PlainValidator(dns.name.from_text("example.org"), rrset_of(answer.answer[0]), wall_s)


def asked(name: Labels, qtype: int, of: ZoneSigner = SIGNER, wall_s: float = NOW) -> ZoneAnswer:
    return of.signed(tree().answer(name, qtype, CLIENT), qtype, wall_s)


def name_of(labels: Labels) -> dns.name.Name:
    return dns.name.Name((*labels, b""))


def judge(name: Labels, qtype: int) -> None:
    """Every promise of a signed answer."""
    plain = tree().answer(name, qtype, CLIENT)
    answer = asked(name, qtype)
    judged = validator()
    good = judged.good(answer.answer)
    all_records = [rrset_of(rrset) for rrset in answer.answer if rrset.rrtype not in NEVER_SIGNED]
    unsigned = [rrset for rrset in all_records if (rrset.name, rrset.rdtype) not in good]
    is_renamed = any(rrset.rdtype == dns.rdatatype.DNAME for rrset in all_records)
    assert len(unsigned) <= is_renamed
    assert all(rrset.rdtype == dns.rdatatype.CNAME for rrset in unsigned)
    judge_denials(plain, answer, qtype, judged)
    if not any(rrset.rrtype == Rrtype.NS for rrset in answer.authority):
        judged.good(answer.additional)
        assert sum(each.rrtype == Rrtype.RRSIG for each in answer.additional) == len(plain.additional)
    else:
        assert answer.additional == plain.additional


def judge_denials(plain: ZoneAnswer, answer: ZoneAnswer, qtype: int, judged: PlainValidator) -> None:
    good = judged.good(answer.authority)
    denials = judged.denials(answer)
    last = name_of(plain.name)
    assert all(types in (dns.rdatatype.SOA, dns.rdatatype.NSEC, dns.rdatatype.DS) for _, types in good)
    assert all(denial.ttl_s == 120 for denial in denials)
    if answer.authority and plain.proof is not Proof.NO_DS and not any(r.rrtype == Rrtype.NS for r in plain.authority):
        assert (dns.name.from_text("example.org"), dns.rdatatype.SOA) in good
    match answer.proof:
        case Proof.NO_NAME:
            assert answer.rcode is Rcode.NXDOMAIN
            assert judged.proves_no_name(denials, last)
        case Proof.NO_DATA | Proof.WILDCARD_NO_DATA:
            assert judged.proves_no_data(denials, last, qtype)
        case Proof.NO_DS:
            cut = next(rrset.owner for rrset in answer.authority if rrset.rrtype == Rrtype.NS)
            assert [(each.owner, each.types) for each in denials] == [(name_of(cut), frozenset({2, 46, 47}))]
        case _:
            assert not denials
    for denial in denials:
        assert not any(denial.covers(name_of(name), name_of(APEX)) for name in records())
        there = records().get(denial.owner.labels[:-1])
        if there is not None:
            asked_for = set() if answer.proof is Proof.NO_DS else {qtype}
            assert denial.types == there - asked_for | {46, 47}


def names() -> Iterator[Labels]:
    """All names of the zone, and names beside, between and below them."""
    for name in [*records(), (b"ns", b"sub", *APEX), (b"below", b"signed", *APEX)]:
        yield name
        yield (b"x", *name)
        yield (b"y", b"x", *name)
        if len(name) > len(APEX):
            yield (name[0] + b"0", *name[1:])
            yield (name[0][:-1] + bytes((name[0][-1] - 1,)), *name[1:])


@pytest.mark.parametrize("qtype", QTYPES)
def test_everything_that_can_be_asked_of_a_zone_is_proved(qtype: int) -> None:
    for name in dict.fromkeys(name for name in names() if not name[0].isupper()):
        judge(name, qtype)


LABEL = st.one_of(
    st.sampled_from([b"www", b"wild", b"old", b"er", b"down", b"*", b"sub", b"\0", b"a\0", b"z" * 63, b"\xff" * 63]),
    st.binary(min_size=1, max_size=8).map(bytes.lower),
)


@given(own=st.lists(LABEL, min_size=1, max_size=4), qtype=st.sampled_from([1, 5, 43, 47, 48, 65281]))
def test_names_that_anybody_can_make_up_are_proved(own: list[bytes], qtype: int) -> None:
    name = (*own, *APEX)
    if sum(len(label) + 1 for label in name) < 255:
        answer = asked(name, qtype)
        denials = validator().denials(answer)
        if answer.rcode is Rcode.NOERROR and tree().answer(name, qtype, CLIENT).rcode is Rcode.NXDOMAIN:
            if qtype == Rrtype.NSEC:  # what is said to exist has this one
                assert [(rrset.owner, rrset.rrtype) for rrset in answer.answer] == [(name, 47), (name, 46)]
                return
            assert validator().proves_no_data(denials, name_of(answer.name), qtype)  # said to exist, without records
        else:
            judge(name, qtype)


def test_a_name_that_no_record_can_cover_is_said_to_exist() -> None:
    name = (b"\0", *APEX)
    assert tree().answer(name, 1, CLIENT).rcode is Rcode.NXDOMAIN
    answer = asked(name, 1)
    assert answer.rcode is Rcode.NOERROR
    assert validator().proves_no_data(validator().denials(answer), name_of(name), 1)
    assert [rrset.rrtype for rrset in asked(name, Rrtype.NSEC).answer] == [Rrtype.NSEC, Rrtype.RRSIG]


def test_of_the_signatures_at_a_name_one_is_told() -> None:
    for name in (APEX, (b"pages", *APEX), (b"er", b"down", *APEX), (b"any", b"wild", *APEX)):
        signatures = asked(name, Rrtype.RRSIG).answer
        of_what = asked(name, Rrtype.NSEC).answer[0]
        assert [len(each.rdatas) for each in signatures] == [1]
        assert set(validator().good((of_what, *signatures))) == {(name_of(name), 47)}


def test_of_a_delegation_only_what_the_zone_above_says_is_proved() -> None:
    cut = (b"own", *APEX)
    plain = replace(tree().answer(cut, Rrtype.DS, CLIENT), types=frozenset({1, 2}))
    [denial] = validator().denials(SIGNER.signed(plain, Rrtype.DS, NOW))
    assert denial.types == {2, 46, 47}


def test_what_is_not_known_now_is_not_signed() -> None:
    failed = ZoneAnswer(Rcode.SERVFAIL, is_authoritative=False)
    assert SIGNER.signed(failed, 1, NOW) is failed


def test_a_denial_is_kept_no_longer_than_its_answer() -> None:
    plain = tree().answer((b"x", *APEX), 1, CLIENT)
    shorter = replace(plain, authority=(replace(plain.authority[0], ttl_s=7),))
    assert {rrset.ttl_s for rrset in SIGNER.signed(shorter, 1, NOW).authority} == {7}


def test_what_belongs_to_other_zones_is_not_signed() -> None:
    foreign = Rrset((b"ns", b"elsewhere"), Rrtype.A, 60, (b"\xc0\x00\x02\x01",))
    own = Rrset((b"ns", *APEX), Rrtype.A, 60, (b"\xc0\x00\x02\x01",))
    signed = SIGNER.signed(ZoneAnswer(Rcode.NOERROR, additional=(foreign, own)), 2, NOW)
    assert [(each.owner, each.rrtype) for each in signed.additional] == [
        (foreign.owner, 1), (own.owner, 1), (own.owner, 46),
    ]  # fmt: skip


# The keys of the zone.


def rdatas(qtype: int, of: ZoneSigner, wall_s: float = NOW) -> tuple[bytes, ...]:
    plain = tree().answer(APEX, qtype, CLIENT)
    answer = of.unsigned(plain, qtype, wall_s)
    if answer is plain:
        return ()
    [rrset] = answer.answer
    assert answer.authority == ()
    return rrset.rdatas


def test_keys_are_told_to_everybody_and_nothing_else_changes() -> None:
    assert rdatas(Rrtype.DNSKEY, SIGNER) == (KEYS[0].dnskey,)
    assert rdatas(Rrtype.CDS, SIGNER) == (KEYS[0].ds,)
    assert rdatas(Rrtype.CDNSKEY, SIGNER) == (KEYS[0].dnskey,)
    plain = tree().answer((b"pages", *APEX), Rrtype.DNSKEY, CLIENT)
    assert SIGNER.unsigned(plain, Rrtype.DNSKEY, NOW) is plain


def test_the_zone_above_is_told_once_unsigned_answers_are_forgotten() -> None:
    young = signer(keys(created_at=NOW))
    earliest = NOW + 7200 + 600
    for qtype in (Rrtype.CDS, Rrtype.CDNSKEY):
        assert rdatas(qtype, young, earliest - 1) == ()
        assert len(rdatas(qtype, young, earliest)) == 1
        denials = validator(young).denials(asked(APEX, qtype, young, NOW))
        assert not {59, 60} & denials[0].types
        assert 48 in denials[0].types


@pytest.mark.parametrize(
    ("stages", "signing"),
    [
        ((ZoneKeyStage.ACTIVE, ZoneKeyStage.PUBLISHED), 0),
        ((ZoneKeyStage.RETIRED, ZoneKeyStage.ACTIVE), 1),
        ((ZoneKeyStage.RETIRED, ZoneKeyStage.RETIRED), 0),
    ],
)
def test_every_key_signs_the_keys_and_one_everything_else(stages: tuple[ZoneKeyStage, ...], signing: int) -> None:
    of_keys = keys(*stages)
    two = signer(of_keys)
    tags = [key.key_tag for key in of_keys]

    def tags_of(answer: ZoneAnswer) -> list[int]:
        return [int.from_bytes(each[16:18], "big") for each in answer.answer[1].rdatas]

    for qtype in (Rrtype.DNSKEY, Rrtype.CDS, Rrtype.CDNSKEY):
        assert tags_of(asked(APEX, qtype, two)) == tags
    assert tags_of(asked(APEX, Rrtype.SOA, two)) == [tags[signing]]
    assert set(rdatas(Rrtype.DNSKEY, two)) == {key.dnskey for key in of_keys}
    is_going = ZoneKeyStage.ACTIVE not in stages
    assert rdatas(Rrtype.CDS, two) == ((bytes(5),) if is_going else (of_keys[signing].ds,))
    # Whichever of the keys a DS record names, everything can be followed from there.
    for key in of_keys:
        start = PlainValidator(
            dns.name.from_text("example.org"), rrset_of(Rrset(APEX, Rrtype.DNSKEY, 1, (key.dnskey,))), NOW
        )
        assert start.good(asked(APEX, Rrtype.DNSKEY, two).answer)
    assert validator(two).good(asked((b"pages", *APEX), 1, two).answer)


# Signatures and their times.


@dataclass(frozen=True)
class Times:
    inception_s: int
    expiration_s: int
    signature: bytes


def times(wall_s: float, of: ZoneSigner, name: Labels = (b"pages", *APEX)) -> Times:
    rdata = asked(name, 1, of, wall_s).answer[1].rdatas[0]
    return Times(int.from_bytes(rdata[12:16], "big"), int.from_bytes(rdata[8:12], "big"), rdata[-64:])


def test_a_signature_is_good_from_before_now_and_for_long() -> None:
    found = times(NOW, signer())
    assert found.inception_s == NOW - SKEW_S
    assert VALID_S <= found.expiration_s - NOW < VALID_S + JITTER_S


def test_signatures_do_not_all_end_at_one_time() -> None:
    of = signer()
    ends = [times(NOW, of, (b"n%d" % number, b"wild", *APEX)).expiration_s for number in range(50)]
    assert max(ends) - min(ends) > JITTER_S // 2


def test_a_signature_is_used_until_too_little_of_it_is_left() -> None:
    of = signer()
    first = times(NOW, of)
    last_moment = first.expiration_s - REMAINING_S
    assert times(last_moment - 1, of) == first
    again = times(last_moment, of)
    assert again.expiration_s == first.expiration_s - NOW + last_moment
    assert again.signature != first.signature


def test_a_clock_that_is_set_back_makes_no_signature_of_the_future() -> None:
    of = signer()
    times(NOW, of)
    assert times(NOW - SKEW_S - 1, of).inception_s == NOW - SKEW_S - 1 - SKEW_S


def test_addresses_in_another_order_have_the_same_signature() -> None:
    of = signer()
    one = Rrset((b"pages", *APEX), 1, 60, (b"\1\1\1\1", b"\2\2\2\2"))
    other = replace(one, rdatas=one.rdatas[::-1])
    signatures = [of.signed(ZoneAnswer(Rcode.NOERROR, answer=(each,)), 1, NOW).answer[1] for each in (one, other)]
    assert signatures[0] == signatures[1]
    assert validator().good(SIGNER.signed(ZoneAnswer(Rcode.NOERROR, answer=(other,)), 1, NOW).answer)


def test_times_beyond_the_end_of_their_numbers() -> None:
    wall_s = float(2**32 - 86_400)
    rdata = asked((b"pages", *APEX), 1, signer(), wall_s).answer[1].rdatas[0]
    assert int.from_bytes(rdata[8:12], "big") < VALID_S + JITTER_S  # RFC 4034 3.1.5: they go round


def test_names_that_are_made_up_cost_no_signature_of_names_that_are() -> None:
    memos = SignatureMemos(SignatureMemo(4), SignatureMemo(4))
    of = signer(memos=memos)
    first = times(NOW, of)
    for number in range(100):
        asked((b"no%d" % number, *APEX), 1, of)
        asked((b"any%d" % number, b"wild", *APEX), 1, of)
    assert times(NOW, of) == first
    assert len(memos.passing) <= 8
    assert len(memos.lasting) <= 8


def test_a_memo_keeps_what_is_asked_for() -> None:
    memos = SignatureMemos(SignatureMemo(4), SignatureMemo(4))
    of = signer(memos=memos)
    first = times(NOW, of)
    for number in range(100):
        of.signed(ZoneAnswer(Rcode.NOERROR, answer=(Rrset((b"h%d" % number, *APEX), 1, 60, (b"\1\1\1\1",)),)), 1, NOW)
        assert times(NOW, of) == first
        assert len(memos.lasting) <= 8
