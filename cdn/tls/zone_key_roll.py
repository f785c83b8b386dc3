"""The keys of a signed zone over their lives: the first one, one in another's place, none any more."""

from __future__ import annotations

from cdn.journal.record import SealedZoneKey
from cdn.tls.sealed import KeyRing
from cdn.tls.zone_signing import SigningAction, ZoneSigning


class ZoneKeyRoll:
    """See `ZoneKeyMaker`."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def changed(
        self, zone: str, keys: tuple[SealedZoneKey, ...], action: SigningAction, *, longest_ttl_s: int, now: float
    ) -> tuple[SealedZoneKey, ...]:
        """See `ZoneKeyMaker`."""
        raise NotImplementedError

    def described(self, zone: str, keys: tuple[SealedZoneKey, ...], *, longest_ttl_s: int, now: float) -> ZoneSigning:
        """See `ZoneKeyMaker`."""
        raise NotImplementedError

    def resealed(self, zone: str, keys: tuple[SealedZoneKey, ...]) -> tuple[SealedZoneKey, ...] | None:
        """The same keys sealed with the ring's first key; None: all of them are. Raises InvalidInput."""
        raise NotImplementedError
