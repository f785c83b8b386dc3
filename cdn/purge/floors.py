"""Floors: what purges leave behind on every node (DESIGN I1, I2).

A purge does not look for stored responses. It raises a floor: the sequence at which a response must at least have been
admitted to be used. Nothing here knows what is cached, so raising a floor costs the same on an empty and a full node.
"""

from __future__ import annotations

import heapq
from typing import Any

from cdn.fleet.position import Position
from cdn.journal.record import Audience, Purged, Record, SiteChanged, SiteRemoved
from cdn.purge.limits import FloorLimits
from cdn.purge.scope import EVERYTHING, Scope, scope_from_record
from cdn.purge.site_floors import SiteFloors

__all__ = ["Floors", "SiteFloors"]


class Floors:
    """The floors of every site, as records add up to them. A `Fold`.

    A sweep is a fact of one node. Other nodes must therefore never load a section dumped by a fold that was swept: they
    still store what this one removed.
    """

    name = "floors"
    audience = Audience.ALL

    def __init__(self, limits: FloorLimits | None = None) -> None:
        self._limits = limits or FloorLimits()
        self._epoch: str | None = None
        self._horizon = 0
        self._sites: dict[str, SiteFloors] = {}
        self._removed: dict[str, int] = {}  # site id to the sequence of its removal, oldest first
        self._narrow_count = 0

    @property
    def epoch(self) -> str | None:
        """The epoch of what was applied last; None: nothing was."""
        return self._epoch

    @property
    def horizon(self) -> int:
        """What every site demands at least: part of every `Required.hard`."""
        return self._horizon

    def of(self, site_id: str) -> SiteFloors:
        """The floors of a site in the catalog: the same object until the site is removed, through `load` too."""
        floors = self._sites.get(site_id)
        if floors is not None:
            return floors
        removed_at = self._removed.get(site_id)
        if removed_at is not None:
            return SiteFloors(max(self._horizon, removed_at), self._limits)
        floors = self._sites[site_id] = SiteFloors(self._horizon, self._limits)
        return floors

    def apply(self, record: Record) -> None:
        """Take one record; the cost depends on its scopes and on what is bounded here, never on what is stored."""
        self._epoch = record.epoch
        match record.change:
            case Purged(site_id, scopes, soft):
                self._purge(site_id, [scope_from_record(scope) for scope in scopes], record.sequence, soft)
            case SiteChanged(site_id=site_id, purges=purges):
                self._widen_tags(site_id)
                if purges:
                    self._purge(site_id, [EVERYTHING], record.sequence, soft=False)
            case SiteRemoved(site_id):
                self._remove(site_id, record.sequence)
            case _:
                pass

    def raise_horizon(self, sequence: int) -> None:
        """Demand `sequence` of every stored response of every site: the `floor_horizon` of a loaded snapshot."""
        if sequence <= self._horizon:
            return
        self._horizon = sequence
        for floors in self._sites.values():
            floors.raise_floor(EVERYTHING, sequence, soft=False)
        self._recount()

    def begin_epoch(self, epoch: str, sequence: int) -> None:
        """Another epoch goes on from `sequence`: what was stored in the former one is unusable (DESIGN I3)."""
        self._epoch = epoch
        self.raise_horizon(sequence)

    def swept(self, site_id: str, through: Position) -> None:
        """A complete sweep has durably removed from every tier what the site's hard floors up to `through` forbid.

        `through` is where the node stood when the sweep began. Those floors are forgotten. A sweep begun in another
        epoch says nothing about this one's floors and changes nothing.
        """
        floors = self._sites.get(site_id)
        if floors is None or through.epoch != self._epoch:
            return
        self._narrow_count -= len(floors)
        floors.swept(through.sequence)
        self._narrow_count += len(floors)

    def dump(self) -> dict[str, Any]:
        """The state as JSON builtins."""
        return {
            "epoch": self._epoch,
            "horizon": self._horizon,
            "sites": {site_id: floors.dump() for site_id, floors in self._sites.items() if not floors.is_empty},
            "removed": dict(self._removed),
        }

    def load(self, section: dict[str, Any] | None) -> None:
        """Replace the state by what `dump` made (None: no floors). Objects that `of` gave out follow."""
        section = section or {"epoch": None, "horizon": 0, "sites": {}, "removed": {}}
        self._epoch = section["epoch"]
        self._horizon = section["horizon"]
        self._removed = dict(section["removed"])
        dumped_sites: dict[str, Any] = section["sites"]
        for site_id in self._sites.keys() & self._removed.keys():
            self._sites.pop(site_id).raise_floor(EVERYTHING, self._removed[site_id], soft=False)
        for site_id, floors in self._sites.items():
            floors.load(dumped_sites.get(site_id), self._horizon)
        for site_id in dumped_sites.keys() - self._sites.keys():
            self.of(site_id).load(dumped_sites[site_id], self._horizon)
        self._recount()

    def _purge(self, site_id: str, scopes: list[Scope], sequence: int, soft: bool) -> None:
        if site_id in self._removed:
            return
        floors = self.of(site_id)
        self._narrow_count -= len(floors)
        for scope in scopes:
            floors.raise_floor(scope, sequence, soft)
        self._narrow_count += len(floors)
        if self._narrow_count > self._limits.max_floors:
            self._compact_largest()

    def _compact_largest(self) -> None:
        """Compact the largest sites until there is room for an eighth more: to look at all sites for the largest must
        be rare, as purges may not cost more where there are more sites."""
        at_most = self._limits.max_floors - self._limits.max_floors // 8
        largest = [(-len(floors), number, floors) for number, floors in enumerate(self._sites.values())]
        heapq.heapify(largest)
        while self._narrow_count > at_most:
            _, number, floors = heapq.heappop(largest)
            self._narrow_count -= len(floors)
            floors.compact()
            self._narrow_count += len(floors)
            heapq.heappush(largest, (-len(floors), number, floors))

    def _widen_tags(self, site_id: str) -> None:
        floors = self._sites.get(site_id)
        if floors is not None:
            self._narrow_count -= len(floors)
            floors.widen_tags()
            self._narrow_count += len(floors)

    def _remove(self, site_id: str, sequence: int) -> None:
        self._removed[site_id] = sequence
        floors = self._sites.pop(site_id, None)
        if floors is not None:
            self._narrow_count -= len(floors)
            floors.raise_floor(EVERYTHING, sequence, soft=False)
        if len(self._removed) > self._limits.max_removed_sites:
            oldest = list(self._removed)[: (len(self._removed) + 1) // 2]
            self.raise_horizon(max(self._removed.pop(removed_id) for removed_id in oldest))

    def _recount(self) -> None:
        self._narrow_count = sum(len(floors) for floors in self._sites.values())
