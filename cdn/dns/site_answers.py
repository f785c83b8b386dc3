"""The names of sites and previews below the zone, answered with the nodes that serve them."""

from __future__ import annotations

from cdn.dns.answers import Absence, Records
from cdn.dns.choice import Choice, Family
from cdn.dns.client import client_at
from cdn.dns.code import Rrtype
from cdn.dns.name import Labels
from cdn.fleet.position import Position
from cdn.sites.catalog import Catalog
from cdn.sites.name import PRODUCTION, split_label

_FAMILIES = {Rrtype.A.value: Family.IPV4, Rrtype.AAAA.value: Family.IPV6}


class SiteAnswers:
    """`SITE` and `ALIAS--SITE`. `position` and `choice` are set by whoever follows the journal and the fleet.

    A name exists from when the journal says so, whether or not there is a node for it.
    """

    def __init__(self, catalog: Catalog, ttl_s: int) -> None:
        self.position: Position | None = None
        self.choice: Choice | None = None
        self._catalog = catalog
        self._ttl_s = ttl_s

    @property
    def serial(self) -> int:
        """The sequence up to which the journal is applied."""
        return 0 if self.position is None else self.position.sequence

    def find(self, labels: Labels, qtype: int, source: str) -> Records | Absence:
        """See `Answers`."""
        if self.position is None:
            return Absence.NOT_KNOWN_YET
        if len(labels) != 1:
            return Absence.NO_SUCH_NAME
        alias, name = split_label(labels[0].decode("latin-1"))
        site = self._catalog.site_named(name)
        if site is None or (alias != PRODUCTION and self._catalog.alias(site.id, alias) is None):
            return Absence.NO_SUCH_NAME
        family = _FAMILIES.get(qtype)
        if family is None:
            return Records(self._ttl_s)
        if self.choice is None:
            return Absence.NOT_KNOWN_YET
        chosen = self.choice.addresses(site, family, client_at(source))
        return Absence.NO_NODE if chosen is None else Records(self._ttl_s, chosen.packed)
