"""A key of a signed zone: ECDSA on P-256 with SHA-256, algorithm 13 (RFC 6605), for all of its records."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from struct import Struct

import dns.exception
import dns.name
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from cdn.errors import InvalidInput
from cdn.journal.record import SealedZoneKey
from cdn.tls.sealed import KeyRing, Purpose

ALGORITHM = 13
DIGEST_TYPE = 2
"""SHA-256 (RFC 4509)."""

SIGNATURE_BYTES = 64

_DNSKEY_HEAD = bytes((1, 1, 3, ALGORITHM))
"""Flags 257: a zone key, which is a secure entry point (RFC 4034 2.1); protocol 3."""

_COORDINATE_BYTES = 32
_CURVE = ec.SECP256R1()
_ECDSA = ec.ECDSA(hashes.SHA256())

_SECRET = Struct("!Bd32s")
_SECRET_FORM = 1


class ZoneKeyStage(Enum):
    """Where a key is in its life. Every key stands in the DNSKEY records and signs them; one signs everything else."""

    PUBLISHED = "published"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class ZoneKey:
    """An opened key. `dnskey` and `ds` are in wire form; `since` is the wall time at which it came to its stage."""

    key_id: str
    stage: ZoneKeyStage
    created_at: float
    since: float
    dnskey: bytes
    ds: bytes
    key_tag: int
    private: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    def signature(self, content: bytes) -> bytes:
        """As an RRSIG record has it: r and s, one after the other (RFC 6605 4). Takes 30 us, and another one each
        time."""
        r, s = decode_dss_signature(self.private.sign(content, _ECDSA))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")

    def ds_text(self, zone: str) -> str:
        """The DS record for the zone above, as a zone file has it."""
        return f"{zone}. IN DS {self.key_tag} {ALGORITHM} {DIGEST_TYPE} {self.ds[4:].hex().upper()}"

    def sealed(self, zone: str, ring: KeyRing) -> SealedZoneKey:
        """For the journal."""
        number = self.private.private_numbers().private_value.to_bytes(_COORDINATE_BYTES, "big")
        secret = _SECRET.pack(_SECRET_FORM, self.since, number)
        envelope = ring.sealed(secret, Purpose.ZONE_KEY, _bound_name(zone, self.key_id))
        return SealedZoneKey(self.key_id, self.stage.value, self.created_at, base64.b64encode(envelope).decode("ascii"))


def new_zone_key(zone: str, stage: ZoneKeyStage, others: Sequence[ZoneKey], now: float) -> ZoneKey:
    """A key of which nobody else knows. No other key of the zone has its tag: a resolver that finds two keys for a tag
    has to try both, and some do not (RFC 4034 8)."""
    tags = {other.key_tag for other in others}
    while True:
        key = _made(zone, ec.generate_private_key(_CURVE), stage, created_at=now, since=now)
        if key.key_tag not in tags:
            return key


def opened_zone_key(zone: str, sealed: SealedZoneKey, ring: KeyRing) -> ZoneKey:
    """The key that a record holds. Raises InvalidInput where it does not open or is not what the record calls it."""
    what = f"the key {sealed.key_id} of the zone {zone}"
    secret = ring.opened(envelope_of(zone, sealed), Purpose.ZONE_KEY, _bound_name(zone, sealed.key_id))
    if len(secret) != _SECRET.size or secret[0] != _SECRET_FORM:
        raise InvalidInput(f"{what} is written in a form that this program does not know")
    _, since, number = _SECRET.unpack(secret)
    try:
        stage = ZoneKeyStage(sealed.stage)
    except ValueError as exc:
        raise InvalidInput(f"{what} is at the stage {sealed.stage[:40]!r}, which this program does not know") from exc
    private = ec.derive_private_key(int.from_bytes(number, "big"), _CURVE)
    key = _made(zone, private, stage, created_at=sealed.created_at, since=since)
    if key.key_id != sealed.key_id:
        raise InvalidInput(f"{what} holds another key")
    return key


def envelope_of(zone: str, sealed: SealedZoneKey) -> bytes:
    """What a record holds, still sealed. Raises InvalidInput."""
    try:
        return base64.b64decode(sealed.sealed, validate=True)
    except binascii.Error as exc:
        raise InvalidInput(f"the key {sealed.key_id} of the zone {zone} is not written in base64") from exc


def key_tag_of(dnskey: bytes) -> int:
    """The number by which signatures name a key (RFC 4034 appendix B)."""
    total = sum(octet << 8 if place % 2 == 0 else octet for place, octet in enumerate(dnskey))
    return (total + (total >> 16 & 0xFFFF)) & 0xFFFF


def _made(
    zone: str, private: ec.EllipticCurvePrivateKey, stage: ZoneKeyStage, *, created_at: float, since: float
) -> ZoneKey:
    point = private.public_key().public_numbers()
    public = point.x.to_bytes(_COORDINATE_BYTES, "big") + point.y.to_bytes(_COORDINATE_BYTES, "big")
    dnskey = _DNSKEY_HEAD + public
    tag = key_tag_of(dnskey)
    digest = sha256(_wire_of(zone) + dnskey).digest()
    ds = tag.to_bytes(2, "big") + bytes((ALGORITHM, DIGEST_TYPE)) + digest
    return ZoneKey(sha256(public).hexdigest()[:16], stage, created_at, since, dnskey, ds, tag, private)


def _wire_of(zone: str) -> bytes:
    try:
        return bytes(dns.name.from_text(zone).canonicalize().to_wire() or b"")
    except dns.exception.DNSException as exc:
        raise InvalidInput(f"{zone[:80]!r} is no name of a zone: {exc}") from exc


def _bound_name(zone: str, key_id: str) -> str:
    return f"{zone} {key_id}"
