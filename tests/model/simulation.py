"""A node with one pull site on a real disk tier, whose clocks, journal, clients and upstream the script moves."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, Unpack

from cdn.edge.clocks import Clocks
from cdn.edge.counters import NodeCounters
from cdn.edge.disk_tier import DiskTier
from cdn.edge.fetch import ChunkFetcher
from cdn.edge.manifest_cache import ManifestCache
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.pipeline import Pipeline
from cdn.edge.prepared import Prepared
from cdn.edge.pull import Pull
from cdn.edge.reclaim import Reclaim
from cdn.edge.response import Unsent
from cdn.edge.retained import RetainedFiles
from cdn.edge.settings import EdgeSettings
from cdn.edge.site_view import SiteView
from cdn.edge.stored import ResidenceClock
from cdn.edge.storeroom import Storeroom
from cdn.edge.visitor import Visitor
from cdn.errors import CdnError
from cdn.fleet.position import Position
from cdn.http.date import format_date
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.response_head import ResponseHead
from cdn.http.target import Target, parse_target
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import RECORD_VERSION, Audience, Change, Purged, PurgeScope, Record, SiteCreated
from cdn.origin.directory import DirectoryStore
from cdn.origin.upstream import Upstream, UpstreamBroken, UpstreamFault, UpstreamRequest, UpstreamResponse
from cdn.purge.floors import Floors
from tests.model.history import NEVER, Exchange, History, Moment, Purge, Visit, octets
from tests.model.plain_message import Lines, combined, has
from tests.model.script import Answering, Asking, Passing, Purging, Restarting, Step, Sweeping, Told

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

SITE = "s1"
HOST = "blog.cdn.localhost"
STARTED_AT = 1_700_000_000.0
DISK_BYTES = 1 << 26
CONDITIONS = ("if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range", "range")
OF_CONTENT = ("content-length", "content-range", "content-type", "x-content")
MAX_EXCHANGES = 32
"""More cannot be told apart by their octets."""

FAILING = Told(breaks="head")


class NoContent:
    """Of a request without content."""

    size_bytes: int | None = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts: tuple[bytes, ...] = ()
        for part in parts:
            yield part


class ToldContent:
    """Content of an answer, in two parts; the second may break off, and may have to wait."""

    trailers: Lines = ()

    def __init__(self, content: bytes, told: Told, may_go_on: asyncio.Event) -> None:
        self.size_bytes: int | None = len(content)
        self._content = content
        self._told = told
        self._may_go_on = may_go_on

    async def __aiter__(self) -> AsyncIterator[bytes]:
        half = len(self._content) // 2
        if half:
            yield self._content[:half]
        await self._may_go_on.wait()
        if self._told.breaks == "content":
            raise UpstreamBroken(UpstreamFault.CLOSED_EARLY, "scripted")
        if self._content[half:]:
            yield self._content[half:]

    async def aclose(self) -> None:
        pass


class Pending:
    """A request that the upstream has and that the script decides about."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_go_on = asyncio.Event()

    @property
    def is_over(self) -> bool:
        return self.may_go_on.is_set()

    def go_on(self) -> None:
        """The head first, then the rest."""
        if self.may_answer.is_set():
            self.may_go_on.set()
        self.may_answer.set()


class Simulation:
    """Plays steps; what happened is in `history`. `overlaps`: requests go on side by side as the script moves them."""

    def __init__(self, folder: Path, *, overlaps: bool = False) -> None:
        self.history = History()
        self._folder = folder
        self._overlaps = overlaps
        self._now = STARTED_AT
        self._slept = 0.0
        self._order = 0
        self._told: dict[int, deque[Told]] = {}
        self.pending: list[Pending] = []
        self.visits: list[asyncio.Task[None]] = []
        self._catalog: dict[str, Any] | None = None
        self._floors: dict[str, Any] | None = None
        self._position = Position("", 0)

    # Life

    async def start(self) -> None:
        """The node as it stands after the journal so far."""
        folder = self._folder
        settings = EdgeSettings(
            node_id="n1", data_dir=folder, zone="cdn.localhost", control_url="http://127.0.0.1:9", token="t"
        )
        settings.content_dir.mkdir(parents=True, exist_ok=True)
        self._disk = await DiskTier.open(settings.content_dir, DISK_BYTES, clock=lambda: self._now, reconciles=False)
        self._view = SiteView(CatalogFold(settings.zone), Floors())
        self._view.catalog_fold.load(self._catalog)
        self._view.floors.load(self._floors)
        self._view.position = self._position
        self._clocks = clocks = Clocks(lambda: self._now - STARTED_AT - self._slept, lambda: self._now)
        residence = ResidenceClock(clocks.wall(), clocks.monotonic())
        prepared: MemoryTier[Prepared] = MemoryTier(settings.memory_bytes)
        counters = NodeCounters()
        self._pull = Pull(
            settings,
            disk=self._disk,
            view=self._view,
            prepared=prepared,
            counters=counters,
            clocks=clocks,
            residence=residence,
            is_attached=lambda: True,
        )
        self._pull.fetcher._upstreams = self
        store = DirectoryStore(folder / "store")
        manifests = ManifestCache(store, settings.manifests_dir)
        storeroom = Storeroom(
            store=store,
            disk=self._disk,
            fetcher=ChunkFetcher(store, self._disk),
            view=self._view,
            counters=counters,
            residence=residence,
            monotonic=clocks.monotonic,
            max_in_memory_bytes=settings.max_in_memory_bytes,
            report_blob_fault=lambda site_id, digest: None,
        )
        self.pipeline = Pipeline(
            cache_name="cdn",
            node_id="n1",
            view=self._view,
            manifests=manifests,
            retained=RetainedFiles(manifests),
            prepared=prepared,
            storeroom=storeroom,
            counters=counters,
            clocks=clocks,
            is_attached=lambda: True,
            pull=self._pull.road,
        )
        if self._catalog is None:
            self._apply(SiteCreated(SITE, "blog", {"origin": "https://upstream.example"}))

    async def stop(self) -> None:
        """The node ends as it does when it is told to."""
        await self._pull.aclose()
        await self._disk.aclose()
        self._catalog, self._floors = self._view.catalog_fold.dump(), self._view.floors.dump()
        self._position = self._view.position

    @property
    def is_quiet(self) -> bool:
        """Whether every client has its answer and the upstream owes nothing."""
        return all(each.done() for each in self.visits) and all(each.is_over for each in self.pending)

    def of(self, origin: object, timeouts: object) -> Upstream:
        """Where the node's upstreams come from: all are this one."""
        return self

    # The script

    async def play(self, step: Step) -> None:
        match step:
            case Asking():
                await self._ask(step)
            case Passing(seconds):
                self._now += seconds
            case Purging():
                self._purge(step)
            case Restarting():
                await self._restart()
            case Sweeping():
                reclaim = Reclaim(
                    self._disk, self._view.floors, lambda: self._view.position, self._view.tags_of, pause_s=0.0
                )
                await reclaim.sweep_now(SITE)
            case Answering(which):
                going = [each for each in self.pending if not each.is_over]
                if going:
                    going[which % len(going)].go_on()
        await self.settle()

    async def _restart(self) -> None:
        await self.stop()
        self._slept += self._now % 1000  # another boot's monotonic clock
        await self.start()

    async def settle(self) -> None:
        """Return when nothing moves by itself any more."""
        if self._overlaps:
            for _ in range(3):
                await self._disk.flush()
                await _quiet_threads()
            return
        while background := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            working = [task for task in background if not task.get_name().startswith("disk ")]
            if not working:
                return
            await asyncio.wait(working)

    def _apply(self, change: Change) -> None:
        sequence = self._view.position.sequence + 1
        record = Record(RECORD_VERSION, "e1", sequence, "subject", self._now, "actor", Audience.ALL, change)
        self._view.catalog_fold.apply(record)
        self._view.floors.apply(record)
        self._view.on_records([record], record.position)

    def _purge(self, purging: Purging) -> None:
        self._apply(Purged(SITE, (PurgeScope(purging.kind, purging.value),), purging.is_soft))
        moment = self._moment()
        self.history.purges.append(Purge(moment.order, moment.sequence, purging.kind, purging.value, purging.is_soft))

    def _moment(self) -> Moment:
        self._order += 1
        return Moment(self._order, self._now, self._view.position.sequence)

    # Clients

    async def _ask(self, asking: Asking) -> None:
        number = len(self.history.visits) + 1
        lines = (*((name, self._value(value)) for name, value in asking.lines), ("x-visit", str(number)))
        visit = Visit(number, asking.method, asking.scheme, asking.target, lines, self._moment())
        self.history.visits[number] = visit
        self._told[number] = deque(asking.told)
        task = asyncio.create_task(self._visit(visit))
        self.visits.append(task)
        if not self._overlaps:
            await task

    async def _visit(self, visit: Visit) -> None:
        target = parse_target(visit.target.encode())
        assert isinstance(target, Target)
        request = Request(visit.method, target, HOST, None, Fields(visit.lines), visit.scheme)
        is_plain = visit.method in {"GET", "HEAD"} and not any(has(visit.lines, name) for name in CONDITIONS)
        prepared = self.pipeline.recall(request, self._clocks.monotonic()) if is_plain else None
        if prepared is not None:
            self._read_prepared(visit, prepared)
        else:
            await self._read(visit, request)
        visit.ended = self._moment()

    def _read_prepared(self, visit: Visit, prepared: Prepared) -> None:
        wire = b"".join(prepared.pieces(self._clocks.monotonic()))
        head, _, visit.content = wire.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        visit.status = int(first.split(" ")[1])
        visit.answer = tuple((line.partition(": ")[0], line.partition(": ")[2]) for line in rest)
        visit.is_prepared = True
        visit.headed = self._moment()

    async def _read(self, visit: Visit, request: Request) -> None:
        visitor = Visitor("192.0.2.1", lambda status, lines: None)
        response = await self.pipeline.answer(request, NoContent(), visitor)
        visit.status, visit.answer = response.status, response.fields
        visit.headed = self._moment()
        if visit.is_hit and not self._overlaps:  # the time that a validation behind it took is not its own
            visit.headed = replace(visit.headed, at=visit.began.at)
        content = response.content
        if isinstance(content, bytes | Unsent):
            visit.content = content if isinstance(content, bytes) else b""
            return
        try:
            if visit.method != "HEAD":
                async for part in content:
                    visit.content += bytes(part)
        except CdnError:
            visit.is_whole = False
        finally:
            await content.aclose()

    # The upstream

    async def send(self, request: UpstreamRequest, on_interim: Callable[[ResponseHead], None]) -> UpstreamResponse:
        """See Upstream."""
        visit = int(combined(request.fields, "x-visit") or "0")
        scheme = combined(request.fields, "x-forwarded-proto") or ""
        number = len(self.history.exchanges) + 1
        exchange = Exchange(number, visit, request.method, scheme, request.target, request.fields, self._moment())
        self.history.exchanges[number] = exchange
        queue = self._told[visit]
        told = queue.popleft() if queue else FAILING
        pending = Pending()
        if self._overlaps:
            self.pending.append(pending)
            try:
                await pending.may_answer.wait()
            except asyncio.CancelledError:
                pending.may_go_on.set()
                raise
        else:
            pending.may_go_on.set()
            self._now += told.delay_s
            for purging in told.meanwhile:
                self._purge(purging)
        return self._answer(exchange, told, pending)

    def _answer(self, exchange: Exchange, told: Told, pending: Pending) -> UpstreamResponse:
        if told.breaks == "head" or exchange.number >= MAX_EXCHANGES:
            pending.may_go_on.set()
            exchange.answered = self._moment()
            raise UpstreamBroken(UpstreamFault.READ_TIMEOUT, "scripted")
        status, lines, content = self._message(exchange, told)
        exchange.status, exchange.answer, exchange.content = status, lines, content
        has_content = exchange.method != "HEAD" and bool(content)
        exchange.is_whole = told.breaks != "content" or not has_content
        exchange.answered = self._moment()
        sent = ToldContent(content if has_content else b"", told if has_content else Told(), pending.may_go_on)
        if not has_content:
            pending.may_go_on.set()
        return UpstreamResponse(ResponseHead(status, Fields(lines)), sent)

    def _message(self, exchange: Exchange, told: Told) -> tuple[int, Lines, bytes]:
        number, asked = exchange.number, exchange.lines
        lines: Lines = tuple((name, self._value(value)) for name, value in told.lines)
        if told.is_dated and not has(lines, "date"):
            lines = (*lines, ("date", format_date(self._now)))
        lines = (*lines, (f"x-seen-{number}", "1"), ("x-content", str(number)))
        if told.confirms and told.status == 200 and (has(asked, "if-none-match") or has(asked, "if-modified-since")):
            return 304, tuple(line for line in lines if line[0] not in OF_CONTENT), b""
        content = octets(number, told.size_bytes)
        if exchange.method == "HEAD":
            lines = tuple(line for line in lines if line[0] != "x-content")
            return told.status, (*lines, ("content-length", str(len(content)))), b""
        span = _span(combined(asked, "range"), len(content)) if told.cuts and told.status == 200 else None
        if span is not None and exchange.method == "GET":
            content = content[span[0] : span[1] + 1]
            lines = (*lines, ("content-range", f"bytes {span[0]}-{span[1]}/{told.size_bytes}"))
            return 206, (*lines, ("content-length", str(len(content)))), content
        return told.status, (*lines, ("content-length", str(len(content)))), content

    def _value(self, value: str) -> str:
        return format_date(self._now + int(value[1:])) if value.startswith("@") else value


def _span(asked: str | None, size_bytes: int) -> tuple[int, int] | None:
    """First and last octet of the only range that is asked for, if this upstream knows how."""
    spec = re.fullmatch("bytes=([0-9]+)-([0-9]*)", asked or "")
    if spec is None or int(spec[1]) >= size_bytes:
        return None
    return int(spec[1]), min(size_bytes - 1, int(spec[2])) if spec[2] else size_bytes - 1


class WatchedLoop(asyncio.SelectorEventLoop):
    """Knows how much its threads have to do."""

    busy = 0

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Arguments]], T], *args: *Arguments
    ) -> asyncio.Future[T]:
        """See AbstractEventLoop."""
        self.busy += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._note_done)
        return future

    def _note_done(self, future: asyncio.Future[Any]) -> None:
        self.busy -= 1


async def _quiet_threads() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, WatchedLoop), "requests that overlap are played in a WatchedLoop"
    for _ in range(15):
        await asyncio.sleep(0)
        while loop.busy:
            await asyncio.sleep(0.0001)


async def played(folder: Path, steps: Sequence[Step], *, overlaps: bool = False) -> History:
    """What happens when these steps are played on a new node; at the end everything that goes on is let end."""
    simulation = Simulation(folder, overlaps=overlaps)
    await simulation.start()
    try:
        for step in steps:
            if len(simulation.history.exchanges) >= MAX_EXCHANGES - 4:
                break
            await simulation.play(step)
        while not simulation.is_quiet:
            await simulation.play(Answering(0))
        await simulation.settle()
    finally:
        for task in simulation.visits:
            task.cancel()
        await asyncio.gather(*simulation.visits, return_exceptions=True)
        await simulation.stop()
    assert all(visit.ended is not NEVER for visit in simulation.history.visits.values())
    return simulation.history
