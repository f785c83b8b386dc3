"""All zones that a process answers for: the CDN's own, imported ones, and the challenges in them."""

from __future__ import annotations

from collections.abc import Sequence

from cdn.dns.challenges import Challenges
from cdn.dns.code import Rrtype
from cdn.dns.edge_zone import EdgeZone
from cdn.dns.name import Labels
from cdn.dns.site_addresses import SiteAddresses
from cdn.dns.site_names import SiteNames
from cdn.dns.zone_answer import AuthoritativeZone
from cdn.dns.zone_records import labels_from_text
from cdn.dns.zone_tree import ZoneTree
from cdn.errors import InvalidInput
from cdn.fleet.position import Position
from cdn.journal.record import (
    ChallengeRemoved,
    ChallengeSet,
    DeployActivated,
    DeployPrepared,
    Record,
    SiteChanged,
    SiteCreated,
    SiteRemoved,
    ZoneKeysSet,
    ZoneRemoved,
    ZoneSet,
)
from cdn.journal.zone_fold import ImportedZone, ZoneFold
from cdn.sites.name import PRODUCTION

_OF_ZONES = (ZoneSet, ZoneRemoved)
_OF_CHALLENGES = (ChallengeSet, ChallengeRemoved)
_OF_ANSWERS = (*_OF_ZONES, *_OF_CHALLENGES, SiteCreated, SiteChanged, SiteRemoved, ZoneKeysSet)


class ZoneBook:
    """See `Zones`. It reads two folds, the sites' and the zones', and is told when they have changed.

    Of a zone that cannot be understood `faults` says why, and what there was of it before is answered on. A challenge
    whose name is none is passed over: nobody can ask for it.
    """

    def __init__(self, edge: EdgeZone, sites: SiteNames, zone_fold: ZoneFold) -> None:
        self.generation: object = object()
        self.faults: dict[str, str] = {}
        """By the name of a zone, why it is not answered as the journal has it."""
        self._edge = edge
        self._sites = sites
        self._fold = zone_fold
        self._trees: dict[str, tuple[ImportedZone, ZoneTree]] = {}
        self._challenges = Challenges()
        self._zones: dict[Labels, EdgeZone | ZoneTree] = {edge.apex: edge}
        self._depths: tuple[int, ...] = (len(edge.apex),)

    def journal_loaded(self, position: Position | None, wall_s: float) -> None:
        """The folds hold what a copy or a snapshot of the journal says, up to `position`; None: there is none."""
        self._edge.serial = None if position is None else position.sequence
        self._read_zones()
        self._read_challenges(wall_s)
        self.generation = object()

    def journal_applied(self, records: Sequence[Record], position: Position, wall_s: float) -> None:
        """The folds have applied `records`; the generation changes only when one of them can change an answer."""
        changing = [record for record in records if _changes_answers(record)]
        if self._edge.serial is not None and not changing:
            return
        self._edge.serial = changing[-1].sequence if changing else position.sequence
        if any(isinstance(record.change, _OF_ZONES) for record in changing):
            self._read_zones()
        if any(isinstance(record.change, _OF_CHALLENGES) for record in changing):
            self._read_challenges(wall_s)
        self.generation = object()

    def choose(self, addresses: SiteAddresses | None) -> None:
        """From now on sites are answered with these. The same object again changes nothing."""
        if addresses is not self._sites.addresses:
            self._sites.addresses = addresses
            self.generation = object()

    def expire(self, wall_s: float) -> None:
        """Challenges that are over by then are gone. To be called about once a second."""
        if self._challenges.until is not None and self._challenges.until <= wall_s:
            self._read_challenges(wall_s)
            self.generation = object()

    def zone_of(self, labels: Labels, qtype: int) -> AuthoritativeZone | None:
        """See `Zones`."""
        own = None
        for depth in self._depths:
            zone = self._zones.get(labels[len(labels) - depth :]) if depth <= len(labels) else None
            if zone is None:
                continue
            if qtype != Rrtype.DS or depth < len(labels):
                return zone if own is None or zone.delegates(labels) else own
            own = zone
        return own

    def _read_zones(self) -> None:
        trees: dict[str, tuple[ImportedZone, ZoneTree]] = {}
        for zone in self._fold.zones():
            tree = self._tree(zone)
            if tree is not None:
                trees[zone.name] = zone, tree
        self._trees = trees
        self.faults = {name: fault for name, fault in self.faults.items() if self._fold.zone(name) is not None}
        self._zones = {tree.apex: tree for _, tree in trees.values()}
        self._zones[self._edge.apex] = self._edge
        self._depths = tuple(sorted({len(apex) for apex in self._zones}, reverse=True))

    def _tree(self, zone: ImportedZone) -> ZoneTree | None:
        """As it was made before, unless the zone was set anew; the former one when it cannot be understood."""
        former, tree = self._trees.get(zone.name, (None, None))
        if former is zone:
            return tree
        try:
            made = ZoneTree(labels_from_text(zone.name), zone.rrsets, self._sites)
        except InvalidInput as exc:
            self.faults[zone.name] = exc.message
            return tree
        self.faults.pop(zone.name, None)
        made.challenges = self._challenges
        return made

    def _read_challenges(self, wall_s: float) -> None:
        self._challenges = Challenges(self._fold.challenges(), wall_s)
        for zone in self._zones.values():
            zone.challenges = self._challenges


def _changes_answers(record: Record) -> bool:
    match record.change:
        case DeployPrepared(alias=alias) | DeployActivated(alias=alias):
            # A preview may have got its name, or have it back when so many others had driven it out meanwhile; a site
            # has its own from the beginning.
            return alias != PRODUCTION
        case change:
            return isinstance(change, _OF_ANSWERS)
