"""A node's road for pull sites on a real disk tier, with a scripted upstream and clocks that the test owns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from cdn.edge import pull_fetch
from cdn.edge.clocks import Clocks
from cdn.edge.counters import NodeCounters
from cdn.edge.disk_new_content import NewContent
from cdn.edge.disk_tier import DiskTier
from cdn.edge.disk_writes import EnterContent
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.prepared import Prepared
from cdn.edge.pull import Pull
from cdn.edge.pull_content import ArrivingContent
from cdn.edge.pull_key import PullKey, pull_key
from cdn.edge.pull_visit import PullVisit, visit_of
from cdn.edge.response import Response, Unsent
from cdn.edge.settings import EdgeSettings
from cdn.edge.site_view import SiteView
from cdn.edge.stored import ResidenceClock, StoredResponse, StoreOutcome
from cdn.edge.swept_floors import SweptFloors
from cdn.edge.visitor import Visitor
from cdn.fleet.position import Position
from cdn.http.date import format_date
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target, parse_target
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import RECORD_VERSION, Audience, Change, Purged, PurgeScope, Record, SiteCreated
from cdn.purge.floors import Floors
from cdn.sites.site import Site
from tests.edge.pull_upstream import PATIENCE_S, ScriptedUpstream

T = TypeVar("T")

FRESH = ("cache-control", "max-age=60")
"""An answer that may be stored and is fresh for a minute."""

NOT_STORED = ("cache-control", "no-store")

STARTED_AT = 1_700_000_000.0


@dataclass(frozen=True)
class Answer:
    """A response that a client has read to its end."""

    status: int
    fields: Fields
    content: bytes

    @property
    def cache_status(self) -> str:
        return self.fields.get_all("cache-status")[-1]

    @property
    def is_hit(self) -> bool:
        return "; hit" in self.cache_status


class NoContent:
    """Of a request without content."""

    size_bytes: int | None = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts: tuple[bytes, ...] = ()
        for part in parts:
            yield part


class SentContent:
    """Content of a request: parts, or an exception where it breaks off."""

    size_bytes: int | None = None

    def __init__(self, *parts: bytes | Exception) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            yield part


class Gate:
    """A place where whoever comes waits until the test opens it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.on_open: Callable[[], object] = lambda: None
        self._open = asyncio.Event()

    async def come(self) -> None:
        """Return when somebody waits here."""
        await soon(self.reached.wait())

    async def pass_through(self) -> None:
        self.reached.set()
        await self._open.wait()

    def open(self) -> None:
        self.on_open()
        self._open.set()


async def until(holds: Callable[[], object]) -> None:
    """Return as soon as it holds, however the threads of the disk tier take their turns."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.0005)


async def soon(coming: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
    """What comes within the test's patience."""
    return await asyncio.wait_for(coming, PATIENCE_S)


class Stage:
    """One node with one pull site, `s1` unless said otherwise."""

    def __init__(self, disk: DiskTier, settings: EdgeSettings) -> None:
        self.disk = disk
        self.now = 1000.0
        clocks = Clocks(lambda: self.now, lambda: STARTED_AT + self.now)
        self.view = SiteView(CatalogFold("cdn.localhost"), Floors())
        self.swept = SweptFloors(self.view.floors)
        self.is_attached = True
        self.counters = NodeCounters()
        self.tier: MemoryTier[Prepared] = MemoryTier(settings.memory_bytes)
        self.pull = Pull(
            settings,
            disk=disk,
            view=self.view,
            prepared=self.tier,
            counters=self.counters,
            clocks=clocks,
            residence=ResidenceClock(STARTED_AT + self.now, self.now),
            is_attached=lambda: self.is_attached,
            swept_through=self.swept.through,
        )
        self.upstream = ScriptedUpstream()
        self.pull.fetcher._upstreams = self.upstream
        self.road, self.fetcher, self.flights = self.pull.road, self.pull.fetcher, self.pull.flights
        self.shelf, self.memory, self.marks = self.pull.shelf, self.pull.memory, self.pull._marks
        self.coder = self.pull._coder
        self.arriving: list[ArrivingContent] = []
        self._tasks: list[asyncio.Task[Any]] = []

    # What the node hears from the journal

    def apply(self, change: Change, epoch: str = "e1") -> None:
        sequence = self.view.position.sequence + 1
        record = Record(RECORD_VERSION, epoch, sequence, "subject", 0.0, "actor", Audience.ALL, change)
        self.view.catalog_fold.apply(record)
        self.view.floors.apply(record)
        self.view.on_records([record], record.position)

    def create_site(self, site_id: str = "s1", **settings: Any) -> None:
        self.apply(SiteCreated(site_id, site_id, {"origin": "https://up.example", **settings}))

    def purge(self, kind: str = "everything", value: str = "", *, soft: bool = False) -> None:
        self.apply(Purged("s1", (PurgeScope(kind, value),), soft))

    def change_epoch(self) -> None:
        self.view.on_snapshot(Position("e2", 1), epoch_changed=True)

    # Clients

    def request(self, path: str = "/a", method: str = "GET", **fields: str) -> Request:
        """Underscores in names of fields stand for hyphens."""
        target = parse_target(path.encode())
        assert isinstance(target, Target)
        lines = tuple((name.replace("_", "-"), value) for name, value in fields.items())
        return Request(method, target, "s1.cdn.localhost", None, Fields(lines), "http")

    def site(self, site_id: str = "s1") -> Site:
        site = self.view.catalog.site(site_id)
        assert site is not None
        return site

    def key(self, path: str = "/a") -> PullKey:
        return pull_key(self.site(), self.request(path))

    def visit(self, path: str = "/a", method: str = "GET", **fields: str) -> PullVisit:
        number = self.flights.next_number()
        visitor = Visitor("192.0.2.1", lambda status, lines: None)
        request = self.request(path, method, **fields)
        return visit_of(request, visitor, self.site(), generation=0, number=number, cdn_id="cdn.localhost")

    async def open(self, path: str = "/a", method: str = "GET", *, sent: Any = None, **fields: str) -> Response:
        """The head of a response, with content that the caller reads and closes."""
        visitor = Visitor("192.0.2.1", lambda status, lines: None)
        return await self.road.answer(
            self.request(path, method, **fields), NoContent() if sent is None else sent, visitor, self.site()
        )

    async def read(self, response: Response) -> Answer:
        """All of a response."""
        content = response.content
        if isinstance(content, bytes):
            return Answer(response.status, Fields(response.fields), content)
        if isinstance(content, Unsent):
            return Answer(response.status, Fields(response.fields), b"")
        try:
            whole = b"".join([bytes(part) async for part in content])
        finally:
            await content.aclose()
        return Answer(response.status, Fields(response.fields), whole)

    def begin(self, path: str = "/a", method: str = "GET", *, sent: Any = None, **fields: str) -> asyncio.Task[Answer]:
        """A client that asks and reads as fast as it can."""

        async def whole() -> Answer:
            return await self.read(await self.open(path, method, sent=sent, **fields))

        return self.task(whole())

    async def get(self, path: str = "/a", method: str = "GET", **fields: str) -> Answer:
        """What a client is answered without the upstream being asked for anything that the test has not answered."""
        return await soon(self.begin(path, method, **fields))

    def task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        return task

    async def fetch(self, path: str = "/a", *lines: tuple[str, str], content: bytes = b"one", **fields: str) -> Answer:
        """A request that misses, answered at once, and everything after it is over."""
        client = self.begin(path, **fields)
        (await self.upstream.next()).answer(200, *(lines or (FRESH,)), content=content)
        answer = await soon(client)
        await self.idle()
        return answer

    async def unsafe(self, path: str = "/a", *lines: tuple[str, str]) -> Answer:
        """A POST that succeeded."""
        client = self.begin(path, "POST")
        while (exchange := await self.upstream.next()).request.method != "POST":
            pass
        exchange.answer(204, *lines)
        return await soon(client)

    def dated(self) -> tuple[str, str]:
        """A Date field for now."""
        return ("date", format_date(STARTED_AT + self.now))

    # What is there

    async def stored(self, path: str = "/a") -> tuple[StoredResponse, ...]:
        key = self.key(path)
        return await self.disk.find_all(key.site_id, key.path)

    async def idle(self) -> None:
        """Until nothing is under way any more."""
        await until(lambda: not self.fetcher._tasks and not self.road._behind)

    async def assert_clean(self) -> None:
        """Nothing is left of what was under way: no task, no holder, no room taken on the disk, no connection."""
        await self.idle()
        assert len(self.flights) == 0
        assert not self.flights._all
        assert not self.flights._joinable
        assert not self.flights._per_site
        assert [content.holders for content in self.arriving if content.holders] == []
        assert self.disk.facts().writing_bytes == 0
        open_contents = [each for each in self.upstream.exchanges if each.content and not each.content.is_closed]
        assert open_contents == []

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pull.aclose()


def hold_enter(stage: Stage, monkeypatch: Any) -> Gate:
    """Whoever is about to enter content into the tier waits."""
    gate = Gate()
    enter = NewContent.enter

    async def held(self: NewContent, *args: Any) -> StoreOutcome:
        await gate.pass_through()
        return await enter(self, *args)

    monkeypatch.setattr(NewContent, "enter", held)
    return gate


def hold_commit(stage: Stage, monkeypatch: Any) -> Gate:
    """Content is handed over to the index, and not committed before the gate opens."""
    gate = Gate()
    may_commit = threading.Event()
    index = stage.disk._index
    enter, hand_over = index._enter, index.hand_over

    def held(*args: Any) -> StoreOutcome:
        assert may_commit.wait(PATIENCE_S)
        return enter(*args)

    def told(write: Any) -> asyncio.Future[StoreOutcome]:
        if isinstance(write, EnterContent):
            gate.reached.set()
        return hand_over(write)

    monkeypatch.setattr(index, "_enter", held)
    monkeypatch.setattr(index, "hand_over", told)
    gate.on_open = may_commit.set
    return gate


def hold_entered(stage: Stage, monkeypatch: Any) -> Gate:
    """Content is committed, and whoever entered it does not know before the gate opens."""
    gate = Gate()
    index = stage.disk._index
    hand_over = index.hand_over

    def held(write: Any) -> asyncio.Future[StoreOutcome]:
        done = hand_over(write)
        if not isinstance(write, EnterContent):
            return done
        later: asyncio.Future[StoreOutcome] = asyncio.get_running_loop().create_future()

        async def pass_on() -> None:
            outcome = await done
            await gate.pass_through()
            later.set_result(outcome)

        stage.task(pass_on())
        return later

    monkeypatch.setattr(index, "hand_over", held)
    return gate


def watch_arriving(stage: Stage, monkeypatch: Any) -> None:
    """Remember every content that arrives, so that those who hold it can be counted at the end."""

    class Watched(ArrivingContent):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            stage.arriving.append(self)

    monkeypatch.setattr(pull_fetch, "ArrivingContent", Watched)
