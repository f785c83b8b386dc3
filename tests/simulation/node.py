"""A node: the real follower, replica, folds, view, decisions and detached aliases; a plain cache under them."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from cdn.edge.clocks import Clocks
from cdn.edge.detached import DetachedAliases
from cdn.edge.node import LEASE_CHECK_S
from cdn.edge.prepared import Prepared
from cdn.edge.site_view import News, SiteView, ToPrepare
from cdn.edge.stored import ResidenceClock
from cdn.errors import Unavailable
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.http.decide import Forwarded, Required, Serve, ServeStale, StoredFacts, Validate, decide
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.follower import Follower, FollowerSettings
from cdn.journal.record import Record
from cdn.journal.replica import Replica
from cdn.origin.layout import manifest_key
from cdn.origin.store import ObjectMissing
from cdn.purge.floors import Floors
from cdn.sites.site import Site
from tests.simulation.disk import Disk
from tests.simulation.store import SimulatedStore
from tests.simulation.upstream import SimulatedUpstream
from tests.simulation.virtual_time import Machine, VirtualLoop

ALIAS = "production"
TAGS = {"/a": ("news",), "/b": ()}
LIFETIME_S = 3600.0
COMPACT_AFTER = 16
FOLLOWING = FollowerSettings(connect_timeout_s=3.0, silence_s=4.0, first_pause_s=0.2, longest_pause_s=2.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a visitor got. `value` is a deploy's id or an upstream's version; None: an error, or no such site.

    `is_stale`: it says itself that it is. `by_pointer`: the store was read for it, at most a second ago.
    """

    value: str | int | None
    is_stale: bool = False
    by_pointer: bool = False
    had_lease: bool = False
    settings_sequence: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored response."""

    version: int
    admitted: Position
    validated_at: float  # wall seconds of the ResidenceClock


class OrderedFloors(Floors):
    """Floors that take every record once and in order, or say so."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Position | None = None

    def apply(self, record: Record) -> None:
        last, self.last = self.last, record.position
        assert last is None or record.position == Position(last.epoch, last.sequence + 1), (
            f"{record.position} after {last}"
        )
        super().apply(record)

    def load(self, section: dict[str, Any] | None) -> None:
        self.last = None
        super().load(section)


class Life:
    """From a start of the node's process to its end."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.machine = Machine(node.node_id)
        self.catalog = CatalogFold("cdn.localhost")
        self.floors = OrderedFloors()
        self.view = SiteView(self.catalog, self.floors)
        self.clocks = Clocks(node.boot_time, node.wall)
        self.residence = ResidenceClock(node.wall(), node.boot_time())
        self.detached = DetachedAliases(node.store, self.view, self.clocks)
        self.prepared: dict[tuple[str, str], tuple[Prepared, str | int]] = {}
        self.follower: Follower | None = None
        self.has_closed = False

    async def run(self) -> None:
        node = self.node
        while True:
            try:
                replica = await Replica.open(node.replica_path, compact_after=COMPACT_AFTER)
                position = await replica.load((self.catalog, self.floors))
                break
            except Unavailable:
                await asyncio.sleep(1.0)
        follower = Follower(
            f"http://{node.node_id}",
            node.token,
            node.node_id,
            replica,
            (self.catalog, self.floors),
            self.view,
            facts=NodeFacts("simulated"),
            clock=node.boot_time,
            wall=node.boot_time,
            settings=FOLLOWING,
        )
        self.view.listen(self._act_on)
        if position is not None:
            self.view.on_snapshot(position, epoch_changed=False)
        self.follower = follower
        watching = asyncio.create_task(self._watch_lease())
        try:
            await follower.run()
        finally:
            watching.cancel()

    async def leave(self) -> None:
        """As a node stops: nobody is served any more, then the lease goes back."""
        self.has_closed = True
        if self.follower is not None:
            await self.follower.leave()

    def has_lease(self) -> bool:
        return self.follower is not None and self.follower.has_lease()

    async def visit(self, site_id: str, path: str) -> Answer:
        """What someone sees who comes now."""
        site = self.view.catalog.site(site_id)
        if self.follower is None or site is None or self.has_closed:
            return Answer(None)
        had_lease = self.has_lease()
        hit = self.prepared.get((site_id, path))
        if hit is not None and hit[0].is_usable(self.clocks.monotonic()):
            answer = Answer(hit[1])
        else:
            try:
                answer = await (self._pulled(site, path) if site.settings.is_pull else self._of_bundle(site, path))
            except Unavailable:
                answer = Answer(None)
        return replace(answer, had_lease=had_lease, settings_sequence=site.settings_sequence)

    async def _of_bundle(self, site: Site, path: str) -> Answer:
        generation = self.view.runtime(site.id).generation
        state = self.view.catalog.alias(site.id, ALIAS)
        by_pointer = site.settings.validates_on_detach and not self.has_lease()
        if by_pointer:
            state = await self.detached.state(site, ALIAS, state)
        if state is None or state.active is None:
            return Answer(None)
        self._prepare(site, path, generation, state.active.id)
        return Answer(state.active.id, by_pointer=by_pointer)

    async def _pulled(self, site: Site, path: str) -> Answer:
        generation = self.view.runtime(site.id).generation
        kept = self.node.shelf.get((site.id, path))
        now = self.clocks.monotonic()
        decision = decide(self._facts(site, kept, now), self._required(site, path), now)
        match decision:
            case Serve() if kept is not None:
                self._prepare(site, path, generation, kept.version)
                return Answer(kept.version)
            case ServeStale() if kept is not None:
                return Answer(kept.version, is_stale=True)
            case Validate(may_serve_stale_on_error=may_serve_stale) if kept is not None:
                try:
                    return Answer(await self._fetch(site, path))
                except Unavailable:
                    epoch = self.view.position.epoch
                    hard = self._required(site, path).hard
                    is_below = kept.admitted.epoch != epoch or kept.admitted.sequence < hard
                    if not may_serve_stale or is_below:
                        raise
                    return Answer(kept.version, is_stale=True)
            case _:
                assert isinstance(decision, Forwarded)
                return Answer(await self._fetch(site, path))

    async def _fetch(self, site: Site, path: str) -> int:
        asked_from = self.view.position
        version = await self.node.upstream.ask(self.node.node_id, site.id, path, self.node.rng)
        hard = self._required(site, path).hard
        if asked_from.epoch == self.view.position.epoch and asked_from.sequence >= hard:
            self.node.shelf[site.id, path] = Kept(version, asked_from, self.residence.wall(self.clocks.monotonic()))
        return version

    def _facts(self, site: Site, kept: Kept | None, now: float) -> StoredFacts | None:
        if kept is None:
            return None
        return StoredFacts(
            admitted_sequence=kept.admitted.sequence,
            is_same_epoch=kept.admitted.epoch == self.view.position.epoch,
            validated_at=self.residence.monotonic(kept.validated_at, now),
            freshness_lifetime_s=LIFETIME_S,
            stale_if_error_s=site.settings.stale_if_error_s,
            stale_while_revalidate_s=site.settings.stale_while_revalidate_s or 0,
            must_validate=site.settings.validates_on_detach and not self.has_lease(),
        )

    def _required(self, site: Site, path: str) -> Required:
        return self.view.floors.of(site.id).required((path,), TAGS[path])

    def _prepare(self, site: Site, path: str, generation: int, value: str | int) -> None:
        now = self.clocks.monotonic()
        lease_left_s = 0.0 if self.follower is None else self.follower.lease_left_s()
        prepared = Prepared(
            status=200,
            fields=(),
            content=b"",
            base_age_at=now,
            site=self.view.runtime(site.id),
            generation=generation,
            fresh_until=now + LIFETIME_S,
            usable_until=now + lease_left_s if site.settings.validates_on_detach else inf,
            wall_clock=self.clocks.wall,
        )
        self.prepared[site.id, path] = prepared, value

    async def sweep(self, site_id: str) -> None:
        """Reclaim what floors forbid, and let go of them: it takes a while, and the journal goes on meanwhile."""
        through = self.view.position
        for key, kept in list(self.node.shelf.items()):
            if key[0] == site_id and (
                kept.admitted.epoch != through.epoch
                or kept.admitted.sequence < self.view.floors.of(site_id).required((key[1],), TAGS[key[1]]).hard
            ):
                del self.node.shelf[key]
        await asyncio.sleep(self.node.rng.uniform(0.0, 3.0))
        self.floors.swept(site_id, through)

    def _act_on(self, news: News) -> None:
        if isinstance(news, ToPrepare):
            self.node.loop.start(self.machine, self._load_manifest(news))

    async def _load_manifest(self, news: ToPrepare) -> None:
        while any(deploy.id == news.deploy_id for deploy in self.view.catalog.preparing(news.site_id)):
            follower = self.follower
            try:
                await self.node.store.get(manifest_key(news.site_id, news.manifest_digest))
            except (Unavailable, ObjectMissing) as exc:
                if follower is not None:
                    follower.report_prepared(news.site_id, news.deploy_id, str(exc))
                await asyncio.sleep(2.0)
                continue
            if follower is not None:
                follower.report_prepared(news.site_id, news.deploy_id)
                return
            await asyncio.sleep(0.1)

    async def _watch_lease(self) -> None:
        was_attached = False
        while True:
            if self.has_lease() != was_attached:
                was_attached = not was_attached
                self.view.renew_all()
            await asyncio.sleep(LEASE_CHECK_S)


class SimulatedNode:
    """What of a node outlives its processes: disk, cache, clocks."""

    def __init__(
        self,
        node_id: str,
        loop: VirtualLoop,
        rng: random.Random,
        disk: Disk,
        store: SimulatedStore,
        upstream: SimulatedUpstream,
    ) -> None:
        self.node_id = node_id
        self.loop = loop
        self.rng = rng
        self.disk = disk
        self.store = store
        self.upstream = upstream
        self.token = ""
        self.shelf: dict[tuple[str, str], Kept] = {}
        self.replica_path = Path(f"{node_id}/replica.db")
        self.wall_offset_s = 1_700_000_000.0 + rng.uniform(-5.0, 5.0)
        self.life: Life | None = None
        self._boot_offset_s = rng.uniform(0.0, 1e6)
        self._rate = rng.uniform(0.99, 1.01)

    def boot_time(self) -> float:
        """CLOCK_BOOTTIME of this machine, which runs a little fast or slow."""
        return self._boot_offset_s + self._rate * self.loop.now

    def wall(self) -> float:
        return self.wall_offset_s + self.loop.now

    def boot(self) -> Life:
        self.life = Life(self)
        return self.life
