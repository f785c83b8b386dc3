"""Questions over TCP: one after the other on a connection, answered in order as they come (RFC 7766)."""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from cdn.dns.query import HEADER_BYTES, MAX_QUERY_BYTES
from cdn.dns.settings import TcpSettings

LENGTH_BYTES = 2

WRITE_BUFFER_BYTES = 64 * 1024
"""Answers that a client has not taken: beyond that nothing more is read from it."""

BACKLOG = 1024
"""Connections that the system holds until they are accepted."""

MAX_AT_ONCE = 64
"""Questions over all connections answered before everything else on the loop has its turn: some 10 ms where each has
signatures made for it."""

MAX_IN_A_ROW = 16
"""Of them those of one connection; then others have their turn, however many questions it sent."""

Answer = Callable[[bytes, str], bytes | None]
"""Given a message and the address it came from."""


@dataclass(slots=True)
class TcpCounters:
    """`bad_lengths`: what announced more, or less, than a question takes. `crowded_out`: closed for others."""

    connections: int = 0
    timed_out: int = 0
    bad_lengths: int = 0
    crowded_out: int = 0


class TcpServer:
    """Listens on one address; `connections` are those of all servers that share it."""

    def __init__(self, server: asyncio.Server, port: int) -> None:
        self.port = port
        self._server = server

    @classmethod
    async def start(cls, host: str, port: int, connections: TcpConnections) -> TcpServer:
        """Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server = await asyncio.get_running_loop().create_server(
            connections.made, host, port, family=family, backlog=BACKLOG
        )
        return cls(server, server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Accept nothing more; connections stay."""
        self._server.close()


class TcpConnections:
    """All open connections, those first that have been silent for the longest."""

    def __init__(self, settings: TcpSettings, answer: Answer) -> None:
        self.counters = TcpCounters()
        self.settings = settings
        self.answer = answer
        self._open: OrderedDict[_Connection, None] = OrderedDict()
        self._none_left = asyncio.Event()
        self._left = MAX_AT_ONCE
        self._waiting: deque[_Connection] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def made(self) -> asyncio.Protocol:
        """A protocol for a connection that is being accepted."""
        return _Connection(self)

    async def aclose(self, timeout_s: float) -> None:
        """Close every connection; whoever has not taken its answers within `timeout_s` is cut off."""
        for connection in tuple(self._open):
            connection.close()
        try:
            async with asyncio.timeout(timeout_s):
                while self._open:
                    self._none_left.clear()
                    await self._none_left.wait()
        except TimeoutError:
            for connection in tuple(self._open):
                connection.abort()

    def entered(self, connection: _Connection) -> None:
        self.counters.connections += 1
        self._open[connection] = None
        if len(self._open) > self.settings.max_tcp_connections:
            self.counters.crowded_out += 1
            next(iter(self._open)).abort()

    def heard(self, connection: _Connection) -> None:
        if connection in self._open:
            self._open.move_to_end(connection)

    def may_answer(self) -> bool:
        """Whether one more question may be answered in this turn of the loop; it counts as answered then."""
        if self._left == MAX_AT_ONCE:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._left -= 1
        return self._left >= 0

    def wait_turn(self, connection: _Connection) -> None:
        """It goes on in one of the next turns, after those that wait already."""
        self._waiting.append(connection)

    def _next_turn(self) -> None:
        self._left = MAX_AT_ONCE
        for _ in range(len(self._waiting)):
            if self._left <= 0:
                break
            self._waiting.popleft().go_on()

    def left(self, connection: _Connection) -> None:
        self._open.pop(connection, None)
        if not self._open:
            self._none_left.set()


class _Connection(asyncio.Protocol):
    """Holds at most one unfinished message, and one buffer of answers that were not taken."""

    def __init__(self, of: TcpConnections) -> None:
        self._of = of
        self._transport: asyncio.Transport | None = None
        self._source = ""
        self._received = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_waiting = False
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        peer = transport.get_extra_info("peername")
        if not peer:  # gone already
            self._transport.abort()
            return
        self._source = peer[0]
        self._wait()
        self._of.entered(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._is_waiting:
            self._answer_some()

    def eof_received(self) -> bool:
        """A client that asks no more may still want its answers: what is buffered is sent, then it is closed."""
        self._has_ended = True
        return self._is_paused or self._is_waiting

    def pause_writing(self) -> None:
        self._is_paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_paused = False
        if not self._is_waiting:
            self._read_on()

    def go_on(self) -> None:
        """It is this one's turn again."""
        self._is_waiting = False
        if not self._is_paused:
            self._read_on()

    def _read_on(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._answer_some()
        if self._is_paused or self._is_waiting or self._transport.is_closing():
            return
        if self._has_ended:
            self._transport.close()
        else:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._of.left(self)

    def close(self) -> None:
        """Send what was answered, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def _answer_some(self) -> None:
        """Every whole message that is there, until the client has to take answers first."""
        transport, received, start, answered = self._transport, self._received, 0, 0
        assert transport is not None
        while not self._is_paused and len(received) - start >= LENGTH_BYTES:
            length = int.from_bytes(received[start : start + LENGTH_BYTES], "big")
            if not HEADER_BYTES <= length <= MAX_QUERY_BYTES:
                self._of.counters.bad_lengths += 1
                del received[:]
                transport.close()
                return
            end = start + LENGTH_BYTES + length
            if len(received) < end:
                break
            if answered == MAX_IN_A_ROW or not self._of.may_answer():
                self._is_waiting = True
                transport.pause_reading()
                self._of.wait_turn(self)
                break
            answered += 1
            response = self._of.answer(bytes(received[start + LENGTH_BYTES : end]), self._source)
            start = end
            if response is not None:
                transport.write(len(response).to_bytes(LENGTH_BYTES, "big") + response)
        if start:
            del received[:start]
            self._wait()
            self._of.heard(self)

    def _wait(self) -> None:
        """From now on the client has `tcp_timeout_s` for its next whole question; octets alone win it no time."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._of.settings.tcp_timeout_s, self._time_out)

    def _time_out(self) -> None:
        self._of.counters.timed_out += 1
        self.abort()
