"""Floors, and how far sweeps have let them go.

A sweep judges what is stored by the names and tags that it was stored with. A rule of a deploy may give a response
other ones: the address that a rewrite leads from, a tag. Floors of those are let go of by a sweep that could not see
whom they forbid; so what is answered under a name or tag that it was not stored with has to be admitted after that
sweep (DESIGN I1). A fetch that is under way is not stored either: after a sweep nobody joins one that began before.
"""

from __future__ import annotations

from cdn.fleet.position import Position
from cdn.purge.floors import Floors
from cdn.purge.site_floors import SiteFloors


class SweptFloors:
    """What reclaiming asks of a node's floors (`cdn.edge.reclaim.SweptFloors`). One number per site that was swept."""

    def __init__(self, floors: Floors) -> None:
        self._floors = floors
        self._epoch: str | None = None
        self._before = 0
        self._through: dict[str, int] = {}

    def of(self, site_id: str) -> SiteFloors:
        """The floors of a site."""
        return self._floors.of(site_id)

    def swept(self, site_id: str, through: Position) -> None:
        """A complete sweep has removed what the site's hard floors up to `through` forbid."""
        self._floors.swept(site_id, through)
        before = self.through(site_id)
        if through.epoch == self._epoch:  # as for floors: what was swept in another one says nothing here
            self._through[site_id] = max(through.sequence, before)

    def began_at(self, position: Position) -> None:
        """The node began with what it knew at `position`: sweeps before that are not remembered."""
        self._epoch, self._before = position.epoch, position.sequence

    def through(self, site_id: str) -> int:
        """The sequence that whatever is answered under a name or tag it was not stored with must be admitted at; so
        must a fetch that is joined."""
        epoch = self._floors.epoch
        if epoch is not None and epoch != self._epoch:
            # Sequences of another epoch say nothing here, and nothing that was admitted in it may be used.
            self._epoch, self._before = epoch, 0
            self._through.clear()
        return self._through.get(site_id, self._before)

    def drop_site(self, site_id: str) -> None:
        """The site is gone; its id does not come back."""
        self._through.pop(site_id, None)
