"""Where other nodes connect. Never the listener of visitors: who comes here is a node that has to prove it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from cdn.edge.clocks import Clocks
from cdn.edge.connection import H1Connection
from cdn.edge.head_memo import HeadMemo
from cdn.edge.head_parser import HeadParser
from cdn.edge.limits import HttpLimits
from cdn.edge.listener import BACKLOG, Listener
from cdn.edge.peer_application import PeerApplication
from cdn.edge.service import ListenerCounters, Service
from cdn.edge.shield_settings import PeerSettings
from cdn.errors import Conflict

EXTRA_FIELDS_BYTES = 4 * 1024
EXTRA_FIELDS = 16
"""What a node adds to a visitor's head, which may be as large as a head may be."""

WRITE_TIMEOUT_S = 3600.0
"""A node reads some content no faster than its slowest visitor does."""


class PeerConnection(H1Connection):
    """A connection of another node, which never closes only its half: when it sends nothing more it has gone."""

    __slots__ = ()

    def eof_received(self) -> bool:
        """Give up what it asked for."""
        self.abort()
        return False


class PeerListener:
    """Serves a PeerApplication. Make it with `start`."""

    def __init__(self, listener: Listener, application: PeerApplication) -> None:
        self._listener = listener
        self._application = application

    @classmethod
    async def start(
        cls, settings: PeerSettings, application: PeerApplication, limits: HttpLimits, clocks: Clocks
    ) -> PeerListener:
        """Listen where `settings` say; `limits` are those of visitors.

        Raises Conflict when that is not possible, InvalidInput for files that cannot be used.
        """
        of_peers = replace(
            limits,
            max_fields_bytes=limits.max_fields_bytes + EXTRA_FIELDS_BYTES,
            max_fields=limits.max_fields + EXTRA_FIELDS,
            max_connections=settings.max_connections,
            write_timeout_s=WRITE_TIMEOUT_S,
            max_memo_entries=1,  # nothing is remembered here
        )
        service = Service(
            application=application,
            limits=of_peers,
            parser=HeadParser(of_peers),
            memo=HeadMemo(of_peers.max_memo_entries, of_peers.max_memo_bytes, of_peers.max_memo_head_bytes),
            cache_name="cdn",
            scheme="http",
            monotonic=clocks.monotonic,
            wall=clocks.wall,
            counters=ListenerCounters(),
        )
        tls = None if settings.tls is None else settings.tls.context()
        try:
            server = await asyncio.get_running_loop().create_server(
                partial(PeerConnection, service), settings.host, settings.port, backlog=BACKLOG, ssl=tls
            )
        except OSError as exc:
            raise Conflict(
                f"{settings.host} port {settings.port} cannot be listened on ({exc.strerror}): give another address "
                "with listen in [peers]"
            ) from exc
        return cls(Listener(server, service), application)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    def counted(self) -> Mapping[str, int]:
        """What other nodes asked for."""
        counters = self._application.counters
        return {
            "peer_answered": counters.answered,
            "peer_connections": self._listener.open_connections,
            **{f"peer_refused_{fault}": count for fault, count in counters.refused.items()},
        }

    def withdraw(self) -> None:
        """From now on other nodes are sent past this one."""
        self._application.is_draining = True
        self._listener.withdraw()

    async def aclose(self) -> None:
        """Stop at once."""
        await self._listener.aclose()

    async def drain(self, timeout_s: float) -> None:
        """Answer what was asked for, then close."""
        self._application.is_draining = True
        await self._listener.drain(timeout_s)
