"""One connection to an upstream: a transport below, the engine above, and bounds on what waits in between."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from cdn.origin.http1.engine import Event, ResponseEngine
from cdn.origin.upstream import UpstreamBroken, UpstreamFault
from cdn.origin.upstream_limits import UpstreamLimits

MAX_UNSENT_BYTES = 64 * 1024
"""What waits to be sent before the writer has to wait too."""


class UpstreamConnection(asyncio.Protocol):
    """A connected socket and what was read from it.

    One task reads (`wait`), one writes (`drain`). Nothing more is read from the socket while the engine holds
    `max_buffer_bytes`. What comes while no request is under way closes it: `on_lost` then tells whoever keeps it.
    """

    def __init__(self, limits: UpstreamLimits, peer: str) -> None:
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._is_reading_paused = False
        self._is_writing_paused = False
        self.engine = ResponseEngine(limits)
        self.is_lost = False
        self.on_lost: Callable[[], None] | None = None
        self.peer = peer
        """Whom it is connected to, for messages."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self.carry_on(cast(asyncio.Transport, transport))

    def carry_on(self, transport: asyncio.Transport) -> None:
        """Send and receive through this transport from now on: the first, or the one that TLS put above it."""
        self._transport = transport
        transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self.engine.receive(data)
        if (
            not self.is_idle
            and len(self.engine.buffer) >= self._limits.max_buffer_bytes
            and self._transport is not None
        ):
            self._is_reading_paused = True
            self._transport.pause_reading()
        self._tell()

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        tls = self.transport.get_extra_info("ssl_object")
        self.engine.end_of_input(is_clean=tls is None or _has_close_notify(tls))
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        del exc  # whatever it was, the response is not whole unless `eof_received` came before
        self.is_lost = True
        self.engine.end_of_input(is_clean=False)
        self._tell()
        self.resume_writing()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._is_writing_paused = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    @property
    def is_idle(self) -> bool:
        """Whether nobody asked for anything: then nothing may come."""
        return self.on_lost is not None

    @property
    def has_transport(self) -> bool:
        """Whether there is a transport yet."""
        return self._transport is not None

    @property
    def transport(self) -> asyncio.Transport:
        """The transport; there is one from `connection_made` on."""
        assert self._transport is not None
        return self._transport

    def write(self, data: bytes) -> None:
        """Send soon. Nothing happens on a connection that is lost."""
        if not self.is_lost:
            self.transport.write(data)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until there is room for more; False when the connection was lost.

        Raises UpstreamBroken (WRITE_TIMEOUT).
        """
        if self._is_writing_paused and not self.is_lost:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._writer
            except TimeoutError as exc:
                raise UpstreamBroken(
                    UpstreamFault.WRITE_TIMEOUT, f"The upstream {self.peer} took no content for {timeout_s:g} s."
                ) from exc
            finally:
                self._writer = None
        return not self.is_lost

    def next_event(self) -> Event | None:
        """The engine's next event. Where it needs more bytes, the socket is read from again."""
        event = self.engine.next_event()
        if self._is_reading_paused and (event is None or len(self.engine.buffer) < self._limits.max_buffer_bytes):
            self._is_reading_paused = False
            if not self.is_lost and not self.transport.is_closing():
                self.transport.resume_reading()
        return event

    async def wait(self, deadline: float | None) -> None:
        """Wait until something happened: bytes came, the connection ended, or `wake` was called.

        `deadline` is a time of the loop. Raises TimeoutError.
        """
        self._reader = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout_at(deadline):
                await self._reader
        finally:
            self._reader = None

    def wake(self) -> None:
        """Let the task that waits look again."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def _tell(self) -> None:
        self.wake()
        on_lost = self.on_lost
        if on_lost is not None:
            self.on_lost = None
            self.abort()
            on_lost()


def _has_close_notify(tls: ssl.SSLObject) -> bool:
    """Whether the peer ended TLS itself (RFC 8446 section 6.1).

    Loops do not tell that from an end of the TCP connection, which anyone on the way can make; OpenSSL reads nothing
    without an error only after a close_notify.
    """
    try:
        return tls.read(1) == b""
    except ssl.SSLError:
        return False
