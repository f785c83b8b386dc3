"""Which content was taken down, from the records: by digest, for one site or for all."""

from __future__ import annotations

from typing import Any

import msgspec

from cdn.journal.record import Audience, Record, SiteRemoved, TakedownLifted, TakenDown

EVERYWHERE = ""
"""Stands for every site."""


class Takedown(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """See `TakenDown`. `at` is wall time in seconds, `sequence` the record's."""

    digest: str
    site_id: str
    reason: str
    at: float
    sequence: int


class TakedownFold:
    """Asked with every request for a file that is not answered from memory: two look-ups."""

    name: str = "takedowns"
    audience: Audience = Audience.ALL

    def __init__(self) -> None:
        self._by_place: dict[tuple[str, str], Takedown] = {}

    def of(self, site_id: str, digest: str) -> Takedown | None:
        """Why this site may not have the content of this digest; None: it may."""
        if not self._by_place:
            return None
        return self._by_place.get((EVERYWHERE, digest)) or self._by_place.get((site_id, digest))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is taken down."""
        return not self._by_place

    def all(self) -> tuple[Takedown, ...]:
        """Every one that counts, in the order of records."""
        return tuple(self._by_place.values())

    def apply(self, record: Record) -> None:
        """Take one record."""
        match record.change:
            case TakenDown(digest=digest, site_id=site_id, reason=reason):
                self._by_place.setdefault(
                    (site_id, digest), Takedown(digest, site_id, reason, record.at, record.sequence)
                )
            case TakedownLifted(digest=digest, site_id=site_id):
                self._by_place.pop((site_id, digest), None)
            case SiteRemoved(site_id=site_id):
                for place in [place for place in self._by_place if place[0] == site_id]:
                    del self._by_place[place]
            case _:
                pass

    def dump(self) -> list[Any] | None:
        """None where nothing was taken down: then nobody need know this fold."""
        return msgspec.to_builtins(list(self._by_place.values())) if self._by_place else None

    def load(self, section: Any) -> None:
        """Become what `dump` gave. Raises msgspec.MsgspecError."""
        takedowns = msgspec.convert(section or [], list[Takedown])
        self._by_place = {(one.site_id, one.digest): one for one in takedowns}
