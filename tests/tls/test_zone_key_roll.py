"""The life of a zone's keys: what may be done when, and what operators are told."""

from __future__ import annotations

from dataclasses import replace

import dns.dnssec
import dns.name
import dns.rdata
import msgspec
import pytest
from dns.rdtypes.ANY.DNSKEY import DNSKEY

from cdn.errors import Conflict, InvalidInput
from cdn.journal.record import SealedZoneKey
from cdn.tls.sealed import KeyRing, SealingKey
from cdn.tls.zone_key import opened_zone_key
from cdn.tls.zone_key_roll import ZoneKeyRoll, is_going, signing_key
from cdn.tls.zone_signing import SigningAction, ZoneKeyMaker

ZONE = "example.com"
START = 1_800_000_000.0
HOUR, DAY, SPREAD = 3600.0, 86_400.0, 600.0
ON, OFF, ROLL = SigningAction.ON, SigningAction.OFF, SigningAction.ROLL
RING = KeyRing([SealingKey(b"k" * 32)], "dns.keys")
ROLL_OF_TESTS = ZoneKeyRoll(RING)
Keys = tuple[SealedZoneKey, ...]


def changed(keys: Keys, action: SigningAction, now: float, longest_ttl_s: int = 60) -> Keys:
    maker: ZoneKeyMaker = ROLL_OF_TESTS
    return maker.changed(ZONE, keys, action, longest_ttl_s=longest_ttl_s, now=now)


def next_step(keys: Keys, now: float, longest_ttl_s: int = 60) -> str:
    return ROLL_OF_TESTS.described(ZONE, keys, longest_ttl_s=longest_ttl_s, now=now).next_step


def stages(keys: Keys) -> list[str]:
    return [key.stage for key in keys]


def is_refused_until(keys: Keys, action: SigningAction, earliest: float, longest_ttl_s: int = 60) -> Keys:
    with pytest.raises(Conflict):
        changed(keys, action, earliest - 0.001, longest_ttl_s)
    return changed(keys, action, earliest, longest_ttl_s)


def test_the_first_key_signs_at_once() -> None:
    keys = changed((), ON, START)
    assert stages(keys) == ["active"]
    assert keys[0].created_at == START
    with pytest.raises(Conflict, match=r"is signed already: `cdn zone sign example\.com --roll`"):
        changed(keys, ON, START)


def test_a_key_is_said_as_dnspython_says_it() -> None:
    keys = changed((), ON, START)
    [facts] = ROLL_OF_TESTS.described(ZONE, keys, longest_ttl_s=60, now=START).keys
    dnskey = opened_zone_key(ZONE, keys[0], RING).dnskey
    rdata = dns.rdata.from_wire("IN", "DNSKEY", dnskey, 0, len(dnskey))
    assert isinstance(rdata, DNSKEY)
    assert facts.key_tag == dns.dnssec.key_id(rdata)
    ds = dns.dnssec.make_ds(dns.name.from_text(ZONE), rdata, "SHA256")
    assert facts.ds.lower() == f"example.com. in ds {ds}"


def test_the_ds_record_waits_for_unsigned_answers() -> None:
    keys = changed((), ON, START)
    earliest = START + 2 * DAY + SPREAD
    assert next_step(keys, earliest - 1, int(2 * DAY)).startswith("From 2027-01-17 08:10 UTC on, have the DS record")
    assert next_step(keys, earliest, int(2 * DAY)).startswith("Unless it is there already, have the DS record")
    assert next_step(keys, START, 2**31 - 1).startswith("From 2027-01-22 08:10 UTC on")  # nobody holds it for longer


def test_a_key_takes_the_place_of_another() -> None:
    keys = changed((), ON, START)
    old = keys[0].key_id
    published = changed(keys, ROLL, START + DAY)
    assert stages(published) == ["active", "published"]
    assert published[0].key_id == old
    earliest = START + DAY + HOUR + SPREAD
    assert "From 2027-01-16 09:10 UTC on roll once more" in next_step(published, START + DAY)
    switched = is_refused_until(published, ROLL, earliest)
    assert stages(switched) == ["active", "retired"]
    assert switched[1].key_id == old
    assert switched[0].created_at == START + DAY
    assert "put in the place of the old one" in next_step(switched, earliest)
    done = is_refused_until(switched, ROLL, earliest + DAY + SPREAD)
    assert [(key.key_id, key.stage) for key in done] == [(switched[0].key_id, "active")]
    assert "Unless it is there already" in next_step(done, earliest + DAY + SPREAD)


def test_an_old_key_stays_as_long_as_its_signatures_are_held() -> None:
    published = changed(changed((), ON, START), ROLL, START)
    switched = changed(published, ROLL, START + DAY)
    is_refused_until(switched, ROLL, START + DAY + 3 * DAY + SPREAD, int(3 * DAY))


def test_signing_ends_once_the_ds_record_is_forgotten() -> None:
    keys = changed((), ON, START)
    going = changed(keys, OFF, START + DAY)
    assert stages(going) == ["retired"]
    assert is_going([opened_zone_key(ZONE, key, RING) for key in going])
    assert "removed from the zone above" in next_step(going, START + DAY)
    assert is_refused_until(going, OFF, START + 2 * DAY + SPREAD) == ()
    assert next_step((), START) == ""


def test_it_may_be_kept_on_until_then() -> None:
    keys = changed((), ON, START)
    kept = changed(changed(keys, OFF, START + DAY), ON, START + DAY + 1)
    assert [(key.key_id, key.stage) for key in kept] == [(keys[0].key_id, "active")]


def test_switching_off_while_a_key_is_published_forgets_it() -> None:
    keys = changed((), ON, START)
    going = changed(changed(keys, ROLL, START), OFF, START + 1)
    assert [(key.key_id, key.stage) for key in going] == [(keys[0].key_id, "retired")]


def test_switching_off_while_the_ds_record_is_replaced_keeps_both() -> None:
    switched = changed(changed(changed((), ON, START), ROLL, START), ROLL, START + DAY)
    going = changed(switched, OFF, START + 2 * DAY)
    assert stages(going) == ["retired", "retired"]
    assert signing_key([opened_zone_key(ZONE, key, RING) for key in going]).key_id == switched[0].key_id
    back = changed(going, ON, START + 2 * DAY)
    assert [(key.key_id, key.stage) for key in back] == [(key.key_id, key.stage) for key in switched]
    assert changed(going, OFF, START + 3 * DAY + SPREAD) == ()


@pytest.mark.parametrize("action", [OFF, ROLL])
def test_a_zone_that_is_not_signed(action: SigningAction) -> None:
    with pytest.raises(Conflict, match="is not signed"):
        changed((), action, START)


def test_nothing_rolls_while_signing_is_switched_off() -> None:
    with pytest.raises(Conflict, match="is being switched off"):
        changed(changed(changed((), ON, START), OFF, START), ROLL, START + 100 * DAY)


def test_no_private_key_stands_in_a_record_in_clear() -> None:
    [key] = changed((), ON, START)
    number = opened_zone_key(ZONE, key, RING).private.private_numbers().private_value.to_bytes(32, "big")
    assert number not in msgspec.json.encode(key)
    assert number.hex() not in repr(opened_zone_key(ZONE, key, RING))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key_id": "0" * 16}, "does not open"),
        ({"sealed": "A"}, "is not written in base64"),
        ({"sealed": ""}, "not sealed in a form"),
        ({"stage": "asleep"}, "at the stage 'asleep', which this program does not know"),
    ],
)
def test_a_record_that_is_wrong_is_said(change: dict[str, str], said: str) -> None:
    [key] = changed((), ON, START)
    with pytest.raises(InvalidInput, match=said):
        changed((msgspec.structs.replace(key, **change),), ROLL, START)


def test_a_key_of_one_zone_opens_for_no_other() -> None:
    keys = changed((), ON, START)
    with pytest.raises(InvalidInput, match="does not open"):
        ROLL_OF_TESTS.described("example.net", keys, longest_ttl_s=60, now=START)


def test_keys_are_sealed_anew_with_a_new_first_key() -> None:
    keys = changed((), ON, START)
    assert ROLL_OF_TESTS.resealed(ZONE, keys) is None
    new = SealingKey(b"n" * 32)
    resealed = ZoneKeyRoll(KeyRing([new, SealingKey(b"k" * 32)], "dns.keys")).resealed(ZONE, keys)
    assert resealed is not None
    [again] = resealed
    assert opened_zone_key(ZONE, again, KeyRing([new], "dns.keys")) == opened_zone_key(ZONE, keys[0], RING)
    assert replace(opened_zone_key(ZONE, keys[0], RING), since=0.0) != opened_zone_key(ZONE, keys[0], RING)
