"""A front of two listeners in one process: by http and by https."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from cdn.edge.listener import Listener
from cdn.edge.process_tls import ProcessTls
from cdn.edge.service import ListenerCounters


class JointFront:
    """A Front."""

    def __init__(self, plain: Listener, secure: Listener, tls: ProcessTls) -> None:
        self._plain = plain
        self._secure = secure
        self._tls = tls

    @property
    def port(self) -> int:
        """Where visitors connect by http."""
        return self._plain.port

    @property
    def https_port(self) -> int:
        """Where they connect by https."""
        return self._secure.port

    @property
    def counters(self) -> ListenerCounters:
        """What happened on every connection so far."""
        return joint_counters(self._plain.counters, self._secure.counters)

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return self._plain.open_connections + self._secure.open_connections

    def counted(self) -> Mapping[str, int]:
        """What happened to handshakes."""
        return self._tls.counted()

    def withdraw(self) -> None:
        """Go on serving, and say with every answer that its connection closes."""
        self._plain.withdraw()
        self._secure.withdraw()

    async def drain(self, timeout_s: float) -> None:
        """Accept nothing more, answer what was asked for, close; after `timeout_s` reset what is left."""
        await asyncio.gather(self._plain.drain(timeout_s), self._secure.drain(timeout_s))

    async def aclose(self) -> None:
        """Stop at once."""
        await asyncio.gather(self._plain.aclose(), self._secure.aclose())


def joint_counters(one: ListenerCounters, other: ListenerCounters) -> ListenerCounters:
    """The sum of two."""
    return ListenerCounters(
        connections=one.connections + other.connections,
        memo_hits=one.memo_hits + other.memo_hits,
        recalled=one.recalled + other.recalled,
        answered=one.answered + other.answered,
        timed_out=one.timed_out + other.timed_out,
        h2_connections=one.h2_connections + other.h2_connections,
        h2_streams=one.h2_streams + other.h2_streams,
        h2_resets=one.h2_resets + other.h2_resets,
        refused=dict(Counter(one.refused) + Counter(other.refused)),
    )
