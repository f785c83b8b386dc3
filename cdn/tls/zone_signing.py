"""The seam to the keys of signed zones: control keeps their records, whoever implements this makes and reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cdn.journal.record import SealedZoneKey


class SigningAction(Enum):
    """What an operator may ask for."""

    ON = "on"  # a first key, which signs at once
    OFF = "off"  # no keys, once resolvers have forgotten the DS record of the zone above
    ROLL = "roll"  # the next step of putting a new key in the place of the one that signs


@dataclass(frozen=True, slots=True)
class ZoneKeyFacts:
    """What everybody may know of a key. `ds` is the DS record for the zone above in text form, with owner and type."""

    key_id: str
    stage: str
    created_at: float
    key_tag: int
    ds: str


@dataclass(frozen=True, slots=True)
class ZoneSigning:
    """How a zone is signed now. `next_step` says in a sentence or two what the operator has to do, and from when on
    the next action is possible; "": nothing has to be done."""

    keys: tuple[ZoneKeyFacts, ...] = ()
    next_step: str = ""


class ZoneKeyMaker(Protocol):
    """Does no IO and takes a millisecond. `now` is wall time, `longest_ttl_s` that of all records of the zone."""

    def changed(
        self, zone: str, keys: tuple[SealedZoneKey, ...], action: SigningAction, *, longest_ttl_s: int, now: float
    ) -> tuple[SealedZoneKey, ...]:
        """All keys that the zone has after the action.

        Raises Conflict, with what to do first or from when on, where the action does not follow on the keys that there
        are; InvalidInput for keys that cannot be opened.
        """
        ...

    def described(self, zone: str, keys: tuple[SealedZoneKey, ...], *, longest_ttl_s: int, now: float) -> ZoneSigning:
        """How a zone with these keys is signed, one without too. Raises InvalidInput for keys that cannot be opened."""
        ...

    def resealed(self, zone: str, keys: tuple[SealedZoneKey, ...]) -> tuple[SealedZoneKey, ...] | None:
        """The same keys sealed with the key that seals now; None: all of them are. Raises InvalidInput."""
        ...
