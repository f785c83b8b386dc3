"""TXT records by which a certificate authority sees who holds a name (RFC 8555 8.4)."""

from __future__ import annotations

from collections.abc import Callable

from cdn.control.settings import ControlSettings
from cdn.control.state import ControlState
from cdn.control.zone_names import is_within, normalise_name
from cdn.errors import Conflict, InvalidInput, NotFound
from cdn.journal.record import ChallengeRemoved, ChallengeSet, Change, Record
from cdn.journal.zone_fold import ZoneFold

CHALLENGE_LABEL = "_acme-challenge"

MAX_VALUE_OCTETS = 255
"""One string of a TXT record (RFC 1035 3.3); a digest in base64url takes 43."""

MAX_LIFE_S = 7 * 86400.0
"""An authority looks within minutes, and forgets an authorisation that is pending after a week."""

MAX_AT_NAME = 16
"""Challenges at one name at one time: they all go into one answer. A name and its wildcard need two."""


class Challenges:
    """What is asked for here is in the answers of name servers once they have applied its record."""

    def __init__(
        self, settings: ControlSettings, state: ControlState, zones: ZoneFold, clock: Callable[[], float]
    ) -> None:
        """`clock` is wall time."""
        self._settings = settings
        self._state = state
        self._zones = zones
        self._clock = clock

    async def set(self, name: str, value: str, *, expires_s: float, actor: str) -> Record:
        """Record the challenge; one that is there already lasts until the later end.

        Raises InvalidInput, Conflict for a name in no zone that name servers answer for and above the bounds, and as
        `ControlState.append`.
        """
        name, value = self._checked(name), _checked_value(value)
        if not 0 < expires_s <= MAX_LIFE_S:
            raise InvalidInput(
                f"A challenge lasts for up to {MAX_LIFE_S:.0f} seconds, not {expires_s:g}.", field="expires_s"
            )

        def decide() -> Change:
            now = self._clock()
            self._require_served(name)
            self._require_room(name, value, now)
            there = self._zones.challenge(name, value)
            until = now + expires_s
            return ChallengeSet(name, value, until if there is None else max(until, there.expires_at))

        return await self._state.append(f"challenge/{name}", decide, actor)

    async def remove(self, name: str, value: str, *, actor: str) -> Record:
        """Raises InvalidInput, NotFound, and as `ControlState.append`."""
        name = self._checked(name)

        def decide() -> Change:
            if self._zones.challenge(name, value) is None:
                raise NotFound(f"There is no such challenge at {name}.")
            return ChallengeRemoved(name, value)

        return await self._state.append(f"challenge/{name}", decide, actor)

    def _checked(self, name: str) -> str:
        name = normalise_name(name, field="name")
        if name.partition(".")[0] != CHALLENGE_LABEL or name == CHALLENGE_LABEL:
            raise InvalidInput(
                f"A challenge for www.example.com stands at {CHALLENGE_LABEL}.www.example.com, not at {name}.",
                field="name",
            )
        return name

    def _require_served(self, name: str) -> None:
        zones = [self._settings.zone, *(zone.name for zone in self._zones.zones())]
        if not any(is_within(name, zone) for zone in zones):
            raise Conflict(
                f"{name} is in no zone that name servers answer for here: import its zone (cdn zone import FILE), or "
                "put the record where its zone is."
            )

    def _require_room(self, name: str, value: str, now: float) -> None:
        others = [each for each in self._zones.challenges() if each.expires_at > now]
        if any((each.name, each.value) == (name, value) for each in others):
            return
        if sum(each.name == name for each in others) >= MAX_AT_NAME:
            raise Conflict(f"There are {MAX_AT_NAME} challenges at {name}, the limit: remove one first.")
        if len(others) >= self._settings.max_challenges:
            raise Conflict(f"There are {self._settings.max_challenges} challenges, the limit: remove one first.")


def _checked_value(value: str) -> str:
    if not 1 <= len(value) <= MAX_VALUE_OCTETS or not value.isascii() or not value.isprintable():
        raise InvalidInput(
            f"A challenge's value has 1 to {MAX_VALUE_OCTETS} printable ASCII characters.", field="value"
        )
    return value
