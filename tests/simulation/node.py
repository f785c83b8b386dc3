"""A node: the real follower, replica, folds, view, memory and workers; a plain cache of pulled responses under them."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, assert_never

import msgspec

from cdn.edge.clocks import Clocks
from cdn.edge.detached import DetachedAliases
from cdn.edge.limits import HttpLimits
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.node import LEASE_CHECK_S
from cdn.edge.peer_application import PeerApplication
from cdn.edge.prepared import Prepared
from cdn.edge.pull_memory import PullMemory
from cdn.edge.recall import Recall
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response
from cdn.edge.site_view import ContentTakenDown, FloorsRose, News, SiteGone, SiteView, ToPrepare
from cdn.edge.stored import ResidenceClock
from cdn.edge.visitor import Visitor
from cdn.edge.worker_exchange import ExchangeServer
from cdn.edge.worker_pool import WorkerPool
from cdn.edge.worker_relay import WorkerRelay
from cdn.edge.worker_settings import WorkerSettings
from cdn.errors import Unavailable
from cdn.fleet.node import NodeFacts
from cdn.fleet.peers import PeerRoll
from cdn.fleet.position import Position
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.follower import Follower, FollowerSettings
from cdn.journal.record import Record
from cdn.journal.replica import Replica
from cdn.origin.layout import manifest_key
from cdn.origin.store import ObjectMissing
from cdn.purge.floors import Floors
from cdn.sites.site import Site
from tests.simulation.cache import Answer, Kept, PullCache
from tests.simulation.disk import Disk
from tests.simulation.shield import Shielding, peer_application, taker
from tests.simulation.store import SimulatedStore
from tests.simulation.upstream import SimulatedUpstream
from tests.simulation.virtual_time import Machine, VirtualLoop
from tests.simulation.worker import NO_CONTENT, VISITOR, Listener, Socket, Workers

ALIAS = "production"
ZONE = "cdn.localhost"
COMPACT_AFTER = 16
FOLLOWING = FollowerSettings(connect_timeout_s=3.0, silence_s=4.0, first_pause_s=0.2, longest_pause_s=2.0)

_ENCODE = msgspec.json.encode
NOTHING = _ENCODE((None, False, False))


def _decoded(content: bytes) -> Answer:
    """An error is told as text."""
    return Answer(*msgspec.json.decode(content)) if content.startswith(b"[") else Answer(None)


def request_for(name: str, path: str) -> Request:
    """A visitor's."""
    return Request("GET", Target(path, None, path), f"{name}.{ZONE}", None, Fields(), "http")


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
    """From a start of the node's process to its end. An Application, asked here or by workers."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.machine = Machine(node.node_id)
        self.catalog = CatalogFold(ZONE)
        self.floors = OrderedFloors()
        self.view = SiteView(self.catalog, self.floors)
        self.clocks = self.machine.clocks = Clocks(node.boot_time, node.wall)
        self.relay = WorkerRelay(self.view, node.boot_time)
        self.residence = ResidenceClock(node.wall(), node.boot_time())
        self.detached = DetachedAliases(node.store, self.view, self.clocks)
        self.prepared: MemoryTier[Prepared] = MemoryTier(1 << 20)
        self.memory = PullMemory(self.prepared)
        self.recalls = Recall(self.view, self.prepared, self.memory)
        self.cache = PullCache(self)
        self.follower: Follower | None = None
        self.pool: WorkerPool | None = None
        self.shielding: Shielding | None = None
        self.peers: PeerApplication | None = None
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
            node.control_urls,
            node.token,
            node.node_id,
            replica,
            (self.catalog, self.floors),
            self.relay,
            facts=NodeFacts("simulated"),
            clock=node.boot_time,
            wall=node.wall,
            settings=FOLLOWING,
            everywhere=self.relay.everywhere if node.workers > 1 else None,
        )
        self.view.listen(self._act_on)
        if position is not None:
            self.view.on_snapshot(position, epoch_changed=False)
        self.follower = follower
        if node.shield == node.node_id:
            follower.on_peers = taker(node)
            self.peers = peer_application(self)
        elif node.shield is not None:
            self.shielding = Shielding(self, f"http://{node.shield}")
        if node.workers > 1:
            await self._open_workers()
        watching = asyncio.create_task(self._watch_lease())
        try:
            await follower.run()
        finally:
            watching.cancel()

    async def leave(self) -> None:
        """As a node stops: nobody is served any more, then the lease goes back."""
        self.has_closed = True
        if self.follower is None:
            return
        await self.follower.drain()
        if self.pool is not None:
            await self.pool.drain(1.0)
        await self.follower.leave()

    def has_lease(self) -> bool:
        return self.follower is not None and self.follower.has_lease()

    def lease_left_s(self) -> float:
        return 0.0 if self.follower is None else self.follower.lease_left_s()

    async def visit(self, request: Request, listener: Listener | None) -> Answer:
        """What someone sees who comes now; `listener` is the worker that they come to, None: there are none."""
        view = self.view if listener is None else listener.application._view
        binding = view.catalog.bind(request.host)
        site = None if binding is None else view.catalog.site(binding.site_id)
        if self.follower is None or self.has_closed or (listener is None and self.node.workers > 1):
            return Answer(None)
        had_lease = self.has_lease()
        try:
            content = await (self._get(request) if listener is None else listener.get(request))
        except Unavailable:
            return Answer(None)
        answer = _decoded(content)
        known = 0 if site is None else site.settings_sequence
        return replace(answer, had_lease=had_lease, settings_sequence=known)

    async def _get(self, request: Request) -> bytes:
        hit = self.recall(request, self.clocks.monotonic())
        if hit is not None:
            return hit.content
        response = await self.answer(request, NO_CONTENT, VISITOR)
        assert isinstance(response.content, bytes)
        return response.content

    # Application

    def recall(self, request: Request, now: float) -> Prepared | None:
        return self.recalls.find(request, now)

    async def answer(self, request: Request, content: RequestContent, visitor: Visitor) -> Response:
        binding = self.view.catalog.bind(request.host)
        site = None if binding is None else self.view.catalog.site(binding.site_id)
        if site is None:
            return Response(404, (), NOTHING)
        path = request.target.path
        found = await (self.cache.answer(site, path, request) if site.settings.is_pull else self._of_bundle(site, path))
        return Response(200, (), _ENCODE((found.value, found.is_stale, found.by_pointer)))

    async def _of_bundle(self, site: Site, path: str) -> Answer:
        generation = self.view.runtime(site.id).generation
        state = self.view.catalog.alias(site.id, ALIAS)
        by_pointer = site.settings.validates_on_detach and not self.has_lease()
        if by_pointer:
            state = await self.detached.state(site, ALIAS, state)
        if state is None or state.active is None:
            return Answer(None)
        prepared = self.prepare(site, generation, state.active.id, inf)
        self.prepared.put((site.id, ALIAS, path), prepared)
        return Answer(state.active.id, by_pointer=by_pointer)

    def prepare(self, site: Site, generation: int, value: str | int, fresh_until: float) -> Prepared:
        """As it is sent from memory."""
        now = self.clocks.monotonic()
        return Prepared(
            status=200,
            fields=(),
            content=_ENCODE((value, False, False)),
            base_age_at=now,
            site=self.view.runtime(site.id),
            generation=generation,
            fresh_until=min(fresh_until, now + 1e6),
            usable_until=now + self.lease_left_s() if site.settings.validates_on_detach else inf,
            wall_clock=self.clocks.wall,
        )

    async def sweep(self, site_id: str) -> None:
        """Reclaim what floors forbid, and let go of them: it takes a while, and the journal goes on meanwhile."""
        through = self.view.position
        self.cache.reclaim(site_id)
        await asyncio.sleep(self.node.rng.uniform(0.0, 3.0))
        self.floors.swept(site_id, through)

    async def _open_workers(self) -> None:
        node = self.node
        path = Path(f"/{node.node_id}/exchange")
        exchange = ExchangeServer(self, self.recalls, clocks=self.clocks, settled=self.relay.settled)
        node.processes.offer(path, exchange)
        self.memory.on_forget = self.relay.forget
        settings = WorkerSettings(0, ZONE, "cdn", str(path), 1 << 20, HttpLimits())
        sockets: Any = [Socket() for _ in range(node.workers)]
        self.pool = await WorkerPool.start(
            settings, sockets, self.relay, command=("worker",), clock=node.boot_time, on_used=exchange.used
        )

    def _act_on(self, news: News) -> None:
        match news:
            case ToPrepare():
                self.node.loop.start(self.machine, self._load_manifest(news))
            case SiteGone(site_id):
                self.prepared.drop_site(site_id)
                self.memory.drop_site(site_id)
                self.cache.drop_site(site_id)
            case FloorsRose() | ContentTakenDown():
                pass
            case _:
                assert_never(news)

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
                self.relay.renew()
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
        processes: Workers,
        workers: int,
    ) -> None:
        self.node_id = node_id
        self.processes = processes
        self.workers = workers
        self.control_urls: tuple[str, ...] = ()
        self.shield: str | None = None
        """The node that is asked before upstreams are."""
        self.roll = PeerRoll()
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
