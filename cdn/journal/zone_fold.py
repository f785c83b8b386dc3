"""What name servers go by, from the records: imported zones, zone keys, challenges, geography."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from cdn.journal.record import (
    Audience,
    ChallengeRemoved,
    ChallengeSet,
    GeographySet,
    Record,
    SealedZoneKey,
    ZoneKeysSet,
    ZoneRecords,
    ZoneRemoved,
    ZoneSet,
)


@dataclass(frozen=True, slots=True)
class ImportedZone:
    """A zone as it was set by the record `sequence` at the wall time `set_at`. `name` is in lower case and without the
    final dot."""

    name: str
    rrsets: tuple[ZoneRecords, ...]
    sequence: int
    set_at: float


@dataclass(frozen=True, slots=True)
class Challenge:
    """A TXT record at `name` with `value` that counts before the wall time `expires_at`."""

    name: str
    value: str
    expires_at: float


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    zones: tuple[ImportedZone, ...]
    keys: dict[str, tuple[SealedZoneKey, ...]]
    challenges: tuple[Challenge, ...]
    geography: GeographySet | None


class ZoneFold:
    """Zones by name, keys by zone, challenges by name and value. Values in it never change: new ones take their place,
    and a zone that is in a section as it was here before stays the same object, so that nobody has to read it anew.

    Names are in lower case and without the final dot. A challenge that is over is forgotten with the next that is set;
    until then it is still listed, and whoever answers compares `expires_at` with the wall time.
    """

    name: str = "zones"
    audience: Audience = Audience.DNS

    def __init__(self) -> None:
        self.changes = 0
        """Higher as soon as anything here has changed."""
        self.geography: GeographySet | None = None
        """The table of places to go by; None or with the digest "": the one that comes with the program."""
        self._zones: dict[str, ImportedZone] = {}
        self._keys: dict[str, tuple[SealedZoneKey, ...]] = {}
        self._challenges: dict[tuple[str, str], Challenge] = {}

    def zone(self, name: str) -> ImportedZone | None:
        return self._zones.get(name)

    def zones(self) -> tuple[ImportedZone, ...]:
        """All imported zones, by name."""
        return tuple(self._zones[name] for name in sorted(self._zones))

    def keys(self, zone: str) -> tuple[SealedZoneKey, ...]:
        """The keys of a zone, imported or the CDN's own; none: it is not signed."""
        return self._keys.get(zone, ())

    def zones_with_keys(self) -> tuple[str, ...]:
        """The names of all zones that have keys."""
        return tuple(sorted(self._keys))

    def challenge(self, name: str, value: str) -> Challenge | None:
        return self._challenges.get((name, value))

    def challenges(self) -> tuple[Challenge, ...]:
        """All of them, by name and value."""
        return tuple(self._challenges[key] for key in sorted(self._challenges))

    def apply(self, record: Record) -> None:
        """See `Fold.apply`."""
        match record.change:
            case ZoneSet(zone=name, rrsets=rrsets):
                self._zones[name] = ImportedZone(name, rrsets, record.sequence, record.at)
            case ZoneRemoved(zone=name):
                self._zones.pop(name, None)
                self._keys.pop(name, None)
            case ZoneKeysSet(zone=name, keys=keys):
                self._keys.pop(name, None)
                if keys:
                    self._keys[name] = keys
            case ChallengeSet(name=name, value=value, expires_at=expires_at):
                self._forget_expired(record.at)
                self._challenges[name, value] = Challenge(name, value, expires_at)
            case ChallengeRemoved(name=name, value=value):
                self._challenges.pop((name, value), None)
            case GeographySet() as geography:
                self.geography = geography
            case _:
                return  # other folds' matter
        self.changes += 1

    def dump(self) -> Any:
        """The state as JSON builtins; None when there is none, so that earlier programs can read the snapshot."""
        if not (self._zones or self._keys or self._challenges or self.geography):
            return None
        return msgspec.to_builtins(
            _Section(self.zones(), {zone: self._keys[zone] for zone in self.zones_with_keys()},
                     self.challenges(), self.geography)
        )  # fmt: skip

    def load(self, section: Any) -> None:
        """See `Fold.load`. Raises msgspec.MsgspecError, and then nothing has changed."""
        state = _Section((), {}, (), None) if section is None else msgspec.convert(section, _Section)
        before = self._zones
        self._zones = {zone.name: _same(before.get(zone.name), zone) for zone in state.zones}
        self._keys = dict(state.keys)
        self._challenges = {(each.name, each.value): each for each in state.challenges}
        self.geography = state.geography
        self.changes += 1

    def _forget_expired(self, at: float) -> None:
        for key, challenge in tuple(self._challenges.items()):
            if challenge.expires_at <= at:
                del self._challenges[key]


def _same(before: ImportedZone | None, zone: ImportedZone) -> ImportedZone:
    return before if before is not None and before == zone else zone
