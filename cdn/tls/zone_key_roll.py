"""The keys of a signed zone over their lives: the first one, one in another's place, none any more.

One key signs everything (RFC 6781 3.1 calls it a single-type scheme), and all keys of a zone sign its DNSKEY records.
So a zone can be followed from the DS record of any of its keys, at any time, and what has to wait is only this:

1. `on`: a first key signs. Its DS record may go into the zone above when nobody holds an unsigned answer any more.
2. `roll`: a new key is published. When everybody who holds DNSKEY records has it among them, the next `roll` makes it
   sign in the place of the old one. Now the DS record is replaced in the zone above; when nobody holds the old DS
   record or a signature of the old key any more, the third `roll` takes the old key away.
3. `off`: the zone stays signed, and says that the DS record shall go (RFC 8078 4). When nobody holds it any more the
   second `off` takes the keys away. Until then `on` keeps the zone signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import assert_never

from cdn.errors import Conflict
from cdn.journal.record import SealedZoneKey
from cdn.tls.sealed import KeyRing
from cdn.tls.zone_key import ZoneKey, ZoneKeyStage, envelope_of, new_zone_key, opened_zone_key
from cdn.tls.zone_signing import SigningAction, ZoneKeyFacts, ZoneSigning

DNSKEY_TTL_S = 3600
"""Of the DNSKEY, CDS and CDNSKEY records: an hour, because every step of a roll waits for it."""

SPREAD_S = 600.0
"""Until every name server answers with a change: seconds, or as long as one takes that was cut off for a while."""

MAX_HELD_S = 604_800
"""No resolver keeps an answer for longer than a week, whatever its TTL says (RFC 8767 4)."""

DS_HELD_S = 86_400.0
"""How long resolvers keep a DS record at the least of what operators are told to wait: the zones above mostly say a
day."""


class ZoneKeyRoll:
    """See `ZoneKeyMaker`. What it returns has the key that signs first."""

    def __init__(self, ring: KeyRing) -> None:
        """`ring` has the keys of name servers."""
        self._ring = ring

    def changed(
        self, zone: str, keys: tuple[SealedZoneKey, ...], action: SigningAction, *, longest_ttl_s: int, now: float
    ) -> tuple[SealedZoneKey, ...]:
        """See `ZoneKeyMaker`."""
        opened = self._opened(zone, keys)
        match action:
            case SigningAction.ON:
                changed = _switched_on(zone, opened, now)
            case SigningAction.OFF:
                changed = _switched_off(zone, opened, now)
            case SigningAction.ROLL:
                changed = _rolled(zone, opened, longest_ttl_s, now)
            case _:
                assert_never(action)
        return tuple(key.sealed(zone, self._ring) for key in changed)

    def described(self, zone: str, keys: tuple[SealedZoneKey, ...], *, longest_ttl_s: int, now: float) -> ZoneSigning:
        """See `ZoneKeyMaker`."""
        opened = self._opened(zone, keys)
        facts = (
            ZoneKeyFacts(key.key_id, key.stage.value, key.created_at, key.key_tag, key.ds_text(zone)) for key in opened
        )
        return ZoneSigning(tuple(facts), _next_step(opened, longest_ttl_s, now))

    def resealed(self, zone: str, keys: tuple[SealedZoneKey, ...]) -> tuple[SealedZoneKey, ...] | None:
        """The same keys sealed with the ring's first key; None: all of them are. Raises InvalidInput."""
        if all(self._ring.is_current(envelope_of(zone, key)) for key in keys):
            return None
        return tuple(key.sealed(zone, self._ring) for key in self._opened(zone, keys))

    def _opened(self, zone: str, keys: Sequence[SealedZoneKey]) -> list[ZoneKey]:
        return [opened_zone_key(zone, key, self._ring) for key in keys]


def signing_key(keys: Sequence[ZoneKey]) -> ZoneKey:
    """The one that signs everything, of at least one: the active one, or while signing is switched off the last that
    was."""
    return next((key for key in keys if key.stage is ZoneKeyStage.ACTIVE), keys[0])


def is_going(keys: Sequence[ZoneKey]) -> bool:
    """Whether signing is being switched off: the zone above shall have no DS record."""
    return not any(key.stage is ZoneKeyStage.ACTIVE for key in keys)


def ds_from(key: ZoneKey, longest_ttl_s: int) -> float:
    """The wall time from which on the zone above may have the DS record of an active key: nobody holds an answer from
    before the zone was signed."""
    return key.created_at + _held_s(longest_ttl_s) + SPREAD_S


def _switched_on(zone: str, keys: list[ZoneKey], now: float) -> list[ZoneKey]:
    if not keys:
        return [new_zone_key(zone, ZoneKeyStage.ACTIVE, (), now)]
    if not is_going(keys):
        raise Conflict(f"{zone} is signed already: `cdn zone sign {zone} --roll` gives it a new key")
    return [_at_stage(keys[0], ZoneKeyStage.ACTIVE, now), *keys[1:]]


def _switched_off(zone: str, keys: list[ZoneKey], now: float) -> list[ZoneKey]:
    if not keys:
        raise Conflict(f"{zone} is not signed")
    if not is_going(keys):
        # A published key goes at once: its DS record was never asked for.
        left = [key for key in keys if key.stage is not ZoneKeyStage.PUBLISHED]
        first = signing_key(left)
        return [_at_stage(first, ZoneKeyStage.RETIRED, now), *(key for key in left if key is not first)]
    earliest = keys[0].since + DS_HELD_S + SPREAD_S
    if now < earliest:
        raise Conflict(
            f"{zone} has to stay signed until {_text(earliest)}, and until the DS record has been gone from the zone "
            "above for as long as its TTL was there: resolvers that hold it would take every answer for a forgery"
        )
    return []


def _rolled(zone: str, keys: list[ZoneKey], longest_ttl_s: int, now: float) -> list[ZoneKey]:
    if not keys:
        raise Conflict(f"{zone} is not signed: `cdn zone sign {zone} --on` gives it a first key")
    if is_going(keys):
        raise Conflict(f"signing of {zone} is being switched off: `cdn zone sign {zone} --on` keeps it on")
    active = signing_key(keys)
    published = next((key for key in keys if key.stage is ZoneKeyStage.PUBLISHED), None)
    retired = [key for key in keys if key.stage is ZoneKeyStage.RETIRED]
    if published is not None:
        if now < (earliest := _signs_from(published)):
            raise Conflict(
                f"the new key of {zone} may sign from {_text(earliest)} on: some resolvers do not know it yet"
            )
        return [
            _at_stage(published, ZoneKeyStage.ACTIVE, now), _at_stage(active, ZoneKeyStage.RETIRED, now), *retired
        ]  # fmt: skip
    if retired:
        if now < (earliest := _goes_from(retired, longest_ttl_s)):
            raise Conflict(
                f"the old key of {zone} has to stay until {_text(earliest)}, and until its DS record has been gone "
                "from the zone above for as long as its TTL was there: resolvers that hold it need the key"
            )
        return [active]
    return [active, new_zone_key(zone, ZoneKeyStage.PUBLISHED, keys, now)]


def _next_step(keys: list[ZoneKey], longest_ttl_s: int, now: float) -> str:
    if not keys:
        return ""
    active = signing_key(keys)
    published = next((key for key in keys if key.stage is ZoneKeyStage.PUBLISHED), None)
    retired = [key for key in keys if key.stage is ZoneKeyStage.RETIRED]
    if is_going(keys):
        return (
            "Have the DS records removed from the zone above. When they have been gone for as long as their TTL was "
            f"there, and not before {_text(keys[0].since + DS_HELD_S + SPREAD_S)}, switch signing off once more."
        )
    if published is not None:
        return f"From {_text(_signs_from(published))} on roll once more: then the key {published.key_tag} signs."
    if retired:
        return (
            f"Have the DS record of the key {active.key_tag} put in the place of the old one in the zone above. When "
            "it has stood there alone for as long as the old one's TTL was there, and not before "
            f"{_text(_goes_from(retired, longest_ttl_s))}, roll once more: then the old key goes."
        )
    earliest = ds_from(active, longest_ttl_s)
    when = f"From {_text(earliest)} on" if now < earliest else "Unless it is there already"
    return (
        f"{when}, have the DS record of the key {active.key_tag} put into the zone above, where the name is registered."
    )


def _signs_from(published: ZoneKey) -> float:
    return published.since + DNSKEY_TTL_S + SPREAD_S


def _goes_from(retired: Sequence[ZoneKey], longest_ttl_s: int) -> float:
    return max(key.since for key in retired) + max(_held_s(longest_ttl_s), DS_HELD_S) + SPREAD_S


def _held_s(longest_ttl_s: int) -> int:
    return min(max(longest_ttl_s, DNSKEY_TTL_S), MAX_HELD_S)


def _at_stage(key: ZoneKey, stage: ZoneKeyStage, now: float) -> ZoneKey:
    return replace(key, stage=stage, since=now)


def _text(wall_s: float) -> str:
    """Rounded up to the minute."""
    return datetime.fromtimestamp(-(-wall_s // 60) * 60, UTC).strftime("%Y-%m-%d %H:%M UTC")
