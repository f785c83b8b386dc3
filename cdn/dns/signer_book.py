"""Who signs for which zone, from the keys in the journal."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from cdn.dns.code import Rcode, Rrtype
from cdn.dns.name import Labels
from cdn.dns.signer import SignatureMemos, ZoneSigner
from cdn.dns.zone_answer import Signer, ZoneAnswer
from cdn.dns.zone_records import labels_from_text
from cdn.errors import InvalidInput
from cdn.journal.record import Record, SealedZoneKey, ZoneKeysSet, ZoneRecords, ZoneRemoved, ZoneSet
from cdn.journal.zone_fold import ZoneFold
from cdn.tls.sealed import KeyRing
from cdn.tls.zone_key import opened_zone_key

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ZoneTtls:
    """Of a zone: the longest TTL of all its records, and how long its denials may be kept (RFC 2308 5)."""

    longest_ttl_s: int
    negative_ttl_s: int


class SignerBook:
    """See `Signers`. It reads the fold and is told when it changed, before the next question.

    A zone whose keys cannot be opened is in `faults`, and who asks for its signatures gets SERVFAIL: without them its
    answers would be held to be forged, and another server may be able to give them.
    """

    def __init__(self, zone_fold: ZoneFold, ring: KeyRing | None, *, edge_zone: str, edge_ttls: ZoneTtls) -> None:
        """`ring` None: this process has no keys to open those of zones with. `edge_zone` is the CDN's own zone, and
        these are its TTLs; those of imported zones are in their records."""
        self.faults: dict[str, str] = {}
        """By the name of a zone, why its keys cannot be used."""
        self._fold = zone_fold
        self._ring = ring
        self._edge_zone = edge_zone
        self._edge_ttls = edge_ttls
        self._memos = SignatureMemos()
        self._signers: dict[str, tuple[tuple[SealedZoneKey, ...], ZoneTtls, Signer]] = {}
        self._by_apex: dict[Labels, Signer] = {}

    def journal_loaded(self) -> None:
        """The fold holds what a copy or a snapshot of the journal says. Opening a key takes a twentieth of a
        millisecond."""
        for zone in {*self._signers, *self._fold.zones_with_keys()}:
            self._read(zone)

    def journal_applied(self, records: Sequence[Record]) -> None:
        """The fold has applied `records`."""
        changed = {
            record.change.zone for record in records if isinstance(record.change, ZoneSet | ZoneRemoved | ZoneKeysSet)
        }
        for zone in sorted(changed):
            self._read(zone)

    def signer_of(self, apex: Labels) -> Signer | None:
        """See `Signers`."""
        return self._by_apex.get(apex)

    def _read(self, zone: str) -> None:
        keys = self._fold.keys(zone)
        ttls = self._ttls(zone) if keys else None
        known = self._signers.get(zone)
        if known is not None and known[:2] == (keys, ttls):
            return
        self.faults.pop(zone, None)
        try:
            apex = labels_from_text(zone)
        except InvalidInput as exc:
            self.faults[zone] = exc.message  # nobody can ask for such a zone either
            return
        if ttls is None:
            self._signers.pop(zone, None)
            self._by_apex.pop(apex, None)
            return
        signer = self._signer(zone, apex, keys, ttls)
        self._signers[zone] = keys, ttls, signer
        self._by_apex[apex] = signer

    def _signer(self, zone: str, apex: Labels, keys: tuple[SealedZoneKey, ...], ttls: ZoneTtls) -> Signer:
        try:
            if self._ring is None:
                raise InvalidInput(f"{zone} is signed, and this name server has no file with the keys of zones")
            opened = [opened_zone_key(zone, key, self._ring) for key in keys]
        except InvalidInput as exc:
            self.faults[zone] = exc.message
            _log.error("no question for signatures of %s is answered: %s", zone, exc.message)
            return _Unable()
        return ZoneSigner(
            apex, opened, self._memos, longest_ttl_s=ttls.longest_ttl_s, negative_ttl_s=ttls.negative_ttl_s
        )

    def _ttls(self, zone: str) -> ZoneTtls | None:
        """None: there is no such zone, or nobody could answer for it."""
        if zone == self._edge_zone:
            return self._edge_ttls
        imported = self._fold.zone(zone)
        return None if imported is None else _ttls_of(zone, imported.rrsets)


class _Unable:
    """Stands for a signer whose keys cannot be opened."""

    def signed(self, answer: ZoneAnswer, qtype: int, wall_s: float) -> ZoneAnswer:
        return ZoneAnswer(Rcode.SERVFAIL, is_authoritative=False)

    def unsigned(self, answer: ZoneAnswer, qtype: int, wall_s: float) -> ZoneAnswer:
        return answer


def _ttls_of(zone: str, rrsets: Sequence[ZoneRecords]) -> ZoneTtls | None:
    soa = next((each for each in rrsets if each.type == Rrtype.SOA and each.name == zone), None)
    if soa is None:
        return None
    try:
        minimum_s = int.from_bytes(base64.b64decode(soa.rdatas[0], validate=True)[-4:], "big")
    except (IndexError, ValueError):
        return None
    return ZoneTtls(max(each.ttl_s for each in rrsets), min(soa.ttl_s, minimum_s))
