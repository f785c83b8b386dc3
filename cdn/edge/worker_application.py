"""What a worker answers with: its own memory, and the node for everything else."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, assert_never

from cdn.edge import local_answer
from cdn.edge.clocks import Clocks
from cdn.edge.https_rules import HttpsRules
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.prepared import Prepared, SiteRuntime
from cdn.edge.pull_memory import WHOLE_SITE, PullMemory
from cdn.edge.recall import Noted, Recall
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response, Unsent
from cdn.edge.site_view import SiteView
from cdn.edge.visitor import Visitor
from cdn.edge.worker_ask import Kept, NotSent, Ready, Streamed, Whole, ask_of
from cdn.edge.worker_asking import Asking, NodeGone
from cdn.edge.worker_files import LentFiles
from cdn.http.request import Request

MAX_EXCHANGES: Final = 8192
"""Requests that one worker has with the node at one time, each on a connection of its own; beyond: 503. A large
download is one as long as it lasts, and many visitors are slow. A site may have as many as are left (DESIGN I10): alone
half of them, and the next site always finds some."""

MAX_IDLE: Final = 64
"""Connections kept for the next request: as many as come together again and again; a new one costs 50 us."""

CONNECT_RETRY_S: Final = 0.02
CONNECT_TRIES: Final = 50
"""A node that was too busy for a moment to let one more connection wait has room for it within a second."""


_NO_SITE = SiteRuntime("")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class WorkerCounters:
    """Plain integers, raised in place."""

    asked: int = 0
    kept: int = 0
    """Hits that the node gave, to be sent from here from now on."""
    unreachable: int = 0
    busy: int = 0
    """Requests of sites that had their share."""


class WorkerApplication:
    """An Application. It holds no policy: what it may send by itself is what the node prepared, while it may.

    `prepared` is its memory, `view` says which site a request is about and whether something was applied to it since.
    `serves_until` gives the monotonic time until which it may serve from memory; `on_use(token)` is called when a hit
    that the node gave is sent, about once a minute.
    """

    def __init__(
        self,
        path: Path,
        view: SiteView,
        prepared: MemoryTier[Prepared],
        *,
        cache_name: str,
        clocks: Clocks,
        on_use: Callable[[int], None],
        serves_until: Callable[[], float],
        max_exchanges: int = MAX_EXCHANGES,
        max_idle: int = MAX_IDLE,
        rules: HttpsRules | None = None,
    ) -> None:
        self._path = path
        self._view = view
        self._clocks = clocks
        self._cache_name = cache_name
        self._on_use = on_use
        self._serves_until = serves_until
        self._max_exchanges = max_exchanges
        self._max_idle = max_idle
        self._memory = PullMemory(prepared)
        self._recall = Recall(view, prepared, self._memory, rules)
        self._files = LentFiles()
        self._idle: list[Asking] = []
        self._open: set[Asking] = set()
        self._under_way = 0
        self._of_site: Counter[str] = Counter()
        self._is_silent = False
        self._is_closed = False
        self.counters = WorkerCounters()

    @property
    def under_way(self) -> int:
        """How many requests the node is being asked about."""
        return self._under_way

    @property
    def open_connections(self) -> int:
        """How many connections to the node are open, idle ones included."""
        return len(self._open)

    # Application

    def recall(self, request: Request, now: float) -> Prepared | None:
        """A hit from this worker's memory, while it may serve from it."""
        return self._recall.find(request, now) if now < self._serves_until() else None

    async def answer(self, request: Request, content: RequestContent, visitor: Visitor) -> Response:
        """What the node answers. Raises what its application raises; a node that is not there is a 503."""
        if self._is_silent:
            return self._node_away()
        noted = self._recall.note(request)  # before the node is asked: what is applied from now on is not in its answer
        site_id = "" if noted is None else noted.site.id
        if self._of_site[site_id] >= self._max_exchanges - self._under_way:
            self.counters.busy += 1
            text = "This server is busy. Please try again in a little while."
            return local_answer.unavailable(self._cache_name, "too-many-exchanges", text)
        self.counters.asked += 1
        self._under_way += 1
        self._of_site[site_id] += 1
        asking: Asking | None = None
        is_streaming = False
        try:
            asking = await self._connection()
            head = await asking.ask(ask_of(request, content.size_bytes, visitor.address), content, visitor)
            if isinstance(head, Streamed):
                stream = asking.stream(head)
                stream.on_closed = partial(self._let_go, asking, site_id)
                is_streaming = True
                return Response(head.status, head.fields, stream)
            return self._response_of(head, request, noted)
        except (NodeGone, OSError):
            return self._node_away()
        finally:
            if not is_streaming:
                self._let_go(asking, site_id)

    # What the relay tells

    def forget(self, site_id: str, key: str, number: int) -> None:
        """What was prepared at this place (`PullKey.place`), or for all of the site, is not sent any more."""
        if key == WHOLE_SITE:
            self._view.runtime(site_id).generation += 1
        else:
            self._memory.forget_at((site_id, key), number)

    @property
    def answers_bytes(self) -> int:
        """What answers that are no files take of memory."""
        return self._recall.cost_bytes

    def drop_site(self, site_id: str) -> None:
        """The site is gone."""
        self._memory.drop_site(site_id)
        self._recall.drop_site(site_id)

    def node_is_silent(self, is_silent: bool) -> None:
        """The node is taken for hung, or not any more: nobody waits for one that is."""
        if is_silent and not self._is_silent:
            _log.warning("the node answers no beats: %d requests under way are given up", self._under_way)
        self._is_silent = is_silent
        if is_silent:
            for asking in tuple(self._open):
                asking.channel.abort()

    async def aclose(self) -> None:
        """End every connection to the node; requests under way fail."""
        self._is_closed = True
        for asking in tuple(self._open):
            asking.channel.abort()
        await asyncio.sleep(0)  # the transports say that they have ended
        self._idle.clear()

    # Connections

    async def _connection(self) -> Asking:
        while self._idle:
            asking = self._idle.pop()
            if not asking.channel.is_gone:
                return asking
        loop = asyncio.get_running_loop()
        asking = Asking(self._gone, self._files)
        for tries_left in reversed(range(CONNECT_TRIES)):
            try:
                await loop.create_unix_connection(lambda: asking.channel, str(self._path))
            except BlockingIOError:
                if not tries_left:
                    raise
                await asyncio.sleep(CONNECT_RETRY_S)
            else:
                break
        self._open.add(asking)
        return asking

    def _let_go(self, asking: Asking | None, site_id: str) -> None:
        self._under_way -= 1
        self._of_site[site_id] -= 1
        if not self._of_site[site_id]:
            del self._of_site[site_id]
        if asking is None or not asking.let_go():
            return
        if len(self._idle) < self._max_idle and not self._is_closed:
            self._idle.append(asking)
        else:
            asking.channel.abort()

    def _gone(self, asking: Asking) -> None:
        self._open.discard(asking)
        if asking in self._idle:
            self._idle.remove(asking)

    # Answers

    def _node_away(self) -> Response:
        self.counters.unreachable += 1
        if self._is_silent:
            text = "This server does not get on at the moment. Please try again in a little while."
            return local_answer.unavailable(self._cache_name, "node-silent", text)
        text = "This server is just starting again. Please try again in a moment."
        return local_answer.unavailable(self._cache_name, "node-away", text)

    def _response_of(self, head: Ready | Whole | NotSent, request: Request, noted: Noted | None) -> Response:
        match head:
            case Ready(kept, content):
                return _sent(self._keep(kept, content, request, noted), content, self._clocks.monotonic())
            case Whole(status, fields, content, kept):
                if kept is not None:
                    self._keep(kept, content, request, noted)
                return Response(status, fields, content)
            case NotSent(status, fields, size_bytes):
                return Response(status, fields, Unsent(size_bytes))
            case _:
                assert_never(head)

    def _keep(self, kept: Kept, content: bytes, request: Request, noted: Noted | None) -> Prepared:
        """Keep a hit for the next request like this, as far as it may be used for one."""
        runtime = _NO_SITE if noted is None else noted.runtime
        prepared = Prepared.of(
            kept.hit,
            content,
            site=runtime,
            generation=runtime.generation if noted is None else noted.generation,
            wall_clock=self._clocks.wall,
            on_use=partial(self._on_use, kept.token) if kept.token else None,
        )
        if noted is not None and kept.place is not None:
            self.counters.kept += 1
            self._recall.keep(request, noted, kept.place, prepared, kept.number)
        return prepared


def _sent(prepared: Prepared, content: bytes, now: float) -> Response:
    """A prepared hit as a response; Content-Length is the engine's to say."""
    lines = (line.partition(": ") for line in prepared.wire_head(now).decode("latin-1").split("\r\n")[1:-2])
    fields = tuple((name, value) for name, _, value in lines if name != "content-length")
    return Response(prepared.status, fields, content)
