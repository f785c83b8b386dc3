"""The node's side of what its workers ask: each connection carries one request after another.

All policy stays here: the application is the same that answers in a node of one process. A hit that is prepared goes to
the worker as it is, so that the worker keeps it too; everything else is answered and passed on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import stat
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cdn.edge.application import Application
from cdn.edge.clocks import Clocks, machine_clocks
from cdn.edge.prepared import Prepared
from cdn.edge.recall import Place
from cdn.edge.worker_answering import Answering
from cdn.errors import InvalidInput
from cdn.http.request import Request

log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 65_536
"""Requests of all workers that the node answers at one time: as many as eight workers may have, a quarter of the
descriptors that the service unit gives. Beyond: the connection is closed, and the worker answers 503."""

MAX_TOKENS: Final = 65_536
"""Hits given to workers whose use is still told to the disk tier, some 30 MiB at worst: what is used tells it again
within a minute, and one that fell out is only a little earlier to leave the disk."""

BACKLOG: Final = 4096
"""Connections that wait to be accepted: all of some workers' at once, when they start with many visitors waiting."""

MAX_PATH_BYTES: Final = 107
"""Longest path of a Unix socket."""


class PreparedHints(Protocol):
    """Where hits are kept, and what has been forgotten; `Recall` is one."""

    def find(self, request: Request, now: float) -> Prepared | None:
        """A usable hit; `now` is monotonic."""
        ...

    def place(self, request: Request) -> Place | None:
        """Where the hit is kept that has just been found for this request."""
        ...

    def mark(self) -> int:
        """The number of the last time that something was forgotten."""
        ...


async def settled_at_once(number: int) -> None:
    """Of a node whose workers forget in the moment in which it does."""


@dataclass(slots=True)
class ExchangeCounters:
    """Plain integers, raised in place."""

    connections: int = 0
    asked: int = 0
    recalled: int = 0
    failed: int = 0
    """Requests whose application raised."""
    cancelled: int = 0
    """Requests whose worker, or its visitor, went away."""
    refused: int = 0
    """Connections beyond MAX_CONNECTIONS."""


class ExchangeServer:
    """Answers the workers of a node with `application`.

    `hints` says where its prepared hits are kept. `settled(number)` returns when no worker serves from its memory what
    was forgotten up to `number`: awaited before the answer to an unsafe request leaves, so that whoever has it, and
    asks again, by whatever worker, is not given what it made obsolete.
    """

    def __init__(
        self,
        application: Application,
        hints: PreparedHints,
        *,
        clocks: Clocks | None = None,
        settled: Callable[[int], Awaitable[None]] = settled_at_once,
        max_connections: int = MAX_CONNECTIONS,
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        self.application = application
        self.hints = hints
        self.settled = settled
        self.monotonic = (clocks or machine_clocks()).monotonic
        self.counters = ExchangeCounters()
        self._max_connections = max_connections
        self._max_tokens = max_tokens
        self._uses: OrderedDict[int, Callable[[], None]] = OrderedDict()
        self._last_token = 0
        self._open: set[Answering] = set()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    @property
    def open_connections(self) -> int:
        """How many connections are open now, idle ones included."""
        return len(self._open)

    @property
    def under_way(self) -> int:
        """How many requests are being answered now."""
        return sum(each.is_busy for each in self._open)

    async def start(self, path: Path) -> None:
        """Listen on a Unix socket that this user alone may connect to.

        A socket left there by a process that died is replaced. Raises InvalidInput for a path that no socket can have,
        OSError when it cannot be listened on.
        """
        if len(str(path).encode()) > MAX_PATH_BYTES:
            raise InvalidInput(
                f"The socket {path} has a path of more than {MAX_PATH_BYTES} bytes; choose a shorter data_dir.",
                field="data_dir",
            )
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(path))
            path.chmod(0o600)  # before it listens: until then nobody can connect
            self._server = await asyncio.get_running_loop().create_unix_server(
                lambda: Answering(self).channel, sock=listening, backlog=BACKLOG
            )
        except BaseException:
            listening.close()
            raise
        self._path = path

    async def aclose(self) -> None:
        """End every connection; answers under way are cancelled."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        await asyncio.gather(*(each.aclose() for each in tuple(self._open)))

    def used(self, token: int) -> None:
        """A worker has sent the hit that was given it with this token."""
        on_use = self._uses.get(token)
        if on_use is not None:
            self._uses.move_to_end(token)
            on_use()

    # What connections call

    def enter(self, answering: Answering) -> bool:
        """A worker connected; whether there is room for it."""
        if len(self._open) >= self._max_connections:
            self.counters.refused += 1
            return False
        self.counters.connections += 1
        self._open.add(answering)
        return True

    def leave(self, answering: Answering) -> None:
        """A connection has ended, and nothing of it is under way."""
        self._open.discard(answering)

    def token_for(self, prepared: Prepared) -> int:
        """What a worker names when it uses this hit; 0 when nobody wants to know."""
        if prepared.on_use is None:
            return 0
        self._last_token += 1
        self._uses[self._last_token] = prepared.on_use
        if len(self._uses) > self._max_tokens:
            self._uses.popitem(last=False)
        return self._last_token
