"""One edge node: its parts put together, started in order, and stopped without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from cdn import __version__
from cdn.edge.access_log import AccessLog
from cdn.edge.access_log_settings import STDOUT
from cdn.edge.clocks import machine_clocks
from cdn.edge.coded_files import CodedFiles
from cdn.edge.counters import NodeCounters
from cdn.edge.countries import Countries
from cdn.edge.detached import DetachedAliases
from cdn.edge.disk_tier import DiskTier
from cdn.edge.explain import Explainer
from cdn.edge.fetch import ChunkFetcher
from cdn.edge.front import Front
from cdn.edge.joint_front import JointFront
from cdn.edge.listener import Listener
from cdn.edge.listening_sockets import listening_sockets, shared_out
from cdn.edge.load import LoadMeter
from cdn.edge.manifest_cache import ManifestCache
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.node_certificates import NodeCertificates
from cdn.edge.node_news import NodeNews
from cdn.edge.password_checks import PasswordChecks
from cdn.edge.pipeline import UNKNOWN_COUNTRIES, Pipeline
from cdn.edge.prepared import Prepared
from cdn.edge.pull import Pull
from cdn.edge.purge_method import PurgeMethod
from cdn.edge.reclaim import Reclaim
from cdn.edge.retained import RetainedFiles
from cdn.edge.settings import EdgeSettings
from cdn.edge.shielding import Shielding
from cdn.edge.site_view import SiteView
from cdn.edge.stored import ResidenceClock
from cdn.edge.storeroom import Storeroom
from cdn.edge.swept_floors import SweptFloors
from cdn.edge.takedown_eraser import TakedownEraser
from cdn.edge.tls_contexts import TlsContexts
from cdn.edge.traffic import Traffic
from cdn.edge.trusted_proxies import TrustedProxies
from cdn.edge.variants_cache import VariantsCache
from cdn.edge.worker_relay import WorkerRelay
from cdn.edge.workers import Workers, memory_share
from cdn.errors import Unavailable
from cdn.fleet.node import NodeFacts, read_location
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.follower import Follower
from cdn.journal.record import Record
from cdn.journal.replica import Replica
from cdn.journal.takedown_fold import TakedownFold
from cdn.origin.store import ObjectStore
from cdn.purge.floors import Floors

LEASE_CHECK_S = 0.5
"""How often the node looks whether its lease still runs: how late `detached` may show in Cache-Status."""

RESTART_PAUSE_S = 10.0
"""Before housekeeping that failed begins anew."""

FORGET_EVERY_S = 600.0
"""How often deploys that are no longer reachable leave memory."""

_log = logging.getLogger(__name__)


class EdgeNode:
    """Make it with `start`. It uses the store and leaves closing it to whoever opened it."""

    def __init__(
        self,
        settings: EdgeSettings,
        store: ObjectStore,
        replica: Replica,
        disk: DiskTier,
        countries: Countries = UNKNOWN_COUNTRIES,
    ) -> None:
        clocks = self._clocks = machine_clocks()
        self.settings = settings
        self.counters = NodeCounters()
        self.view = SiteView(CatalogFold(settings.zone), Floors())
        self.takedowns = TakedownFold()
        self._traffic = Traffic()
        self.certificates = NodeCertificates(settings, self.view, clocks)
        self.manifests = ManifestCache(store, settings.manifests_dir)
        self.variants = VariantsCache(store, settings.variants_dir, clocks.monotonic)
        self.coded = CodedFiles(self.variants, lambda: self.view.catalog, clocks, self._report_blob_fault)
        self.disk = disk
        self.fetcher = ChunkFetcher(store, disk, max_concurrent=settings.max_concurrent_fetches)
        self.prepared: MemoryTier[Prepared] = MemoryTier(memory_share(settings))
        self.swept = SweptFloors(self.view.floors)
        self.reclaim = Reclaim(disk, self.swept, lambda: self.view.position, self.view.tags_of)
        residence = ResidenceClock(clocks.wall(), clocks.monotonic())
        self.pull = Pull(
            settings,
            disk=disk,
            view=self.view,
            prepared=self.prepared,
            counters=self.counters,
            clocks=clocks,
            residence=residence,
            is_attached=self._is_attached,
            lease_left_s=self._lease_left_s,
            swept_through=self.swept.through,
        )
        self.storeroom = Storeroom(
            store=store,
            disk=disk,
            fetcher=self.fetcher,
            view=self.view,
            counters=self.counters,
            residence=residence,
            monotonic=clocks.monotonic,
            max_in_memory_bytes=settings.max_in_memory_bytes,
            report_blob_fault=self._report_blob_fault,
            swept_through=self.swept.through,
        )
        self.eraser = TakedownEraser(self.view, self.takedowns, disk, self.manifests, self.variants)
        retained = RetainedFiles(self.manifests)
        self.passwords = PasswordChecks(clocks.monotonic)
        self._detached = DetachedAliases(store, self.view, clocks)
        self.pipeline = Pipeline(
            cache_name=settings.cache_name,
            node_id=settings.node_id,
            view=self.view,
            manifests=self.manifests,
            retained=retained,
            prepared=self.prepared,
            storeroom=self.storeroom,
            counters=self.counters,
            clocks=clocks,
            is_attached=self._is_attached,
            pull=self.pull.road,
            facts=self._facts(()),
            detached=self._detached,
            lease_left_s=self._lease_left_s,
            may_answer=self._may_answer,
            rules=self.certificates.rules,
            takedowns=self.takedowns,
            coded=self.coded,
            countries=countries,
            passwords=self.passwords,
        )
        self._replica = replica
        self._store = store
        self._was_new = False
        self._explainer = Explainer(
            view=self.view,
            manifests=self.manifests,
            retained=retained,
            storeroom=self.storeroom,
            disk=disk,
            clocks=clocks,
            pull=self.pull.explainer,
            facts=self._facts(()),
        )
        self.shielding = Shielding(
            settings,
            view=self.view,
            pull=self.pull,
            fetcher=self.fetcher,
            manifests=self.manifests,
            disk=disk,
            clocks=clocks,
            residence=residence,
            facts=self._facts(()),
        )
        self._news = NodeNews(
            self,
            facts=self._facts(()),
            spawn=self._spawn,
            max_concurrent_preparations=settings.max_concurrent_preparations,
        )
        self._was_attached = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._follower: Follower | None = None
        self._load = LoadMeter()
        self._relay = WorkerRelay(self.view, clocks.monotonic, self.certificates.arriving)
        self._front: Front | None = None
        self._sockets: Sequence[socket.socket] = ()

    @classmethod
    async def start(
        cls,
        settings: EdgeSettings,
        store: ObjectStore,
        *,
        sockets: Sequence[socket.socket] | None = None,
        worker_command: Sequence[str] = (),
        countries: Countries = UNKNOWN_COUNTRIES,
    ) -> EdgeNode:
        """A node that serves what it knows from its own disk and follows the journal from there.

        `sockets` listen already: somebody keeps them from one process to the next; None: nobody does.
        `worker_command` starts a worker, where the settings want several. `countries` says where visitors are. Raises
        CdnError when its folder cannot be used, OSError when the address cannot be listened on.
        """
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        async with contextlib.AsyncExitStack() as undo:
            replica = await Replica.open(settings.replica_path)
            undo.push_async_callback(replica.aclose)
            disk = await DiskTier.open(settings.content_dir, settings.disk_bytes)
            undo.push_async_callback(disk.aclose)
            node = cls(settings, store, replica, disk, countries)
            undo.push_async_callback(node._end_tasks)
            await node._begin(sockets, worker_command)
            undo.pop_all()
        return node

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.front.port

    @property
    def https_port(self) -> int | None:
        """Where it listens for https; None: nowhere."""
        return self.front.https_port

    @property
    def follower(self) -> Follower:
        """Its place in the journal and its lease."""
        assert self._follower is not None, "the node has started"
        return self._follower

    @property
    def front(self) -> Front:
        """Who visitors connect to."""
        assert self._front is not None, "the node has started"
        return self._front

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """Listening sockets that may be kept for the next process; none when the listener opened its own."""
        return self._sockets

    async def withdraw(self) -> None:
        """Stop being chosen: tell control, and say with every answer that its connection closes."""
        self.shielding.withdraw()
        await self.follower.drain()
        self.front.withdraw()

    async def stop(self) -> None:
        """Finish what is under way, give the lease back, close everything."""
        if self._follower is not None:
            await self._follower.drain()
        if self._front is not None:
            await self._front.drain(self.settings.drain_timeout_s)
        if self._follower is not None:
            await self._follower.leave()
        await self.shielding.drain(self.settings.drain_timeout_s)
        await self._end_tasks()
        await self.disk.aclose()
        await self._replica.aclose()

    async def _begin(self, sockets: Sequence[socket.socket] | None, worker_command: Sequence[str]) -> None:
        log = AccessLog.open(self.settings.access_log, wall=self._clocks.wall, site_of=self.view.site_name)
        if log is not None:  # with workers too: a file that cannot be written is said at once
            self._traffic.access_log = log
            self._spawn(log.run(), "access log")
        await self.certificates.open(self._store, sockets)
        folds = (self.view.catalog_fold, self.certificates.fold, self.view.floors, self.takedowns)
        position = await self._replica.load(folds)
        if position is not None:
            self.swept.began_at(position)
            await self.certificates.loaded()
        self._was_new = position is None
        self._follower = Follower(
            self.settings.control_urls,
            self.settings.token,
            self.settings.node_id,
            self._replica,
            folds,
            self,
            facts=self._facts(()),
            clock=self._clocks.monotonic,
            counters=self.counted,
            explain=self._explainer.explain,
            zone=self.settings.zone,
            everywhere=self._everywhere if self.settings.workers > 1 or self.certificates.has_https else None,
        )
        self._follower.load = self._busiest
        if self.settings.peers.is_on:
            self._follower.on_peers = self.shielding.kept_roll.take
        if any(url.startswith("https:") for url in self.settings.control_urls):
            self._follower.tls = self.settings.control_tls.context()
        self.pipeline.purging = PurgeMethod(
            self.settings.cache_name,
            self.settings.control_urls,
            tls=self._follower.tls,
            monotonic=self._clocks.monotonic,
        )
        await self.shielding.start()
        self.view.listen(self._news.act_on)
        if position is not None:
            self.view.on_snapshot(position, epoch_changed=False)
        self._front = await self._open_front(sockets, worker_command)
        self._follower.facts = self._facts((f"{self.settings.host}:{self._front.port}",))
        self._spawn(self._follower.run(), "follower")
        if self.certificates.keeper is not None:
            self._spawn(self._keep_running(self.certificates.keeper.run, "keeping certificates"), "certificates")
            self._spawn(self.certificates.renew_tickets(self._relay), "session tickets")
        self._spawn(self._keep_running(self.reclaim.run, "reclaim"), "reclaim")
        self._spawn(self._keep_running(self.eraser.run, "erasing what was taken down"), "takedowns")
        self._spawn(self._keep_running(self._watch_lease, "lease"), "lease")
        self._spawn(self._keep_running(self._forget_retained, "retention"), "retention")
        self._spawn(self._keep_running(self._scrub, "scrub"), "scrub")

    async def _open_front(self, kept: Sequence[socket.socket] | None, worker_command: Sequence[str]) -> Front:
        """One listener here, or several workers."""
        settings, keeper = self.settings, self.certificates.keeper
        plain, secure = self._opened_sockets(kept)
        self._sockets = (*plain, *secure, *self.certificates.sockets) if plain else ()
        if keeper is not None:
            self._relay.tell_tickets(self.certificates.ticket_keys())
        if secure:
            self.certificates.rules.https_port = settings.public_https_port or secure[0].getsockname()[1]
        if settings.workers > 1:
            return await Workers.start(
                settings,
                self.pipeline,
                self.pull.memory,
                self._relay,
                sockets=plain,
                command=worker_command,
                clock=self._clocks.monotonic,
                secure=secure,
                https_port=self.certificates.rules.https_port,
                on_missing=(lambda certificate_id: None) if keeper is None else keeper.want,
            )
        tls = self.certificates.tls
        if settings.https_port is None or tls is None:
            return await self._listener(plain, settings.host, settings.port, None)
        # By https first: who comes by http is to be sent there from the first request on.
        by_https = await self._listener(secure, settings.https_host, settings.https_port, tls.contexts)
        self.certificates.rules.https_port = settings.public_https_port or by_https.port
        try:
            by_http = await self._listener(plain, settings.host, settings.port, None)
        except BaseException:
            await by_https.aclose()
            raise
        return JointFront(by_http, by_https, tls)

    def _opened_sockets(self, kept: Sequence[socket.socket] | None) -> tuple[list[socket.socket], list[socket.socket]]:
        """For http and for https; none where the listeners open their own."""
        settings = self.settings
        if settings.workers == 1 and kept is None:
            return [], []
        if settings.https_port is None:
            return listening_sockets(settings.host, settings.port, settings.workers, kept or ()), []
        for_http, for_https = shared_out(kept or (), (settings.https_host, settings.https_port))
        plain = listening_sockets(settings.host, settings.port, settings.workers, for_http)
        try:
            return plain, listening_sockets(settings.https_host, settings.https_port, settings.workers, for_https)
        except BaseException:
            for each in plain:
                each.close()
            raise

    async def _listener(
        self, opened: Sequence[socket.socket], host: str, port: int, tls: TlsContexts | None
    ) -> Listener:
        settings = self.settings
        make = partial(Listener.adopt, opened[0]) if opened else partial(Listener.start, host, port)
        return await make(
            self.pipeline,
            settings.limits,
            cache_name=settings.cache_name,
            trusted_proxies=TrustedProxies(settings.trusted_proxies),
            proxy_protocol=settings.proxy_protocol,
            tls=tls,
            http2=settings.http2,
            traffic=self._traffic,
            monotonic=self._clocks.monotonic,
        )

    # FollowerSink

    def on_records(self, records: Sequence[Record], position: Position) -> None:
        """See FollowerSink."""
        self._relay.on_records(records, position)

    def on_snapshot(self, position: Position, epoch_changed: bool) -> None:
        """See FollowerSink."""
        self._relay.on_snapshot(position, epoch_changed)
        if self.certificates.keeper is not None:
            self.certificates.keeper.snapshot_loaded()

    async def _everywhere(self) -> None:
        """All that was told so far holds in every process and, of certificates, is on the disk."""
        await self.certificates.everywhere(self._relay)

    def _facts(self, addresses: tuple[str, ...]) -> NodeFacts:
        settings = self.settings
        location = read_location(settings.location) if settings.location else None
        return NodeFacts(
            __version__,
            settings.region,
            addresses,
            settings.weight,
            settings.public_addresses,
            location,
            settings.bias,
        )

    def _report_blob_fault(self, site_id: str, digest: str) -> None:
        self.follower.report_blob_fault(site_id, digest)

    def _is_attached(self) -> bool:
        return self._follower is not None and self._follower.has_lease()

    def _may_answer(self) -> bool:
        """A node without a copy of the journal is sent a snapshot that may lack what receipts, in which it does not
        stand, call complete: it answers once it has caught up. One that had a copy stood in them (DESIGN I8, I9)."""
        return not self._was_new or self.follower.has_caught_up

    def _lease_left_s(self) -> float:
        return 0.0 if self._follower is None else self._follower.lease_left_s()

    async def _keep_running(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Housekeeping goes on after a fault of its own: said in the log, begun anew after a pause."""
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001 - whatever it was, the rest of the node goes on and it is said
                _log.exception("%s of node %s failed and begins anew", name, self.settings.node_id)
                await asyncio.sleep(RESTART_PAUSE_S)

    async def _watch_lease(self) -> None:
        """What was prepared says whether the node was attached, so it is made anew when that changes."""
        while True:
            is_attached = self._is_attached()
            if is_attached != self._was_attached:
                self._was_attached = is_attached
                self._relay.renew()
            await asyncio.sleep(LEASE_CHECK_S)

    async def _scrub(self) -> None:
        """Look for damage that nobody has asked for yet (DESIGN I5)."""
        while True:
            await asyncio.sleep(self.settings.scrub_every_s)
            try:
                scrubbed = await self.disk.scrub(self.settings.scrub_bytes_per_s)
            except Unavailable as exc:
                _log.warning("the scrub stopped: %s", exc)
            else:
                _log.info("scrubbed %d chunks, %d were damaged and removed", scrubbed.chunks, scrubbed.faults)

    async def _forget_retained(self) -> None:
        """Free the room of deploys whose retention is over; whether a file is reachable is judged by time anyway."""
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            self.view.catalog.forget_retained(time.time())

    def _busiest(self) -> float:
        """What the busiest of the node's loops uses of a core, its own or a worker's; 1 is all that it can."""
        workers = {} if self._front is None else self._front.counted()
        return max(self._own_load(), workers.get("worker_load_hundredths", 0) / 100)

    def _own_load(self) -> float:
        return self._load.share(time.thread_time(), self._clocks.monotonic())

    def counted(self) -> Mapping[str, int]:
        """What the node counted since it started, and what it holds."""
        facts = self.disk.facts()
        fetched = self.fetcher.counters
        front = {} if self._front is None else self._front.counted()
        remembered = 0 if self._front is None else self._front.counters.memo_hits
        return {
            **self.counters.as_dict(),
            "hits": self.counters.hits + remembered + front.get("worker_recalled", 0),
            **{f"fetch_{field.name}": getattr(fetched, field.name) for field in fields(fetched)},
            **self.pull.counted(),
            **self.shielding.counted(),
            **{f"passwords_{checked.value}": count for checked, count in self.passwords.counted.items()},
            **self.coded.counted(),
            "disk_responses": facts.responses,
            "disk_bytes": facts.cost_bytes,
            "memory_bytes": self.prepared.cost_bytes + self.pipeline.hints.cost_bytes,
            "load_hundredths": round(100 * self._own_load()),
            **self.certificates.counted(),
            **front,
        }

    def traffic(self) -> Mapping[str, int]:
        """What every process of the node counted of its answers, see `Traffic.numbers`."""
        total = Counter(self._traffic.numbers())
        if isinstance(self._front, Workers):
            total.update(self._front.traffic())  # unlike a sum of counters it keeps what is 0
        return total

    @property
    def keeps_log(self) -> bool:
        """Whether there is an access log in a file that may be moved away."""
        return self.settings.access_log.file not in {None, STDOUT}

    def reopen_log(self) -> None:
        """The file of the access log was moved away: go on in a new one, in every process."""
        if self._traffic.access_log is not None:
            self._traffic.access_log.reopen()
        if isinstance(self._front, Workers):
            self._front.reopen_log()

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _end_tasks(self) -> None:
        """End everything that runs beside the listener."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._traffic.access_log is not None:
            await self._traffic.access_log.aclose()
        await self.certificates.aclose()
        await self.shielding.aclose()
        await self.pull.aclose()
        await self._detached.aclose()
        await self.passwords.aclose()
        await self.storeroom.aclose()
        await self.fetcher.aclose()
        await self.manifests.aclose()
        await self.variants.aclose()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.error("%s of node %s ended: %s", task.get_name(), self.settings.node_id, failure, exc_info=failure)
