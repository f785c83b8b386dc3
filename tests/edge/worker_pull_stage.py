"""A node of pull sites with workers, whose relay the test delivers, and an upstream whose content has versions."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from cdn.edge.clocks import Clocks
from cdn.edge.prepared import Prepared
from cdn.edge.recall import Recall
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response
from cdn.edge.visitor import Visitor
from cdn.fleet.position import Position
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.response_head import ResponseHead
from cdn.journal.record import Record
from cdn.origin.upstream import Upstream, UpstreamRequest, UpstreamResponse, UpstreamTimeouts
from cdn.sites.origin import BucketOrigin, HttpOrigin
from tests.edge.pull_stage import STARTED_AT, Answer, NoContent, Stage
from tests.edge.pull_upstream import ScriptedContent
from tests.edge.worker_stage import Exchanged, WorkerStage, exchanged

PAGE = "p" * 2000


class PullApplication:
    """What a node's pipeline does for its pull sites."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.hints = Recall(stage.view, stage.tier, stage.memory)
        self.on_recalled: Callable[[], None] = lambda: None

    def recall(self, request: Request, now: float) -> Prepared | None:
        found = self.hints.find(request, now)
        self.on_recalled()
        return found

    async def answer(self, request: Request, content: RequestContent, visitor: Visitor) -> Response:
        return await self._stage.road.answer(request, content, visitor, self._stage.site())


class VersionedUpstream:
    """Each path has content of a version in every language; an unsafe request makes the next one.

    Paths that begin with /grouped are of one group, and an unsafe request to one of them invalidates the group.
    """

    def __init__(self) -> None:
        self.versions: Counter[str] = Counter()
        self.asked = 0

    def of(self, origin: HttpOrigin | BucketOrigin, timeouts: UpstreamTimeouts) -> Upstream:
        return self

    async def aclose(self) -> None:
        pass

    async def send(self, request: UpstreamRequest, on_interim: Callable[[ResponseHead], None]) -> UpstreamResponse:
        self.asked += 1
        path = request.target
        is_grouped = path.startswith("/grouped")
        if request.method == "POST":
            for each in ("/grouped1", "/grouped2") if is_grouped else (path,):
                self.versions[each] += 1
            lines: tuple[tuple[str, str], ...] = (("cache-group-invalidation", '"g"'),) if is_grouped else ()
            return self._response(204, lines, b"")
        language = Fields(request.fields).get("accept-language") or "none"
        lines = (("cache-control", "max-age=60"), ("cache-tag", f"t{path[1:]}"), ("content-type", "text/css"))
        if is_grouped:
            lines = (*lines, ("cache-groups", '"g"'))
        if path != "/plain":
            lines = (*lines, ("vary", "accept-language"))
        else:
            language = "all"
        return self._response(200, lines, f"{self.versions[path]} {path} {language} {PAGE}".encode())

    def _response(self, status: int, lines: tuple[tuple[str, str], ...], whole: bytes) -> UpstreamResponse:
        content = ScriptedContent(len(whole))
        if whole:
            content.send(whole)
        content.end()
        return UpstreamResponse(ResponseHead(status, Fields((*lines, ("content-length", str(len(whole)))))), content)


@dataclass(frozen=True)
class Got:
    """An answer; `is_local`: the worker had it in its own memory."""

    answer: Answer
    is_local: bool

    @property
    def version(self) -> int:
        return int(self.answer.content.split(b" ")[0])

    @property
    def text(self) -> str:
        return self.answer.content.decode().removesuffix(f" {PAGE}")


class PullFleet:
    """`hold` keeps what the relay tells a worker until `deliver`."""

    def __init__(self, stage: Stage, clocks: Clocks) -> None:
        self.stage = stage
        self.clocks = clocks
        self.application = PullApplication(stage)
        self.workers: list[WorkerStage] = []
        self.told: list[deque[Callable[[WorkerStage], None]]] = []
        self.held: set[int] = set()
        self.exchanged: Exchanged
        self._changed = asyncio.Event()
        on_records = stage.view.on_records

        def passed_on(records: Sequence[Record], position: Position) -> None:
            on_records(records, position)
            for record in records:
                self._tell(lambda worker, record=record: worker.apply(record))  # type: ignore[misc]

        stage.view.on_records = passed_on  # type: ignore[method-assign]
        stage.memory.on_forget = lambda site_id, key, number: self._tell(
            lambda worker: worker.application.forget(site_id, key, number)
        )

    def add_worker(self) -> None:
        worker = WorkerStage(self.exchanged.path, self.clocks)
        worker.view.catalog_fold.load(self.stage.view.catalog_fold.dump())
        worker.view.on_snapshot(self.stage.view.position, epoch_changed=False)
        self.workers.append(worker)
        self.exchanged.workers.append(worker)
        self.told.append(deque())

    def hold(self, number: int = 0) -> None:
        self.held.add(number)

    def deliver(self, number: int = 0, count: int | None = None) -> None:
        """What was held, in order; all of it, and what comes from now on, unless `count` says how much."""
        queue = self.told[number]
        if count is None:
            self.held.discard(number)
            count = len(queue)
        for _ in range(min(count, len(queue))):
            queue.popleft()(self.workers[number])
        self._changed.set()

    async def settled(self, number: int) -> None:
        """As the relay of a node: here nobody is ever fenced."""
        while any(self.told):
            self._changed.clear()
            await self._changed.wait()

    def _tell(self, what: Callable[[WorkerStage], None]) -> None:
        for number, queue in enumerate(self.told):
            queue.append(what)
            if number not in self.held:
                self.deliver(number)

    async def get(self, path: str = "/a", number: int = 0, method: str = "GET", **fields: str) -> Got:
        """What a visitor of one worker gets."""
        request = self.stage.request(path, method, **fields)
        worker = self.workers[number].application
        prepared = worker.recall(request, self.stage.now) if method == "GET" and "range" not in fields else None
        if prepared is not None:
            return Got(wire_answer(prepared, self.stage.now), True)
        visitor = Visitor("192.0.2.1", lambda status, lines: None)
        response = await worker.answer(request, NoContent(), visitor)
        got = Got(await self.stage.read(response), False)
        await self.stage.idle()
        return got

    async def warm(self, path: str = "/a", number: int = 0, **fields: str) -> Got:
        """Ask until the worker has it in its memory: a miss, a hit that the node gives, a hit of its own."""
        for _ in range(4):
            got = await self.get(path, number, **fields)
            if got.is_local:
                return got
        raise AssertionError(f"{path} does not get into the memory of worker {number}")

    def has(self, path: str = "/a", number: int = 0, **fields: str) -> bool:
        """Whether a worker would answer from its memory."""
        request = self.stage.request(path, **fields)
        return self.workers[number].application.recall(request, self.stage.now) is not None

    async def post(self, path: str = "/a", number: int = 0) -> Answer:
        return (await self.get(path, number, "POST")).answer


def wire_answer(prepared: Prepared, now: float) -> Answer:
    """A prepared hit, read as a client does."""
    head, _, content = prepared.wire(now).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return Answer(int(first.split(" ")[1]), Fields(tuple((name, value) for name, _, value in pairs)), content)


@asynccontextmanager
async def pull_fleet(stage: Stage, workers: int = 2, **options: Any) -> AsyncIterator[PullFleet]:
    """Workers of the stage's node; its upstream is a VersionedUpstream."""
    clocks = Clocks(lambda: stage.now, lambda: STARTED_AT + stage.now)
    stage.pull.fetcher._upstreams = VersionedUpstream()
    fleet = PullFleet(stage, clocks)
    async with exchanged(
        fleet.application, fleet.application.hints, clocks=clocks, settled=fleet.settled, **options
    ) as fleet.exchanged:
        for _ in range(workers):
            fleet.add_worker()
        yield fleet
