"""What a node knows from the journal, and what follows from each record for what it has prepared.

One walk through: the follower makes a batch of records durable, hands them to the folds (catalog, floors), then to
`on_records` here; every site a record touches gets a new generation, so nothing that was prepared before is used
without being looked at again; a prepared deploy's manifest starts loading; a site whose floors rose is queued for
reclaiming. All of it is synchronous and without IO; then the node acknowledges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from cdn.edge.prepared import SiteRuntime
from cdn.edge.stored import StoredResponse
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import (
    AliasRemoved,
    AliasSet,
    AnswerRemoved,
    AnswerSet,
    CertificateRemoved,
    CertificateSet,
    ChallengeRemoved,
    ChallengeSet,
    ClaimRemoved,
    DeployActivated,
    DeployPrepared,
    DomainAdded,
    DomainClaimed,
    DomainRemoved,
    DomainVerified,
    GeographySet,
    HookRemoved,
    HookSet,
    Purged,
    Record,
    SiteChanged,
    SiteCreated,
    SiteRemoved,
    TakedownLifted,
    TakenDown,
    TokenCreated,
    TokenRevoked,
    VariantsSet,
    Withheld,
    ZoneKeysSet,
    ZoneRemoved,
    ZoneSet,
)
from cdn.purge.floors import Floors
from cdn.sites.catalog import Catalog
from cdn.sites.representation import tags_of

BEFORE_EVERYTHING = Position("", 0)
"""Where a node stands that has never heard of a journal."""

MAX_NAMES = 4096
"""Hosts whose site's name is remembered, some 200 bytes each. Beyond it all are forgotten: finding one takes 1 us."""

NO_GENERATION = -1
"""Of a removed site: nothing was prepared at it."""


@dataclass(frozen=True, slots=True)
class ToPrepare:
    """A deploy's manifest is to be loaded, and control told."""

    site_id: str
    deploy_id: str
    manifest_digest: str


@dataclass(frozen=True, slots=True)
class FloorsRose:
    """What the site stored below its floors can be reclaimed."""

    site_id: str


@dataclass(frozen=True, slots=True)
class SiteGone:
    """All that the site stored can be reclaimed."""

    site_id: str
    through: Position


@dataclass(frozen=True, slots=True)
class ContentTakenDown:
    """Something was taken down, or may come back."""


News = ToPrepare | FloorsRose | SiteGone | ContentTakenDown


class SiteView:
    """Catalog, floors and the position they stand at, with a generation per site."""

    def __init__(self, catalog: CatalogFold, floors: Floors) -> None:
        self.catalog_fold = catalog
        self.floors = floors
        self.position = BEFORE_EVERYTHING
        self._runtimes: dict[str, SiteRuntime] = {}
        self._names: dict[str, str] = {}
        self._names_of = self.position
        self._listener: Callable[[News], None] | None = None
        self._advanced: asyncio.Future[None] | None = None

    @property
    def catalog(self) -> Catalog:
        """The catalog as of `position`."""
        return self.catalog_fold.catalog

    async def advanced(self) -> None:
        """Return when the position has changed."""
        if self._advanced is None:
            self._advanced = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._advanced)

    def site_name(self, host: str) -> str:
        """The name of the site that answers for `host`; empty: none does."""
        if self.position is not self._names_of or len(self._names) >= MAX_NAMES:
            self._names.clear()
            self._names_of = self.position
        name = self._names.get(host)
        if name is None:
            binding = self.catalog.bind(host)
            site = None if binding is None else self.catalog.site(binding.site_id)
            name = self._names[host] = "" if site is None else site.name
        return name

    def listen(self, listener: Callable[[News], None]) -> None:
        """Name the one who acts on records. Called synchronously, so it only notes work to do."""
        self._listener = listener

    def runtime(self, site_id: str) -> SiteRuntime:
        """The site's generation counter; one that nothing is ever equal to for a site that is gone."""
        runtime = self._runtimes.get(site_id)
        if runtime is None:
            if self.catalog.site(site_id) is None:
                return SiteRuntime(site_id, NO_GENERATION)
            runtime = self._runtimes[site_id] = SiteRuntime(site_id, 0)
        return runtime

    def tags_of(self, stored: StoredResponse) -> tuple[str, ...]:
        """The cache tags a stored response counts under: those it was stored with, and those the rules give it now."""
        site = self.catalog.site(stored.key.site_id)
        # A pulled response lies under a key that is no path; its name begins with one, which may end in a query.
        path = stored.key.path if stored.pulled is None else stored.names[0].partition("?")[0]
        given = () if site is None else tags_of(path, site.settings)
        return stored.tags if given == stored.tags else tuple(dict.fromkeys(given + stored.tags))

    def renew_all(self) -> None:
        """Make everything prepared be looked at again (snapshot loaded, lease lost or found)."""
        for runtime in self._runtimes.values():
            runtime.generation += 1

    # FollowerSink

    def on_snapshot(self, position: Position, epoch_changed: bool) -> None:
        """The folds were replaced by a snapshot's; responses of another epoch or below its horizon fail in decide()."""
        self._stand_at(position)
        self.renew_all()
        for site_id in [site_id for site_id in self._runtimes if self.catalog.site(site_id) is None]:
            self._runtimes.pop(site_id).generation = NO_GENERATION
            self._tell(SiteGone(site_id, position))
        self._tell(ContentTakenDown())
        for site in self.catalog.sites():
            self._tell(FloorsRose(site.id))
            for deploy in self.catalog.preparing(site.id):
                self._tell(ToPrepare(site.id, deploy.id, deploy.manifest_digest))

    def on_records(self, records: Sequence[Record], position: Position) -> None:
        """The folds have taken `records`, which are durable."""
        self._stand_at(position)
        for record in records:
            self._follow(record)

    def _stand_at(self, position: Position) -> None:
        # Whoever waits for it comes after everything that follows from the records, which nothing interrupts.
        self.position = position
        advanced, self._advanced = self._advanced, None
        if advanced is not None:
            advanced.set_result(None)

    def _follow(self, record: Record) -> None:  # noqa: C901 - one arm per kind
        change = record.change
        match change:
            case DeployPrepared():
                self.runtime(change.site_id).generation += 1
                self._tell(ToPrepare(change.site_id, change.deploy_id, change.manifest_digest))
            case Purged():
                self.runtime(change.site_id).generation += 1
                self._tell(FloorsRose(change.site_id))
            case SiteRemoved():
                gone = self._runtimes.pop(change.site_id, None)
                if gone is not None:
                    gone.generation = NO_GENERATION
                self._tell(SiteGone(change.site_id, record.position))
            case SiteChanged():
                self.runtime(change.site_id).generation += 1
                if change.purges:
                    self._tell(FloorsRose(change.site_id))
            case DeployActivated() | SiteCreated() | DomainAdded() | DomainRemoved() | DomainVerified():
                self.runtime(change.site_id).generation += 1
            case AliasSet() | AliasRemoved() | VariantsSet():
                self.runtime(change.site_id).generation += 1
            case TakenDown() | TakedownLifted():
                if change.site_id:
                    self.runtime(change.site_id).generation += 1
                else:
                    self.renew_all()
                self._tell(ContentTakenDown())
            case TokenCreated() | TokenRevoked() | HookSet() | HookRemoved() | Withheld():
                pass
            case ZoneSet() | ZoneRemoved() | ZoneKeysSet() | ChallengeSet() | ChallengeRemoved() | GeographySet():
                pass  # what name servers answer is nothing to an edge
            case DomainClaimed() | ClaimRemoved():
                pass  # control's matter
            case CertificateSet() | CertificateRemoved():
                owner = self.catalog.domain_owner(change.name)  # its visitors are sent to https, or no more
                if owner is not None:
                    self.runtime(owner).generation += 1
            case AnswerSet() | AnswerRemoved():
                pass  # looked at with every request for one
            case _:
                assert_never(change)

    def _tell(self, news: News) -> None:
        if self._listener is not None:
            self._listener(news)
