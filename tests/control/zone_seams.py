"""What stands in for the reader of zone files and the maker of keys where control is tested without them."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import dns.name
import dns.rdata
import msgspec

from cdn.errors import Conflict, InvalidInput
from cdn.journal.record import SealedZoneKey, ZoneRecords, ZoneSet
from cdn.tls.zone_signing import SigningAction, ZoneKeyFacts, ZoneSigning

ALIAS = 65401
_TYPES = {"SOA": 6, "NS": 2, "A": 1, "TXT": 16, "DS": 43, "MX": 15, "CNAME": 5}
SOA = "@ 3600 SOA ns1.example.org. hostmaster.example.org. 1 7200 900 1209600 300"


def plain_reader(text: str, *, file: str, cdn_zone: str, name: str | None = None) -> ZoneSet:
    """A line is an owner (below the zone, `@` for its own name), a TTL, a type and its data."""
    assert name is not None
    rrsets: dict[tuple[str, int], ZoneRecords] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split(maxsplit=3)
        if len(parts) != 4:
            fault = f"{file}, line {number}: this is not a record"
            raise InvalidInput(fault, details=(fault,))
        owner = name if parts[0] == "@" else f"{parts[0]}.{name}"
        rrtype, wire = _wire(parts[2], parts[3])
        known = rrsets.get((owner, rrtype), ZoneRecords(owner, rrtype, int(parts[1]), ()))
        rrsets[owner, rrtype] = msgspec.structs.replace(known, rdatas=(*known.rdatas, b64encode(wire).decode()))
    return ZoneSet(name, tuple(rrsets.values()))


def _wire(rrtype: str, text: str) -> tuple[int, bytes]:
    if rrtype == "ALIAS":
        return ALIAS, dns.name.from_text(text).to_wire() or b""
    return _TYPES[rrtype], dns.rdata.from_text("IN", rrtype, text).to_wire() or b""


class PlainKeys:
    """Keys that are their own numbers, and a roll in three steps."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, float]] = []

    def changed(
        self, zone: str, keys: tuple[SealedZoneKey, ...], action: SigningAction, *, longest_ttl_s: int, now: float
    ) -> tuple[SealedZoneKey, ...]:
        self.asked.append((zone, longest_ttl_s, now))
        match action:
            case SigningAction.ON:
                if keys:
                    raise Conflict(f"{zone} is signed already.")
                return (SealedZoneKey("k1", "active", now, "c2VhbGVk"),)
            case SigningAction.OFF:
                return ()
            case SigningAction.ROLL:
                return (*keys, SealedZoneKey(f"k{len(keys) + 1}", "published", now, "c2VhbGVk"))

    def resealed(self, zone: str, keys: tuple[SealedZoneKey, ...]) -> tuple[SealedZoneKey, ...] | None:
        return None

    def described(self, zone: str, keys: tuple[SealedZoneKey, ...], *, longest_ttl_s: int, now: float) -> ZoneSigning:
        facts = tuple(
            ZoneKeyFacts(key.key_id, key.stage, key.created_at, 7, f"{zone}. IN DS 7 13 2 AB") for key in keys
        )
        signing = ZoneSigning(facts)
        return replace(signing, next_step="Give the DS record to the zone above.") if keys else signing
