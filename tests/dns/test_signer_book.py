"""Which zones are signed, as the journal says it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import msgspec
import pytest

from cdn.dns.code import Rcode, Rrtype
from cdn.dns.signer import ZoneSigner
from cdn.dns.signer_book import SignerBook, ZoneTtls
from cdn.dns.zone_answer import Proof, Rrset, Signer, ZoneAnswer
from cdn.dns.zone_file import read_zone_file
from cdn.journal.record import Audience, Change, GeographySet, Record, SealedZoneKey, ZoneKeysSet, ZoneRemoved, ZoneSet
from cdn.journal.zone_fold import ZoneFold
from cdn.tls.sealed import KeyRing, SealingKey
from cdn.tls.zone_key_roll import ZoneKeyRoll
from cdn.tls.zone_signing import SigningAction

NOW = 1_800_000_000.0
EDGE = "cdn.example.net"
RING = KeyRing([SealingKey(b"k" * 32)], "dns.keys")
APEX = (b"example", b"org")
ZONE = """
$ORIGIN example.org.
@    {soa_ttl} SOA   ns.example.net. hostmaster 3 3600 600 1209600 {minimum}
@    60        NS    ns.example.net.
long {longest} A     192.0.2.150
"""


def zone(soa_ttl: int = 3600, minimum: int = 60, longest: int = 60, file: str = "z") -> ZoneSet:
    return read_zone_file(
        ZONE.format(soa_ttl=soa_ttl, minimum=minimum, longest=longest), file=file, cdn_zone="cdn.example.net"
    )


def keys(name: str = "example.org") -> tuple[SealedZoneKey, ...]:
    return ZoneKeyRoll(RING).changed(name, (), SigningAction.ON, longest_ttl_s=60, now=NOW)


class Told:
    """A book and the journal that it is told of."""

    def __init__(self, ring: KeyRing | None = RING) -> None:
        self.fold = ZoneFold()
        self.book = SignerBook(self.fold, ring, edge_zone=EDGE, edge_ttls=ZoneTtls(3600, 10))
        self._sequences: Iterator[int] = count(1)

    def applied(self, *changes: Change) -> None:
        records = [Record(2, "e", next(self._sequences), "s", NOW, "a", Audience.DNS, change) for change in changes]
        for record in records:
            self.fold.apply(record)
        self.book.journal_applied(records)

    def signer(self) -> Signer | None:
        return self.book.signer_of(APEX)


def test_a_zone_is_signed_from_when_it_has_keys() -> None:
    told = Told()
    told.applied(zone())
    assert told.signer() is None
    told.applied(ZoneKeysSet("example.org", keys()))
    assert isinstance(told.signer(), ZoneSigner)
    told.applied(ZoneKeysSet("example.org", ()))
    assert told.signer() is None


@pytest.mark.parametrize("order", [1, -1])
def test_zone_and_keys_come_in_any_order(order: int) -> None:
    told = Told()
    for change in (zone(), ZoneKeysSet("example.org", keys()))[::order]:
        told.applied(change)
    assert isinstance(told.signer(), ZoneSigner)


def test_with_a_zone_its_keys_go() -> None:
    told = Told()
    told.applied(zone(), ZoneKeysSet("example.org", keys()))
    told.applied(ZoneRemoved("example.org"))
    assert told.signer() is None
    told.applied(zone())
    assert told.signer() is None


def test_a_copy_of_the_journal_is_read_and_what_was_there_before_is_not_kept() -> None:
    told = Told()
    told.applied(ZoneKeysSet(EDGE, keys(EDGE)))
    other = ZoneFold()
    other.apply(Record(2, "e", 1, "s", NOW, "a", Audience.DNS, zone()))
    other.apply(Record(2, "e", 2, "s", NOW, "a", Audience.DNS, ZoneKeysSet("example.org", keys())))
    told.fold.load(other.dump())
    told.book.journal_loaded()
    assert isinstance(told.signer(), ZoneSigner)
    assert told.book.signer_of((b"cdn", b"example", b"net")) is None


def test_the_cdns_own_zone_is_signed_like_others() -> None:
    told = Told()
    told.applied(ZoneKeysSet(EDGE, keys(EDGE)))
    assert isinstance(told.book.signer_of((b"cdn", b"example", b"net")), ZoneSigner)


def test_what_changes_no_signature_changes_no_signer() -> None:
    told = Told()
    told.applied(zone(), ZoneKeysSet("example.org", keys()))
    before = told.signer()
    told.applied(zone(), GeographySet("", 0, ""), ZoneKeysSet("example.org", told.fold.keys("example.org")))
    assert told.signer() is before
    told.applied(zone(minimum=30))
    assert told.signer() is not before


@pytest.mark.parametrize(("soa_ttl", "minimum", "kept_s"), [(3600, 60, 60), (30, 60, 30)])
def test_denials_are_kept_as_long_as_the_soa_says(soa_ttl: int, minimum: int, kept_s: int) -> None:
    told = Told()
    told.applied(zone(soa_ttl, minimum), ZoneKeysSet("example.org", keys()))
    signer = told.signer()
    assert signer is not None
    referral = ZoneAnswer(
        Rcode.NOERROR, authority=(Rrset((b"sub", *APEX), Rrtype.NS, 3600, (b"\0",)),), proof=Proof.NO_DS
    )
    assert [each.ttl_s for each in signer.signed(referral, 1, NOW).authority] == [3600, kept_s, kept_s]


def test_the_zone_above_waits_for_the_longest_ttl_of_the_zone() -> None:
    told = Told()
    told.applied(zone(longest=100_000), ZoneKeysSet("example.org", keys()))
    signer = told.signer()
    assert signer is not None
    plain = ZoneAnswer(Rcode.NOERROR, proof=Proof.NO_DATA, name=APEX)
    earliest = NOW + 100_000 + 600
    assert signer.unsigned(plain, Rrtype.CDS, earliest - 1) is plain
    assert signer.unsigned(plain, Rrtype.CDS, earliest).answer


WRONG = msgspec.structs.replace(keys()[0], sealed="AAAA")


@pytest.mark.parametrize(
    ("ring", "sealed", "said"),
    [
        (None, None, "has no file with the keys of zones"),
        (KeyRing([SealingKey(b"o" * 32)], "dns.keys"), None, "which is not in dns.keys: add that key"),
        (RING, WRONG, "not sealed in a form"),
    ],
)
def test_a_zone_whose_keys_do_not_open_is_not_answered_without_signatures(
    ring: KeyRing | None, sealed: SealedZoneKey | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(ring)
    told.applied(zone(), ZoneKeysSet("example.org", keys() if sealed is None else (sealed,)))
    assert said in told.book.faults["example.org"]
    assert said in caplog.text
    signer = told.signer()
    assert signer is not None
    answer = ZoneAnswer(Rcode.NOERROR, answer=(Rrset(APEX, 1, 60, (b"\1\1\1\1",)),))
    assert signer.signed(answer, 1, NOW) == ZoneAnswer(Rcode.SERVFAIL, is_authoritative=False)
    assert signer.unsigned(answer, 1, NOW) is answer
    told.applied(ZoneKeysSet("example.org", ()))
    assert told.book.faults == {}


@pytest.mark.parametrize("rdatas", [("?",), ()])
def test_a_zone_without_a_readable_soa_is_not_signed(rdatas: tuple[str, ...]) -> None:
    told = Told()
    rrsets = tuple(
        msgspec.structs.replace(each, rdatas=rdatas) if each.type == Rrtype.SOA else each for each in zone().rrsets
    )
    told.applied(ZoneSet("example.org", rrsets), ZoneKeysSet("example.org", keys()))
    assert told.signer() is None
    told.applied(ZoneSet("example.org", ()))
    assert told.signer() is None


def test_a_name_that_is_none_is_said() -> None:
    told = Told()
    told.applied(ZoneKeysSet("a..b", keys()))
    assert "a..b" in told.book.faults
