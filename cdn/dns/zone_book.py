"""All zones that a process answers for: the CDN's own, imported ones, and the challenges in them."""

from __future__ import annotations

from collections.abc import Sequence

from cdn.dns.edge_zone import EdgeZone
from cdn.dns.name import Labels
from cdn.dns.site_addresses import SiteAddresses
from cdn.dns.site_names import SiteNames
from cdn.dns.zone_answer import AuthoritativeZone
from cdn.fleet.position import Position
from cdn.journal.record import Record
from cdn.journal.zone_fold import ZoneFold


class ZoneBook:
    """See `Zones`. It reads the two folds and is told when they changed; a zone whose records cannot be understood is
    left out and said in `faults`, and of the zone that was there before nothing is lost."""

    def __init__(self, edge: EdgeZone, sites: SiteNames, zone_fold: ZoneFold) -> None:
        self.generation: object = object()
        self.faults: dict[str, str] = {}
        """By the name of a zone, why it is not answered as the journal has it."""

    def journal_loaded(self, position: Position | None, wall_s: float) -> None:
        """The folds hold what a copy or a snapshot of the journal says, up to `position`; None: there is none."""

    def journal_applied(self, records: Sequence[Record], position: Position, wall_s: float) -> None:
        """The folds have applied `records`; the generation changes only when one of them can change an answer."""

    def choose(self, addresses: SiteAddresses | None) -> None:
        """From now on sites are answered with these. The same object again changes nothing."""

    def expire(self, wall_s: float) -> None:
        """Challenges that are over by then are gone. To be called about once a second."""

    def zone_of(self, labels: Labels, qtype: int) -> AuthoritativeZone | None:
        """See `Zones`."""
        raise NotImplementedError
