"""A transport without a socket, and a connection on it whose clock the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from cdn.edge.application import Application
from cdn.edge.connection import H1Connection
from cdn.edge.head_parser import HeadParser
from cdn.edge.known_heads import memo_of
from cdn.edge.limits import HttpLimits
from cdn.edge.service import ListenerCounters, Service


class RecordingTransport(asyncio.Transport):
    """Keeps what is written. `block` makes it behave as one whose client does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: asyncio.Protocol | None = None
        self.writes: list[bytes] = []
        self.has_ended = False
        self.is_closed = False
        self.is_aborted = False
        self.is_reading_paused = False
        self.high_bytes: int | None = None
        self.waiting_bytes = 0

    @property
    def sent(self) -> bytes:
        return b"".join(self.writes)

    @property
    def is_over(self) -> bool:
        """Whether the server will say nothing more."""
        return self.has_ended or self.is_closed or self.is_aborted

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_over, "written after the end"
        self.writes.append(bytes(data))
        if self.high_bytes is not None:
            self.waiting_bytes += len(data)
            if self.waiting_bytes > self.high_bytes and self.protocol is not None:
                self.protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.has_ended = True

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def pause_reading(self) -> None:
        assert not self.is_reading_paused
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        assert self.is_reading_paused
        self.is_reading_paused = False

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def unblock(self) -> None:
        self.waiting_bytes = 0
        assert self.protocol is not None
        self.protocol.resume_writing()


class Client:
    """One connection to `application` over a RecordingTransport."""

    def __init__(self, application: Application, limits: HttpLimits | None = None, scheme: str = "http") -> None:
        limits = limits or HttpLimits()
        self.now = 1000.0
        self.service = Service(
            application=application,
            limits=limits,
            parser=HeadParser(limits),
            memo=memo_of(limits),
            cache_name="edge",
            scheme=scheme,
            monotonic=lambda: self.now,
            wall=lambda: 1_700_000_000.0,
            counters=ListenerCounters(),
        )
        self.transport = RecordingTransport()
        self.connection = self.reconnect()

    def reconnect(self, transport: RecordingTransport | None = None) -> H1Connection:
        self.transport = transport or RecordingTransport()
        self.connection = H1Connection(self.service)
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)
        return self.connection

    def send(self, data: bytes) -> None:
        """As a transport would: nothing arrives while reading is paused or after the end."""
        assert not self.transport.is_reading_paused
        if not self.transport.is_closing():
            self.connection.data_received(data)

    async def send_parts(self, parts: Iterable[bytes]) -> None:
        """Each part arrives alone, when the server takes it."""
        for part in parts:
            await settle()
            self.send(part)
        await settle()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.connection.check(self.now)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(12):
        await asyncio.sleep(0)
