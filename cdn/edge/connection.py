"""One HTTP/1.1 connection: the engine on a transport, and the road of a hit.

A hit whose head was seen before is one lookup and one write, in `data_received`. Everything else goes through the
engine, one message at a time, so responses keep the order of their requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import struct
from enum import Enum, auto
from typing import assert_never, cast

from cdn.edge.certificate_cover import COVER, CertificateCover, host_line
from cdn.edge.exchange import Exchange
from cdn.edge.file_sending import WORTH_BYTES, FileSending
from cdn.edge.h1 import H1Engine
from cdn.edge.h2_connection import H2Connection
from cdn.edge.h2_frames import PREFACE
from cdn.edge.head_memo import Remembered
from cdn.edge.head_parser import MessageHead
from cdn.edge.known_heads import told_of
from cdn.edge.peer_address import peer_address
from cdn.edge.prepared import Prepared
from cdn.edge.prepared_batch import PreparedBatch
from cdn.edge.refusal import Refusal, Refused, encode_refusal
from cdn.edge.service import Service
from cdn.edge.traffic import HTTP_1_1
from cdn.http.request import Request

log = logging.getLogger(__name__)

_CR = 0x0D
_PREFACE_LINE = PREFACE[:16]  # what no request of HTTP/1.1 begins with; up to there nothing of it is judged
_RESETS = struct.pack("ii", 1, 0)  # SO_LINGER for no time: closing sends a reset
MAX_PARTS_AT_ONCE = 3
"""Parts of content, of 1 MiB at the most, that one client may take before others have their turn: about a millisecond,
over TLS three."""

_H = 0x48  # of the two methods whose responses are remembered, HEAD starts with it


class Phase(Enum):
    """What a connection is doing."""

    READY = auto()  # for the next request; part of its head may be here
    BUSY = auto()  # an exchange is running
    LINGERING = auto()  # everything is said; what still comes is thrown away so that the client reads the answer
    CLOSED = auto()  # nothing is read any more; what was written may still be leaving


class H1Connection(asyncio.Protocol):
    """Serves one client. `check` is to be called about once a second: it enforces every timeout.

    `client_address` is what a proxy that is believed said ahead of the connection; without it the client is the peer.
    """

    __slots__ = (
        "_active_at",
        "_batch",
        "_client_address",
        "_connected_at",
        "_cover",
        "_drained",
        "_engine",
        "_exchange",
        "_has_eof",
        "_head_since",
        "_held",
        "_host_line",
        "_is_advancing",
        "_is_draining",
        "_is_write_paused",
        "_lingering_since",
        "_may_become_h2",
        "_parts_at_once",
        "_phase",
        "_reading_paused_at",
        "_says_close",
        "_service",
        "_transport",
        "_visitor",
        "_was_unannounced",
        "_write_deadline",
    )

    def __init__(self, service: Service, client_address: str | None = None) -> None:
        self._service = service
        self._client_address = client_address
        self._engine = H1Engine(service.parser, service.limits, service.scheme)
        self._held = self._engine.buffer
        self._phase = Phase.READY
        self._exchange: Exchange | None = None
        self._parts_at_once = 0
        self._active_at = self._connected_at = 0.0
        self._head_since: float | None = None
        self._lingering_since = 0.0
        self._has_eof = False
        self._is_draining = service.is_draining
        self._says_close = service.is_withdrawn or service.is_draining
        self._was_unannounced = False
        self._may_become_h2 = service.http2 is not None and service.tls is None
        self._is_advancing = False
        self._is_write_paused = False
        self._write_deadline = math.inf
        self._reading_paused_at: float | None = None
        self._drained: asyncio.Future[None] | None = None
        self._visitor = b""
        self._cover: CertificateCover | None = None
        self._host_line = b""  # of heads that may be answered without a look at their host: all without TLS

    # -- what the transport calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        service = self._service
        self._transport = cast("asyncio.Transport", transport)
        self._batch = PreparedBatch(self._transport, service.limits.max_pipelined)
        self._cover = transport.get_extra_info(COVER)
        if self._cover is not None:
            self._host_line = self._cover.line
        self._active_at = self._connected_at = service.monotonic()
        service.counters.connections += 1
        is_full = len(service.connections) >= service.limits.max_connections
        service.connections.add(self)
        if is_full:
            self.refuse(Refused(Refusal.TOO_MANY_CONNECTIONS))

    def data_received(self, data: bytes) -> None:
        """Bytes came: a known head is answered here, everything else by `_receive`."""
        if self._phase is Phase.READY and not self._held and not self._is_write_paused:
            service = self._service
            known = service.memo.get(data) or service.known_heads.alike(data, service.monotonic())
            # `find`, not `in`, which makes an exception first that nobody sees (0.4 us)
            if known is not None and (not self._host_line or data.find(self._host_line) >= 0):
                prepared, told = known
                self._active_at = now = service.monotonic()
                if prepared.is_usable(now) and now < service.serves_until and not self._says_close:
                    service.counters.memo_hits += 1
                    if data[0] == _H:
                        self._transport.write(prepared.wire_head(now))
                    elif prepared.is_joined:
                        self._transport.write(prepared.wire(now))
                    else:
                        self._transport.writelines(prepared.pieces(now))
                    is_same = self._visitor and told.forwarded_for is None
                    visitor = self._visitor if is_same else self.visitor_part(told.forwarded_for)
                    service.traffic.hit(now, visitor, told)
                    return
        self._receive(data)

    def eof_received(self) -> bool:
        """The client sends nothing more, but may still read: what it asked for is answered."""
        self._has_eof = True
        match self._phase:
            case Phase.READY:
                self._settle()
            case Phase.BUSY:
                if self._exchange is not None:
                    self._exchange.end_of_input()
            case Phase.LINGERING:
                self.close()
            case Phase.CLOSED:
                pass
            case _:
                assert_never(self._phase)
        return self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: whoever works for it is told."""
        self._phase = Phase.CLOSED
        self._service.connections.discard(self)
        if self._exchange is not None:
            self._exchange.abandon()
            self._exchange = None
        self._service.on_connection_gone()

    def pause_writing(self) -> None:
        """More waits for the client than it takes."""
        self._is_write_paused = True
        self._bound_writing()

    def resume_writing(self) -> None:
        """The client took enough of it."""
        self._is_write_paused = False
        if self._phase is Phase.READY or self._phase is Phase.BUSY:
            self._write_deadline = math.inf
        self._active_at = self._service.monotonic()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._phase is Phase.READY:
            self._advance()

    # -- what the listener calls -----------------------------------------------------------------------------------

    def withdraw(self) -> None:
        """The next answer says that the connection closes; until then it stays, also when it is idle.

        An answer under way, whose head said nothing of it, is not the last: its client may have sent the next request.
        """
        self._says_close = True

    def drain(self) -> None:
        """Serve what was asked for, then close; an idle connection closes at once.

        One whose last answer could not say so any more, and one that has just come, has `linger_s` for the request
        that its client may have sent.
        """
        self._is_draining = self._says_close = True
        if self._phase is Phase.READY and self._engine.is_between and not self._may_linger(self._service.monotonic()):
            self.close()

    def _may_linger(self, now: float) -> bool:
        is_new = self._active_at == self._connected_at
        return (self._was_unannounced or is_new) and now < self._active_at + self._service.limits.linger_s

    def check(self, now: float) -> None:
        """Enforce the timeouts of HttpLimits at `now`."""
        limits = self._service.limits
        if now >= self._write_deadline:
            self._time_out()
            return
        match self._phase:
            case Phase.READY:
                if self._head_since is not None:
                    if now >= self._head_since + limits.head_timeout_s:
                        self.refuse(Refused(Refusal.HEAD_TIMEOUT), is_head=self._held.startswith(b"HEAD "))
                elif not self._is_write_paused and (
                    now >= self._active_at + limits.idle_timeout_s or (self._is_draining and not self._may_linger(now))
                ):
                    self.close()
            case Phase.BUSY:
                if self._exchange is not None and now >= self._exchange.deadline():
                    self._exchange.fail_content(Refused(Refusal.CONTENT_TIMEOUT))
            case Phase.LINGERING:
                if self._transport.get_write_buffer_size():
                    self._lingering_since = now  # the answer is still leaving
                elif now >= self._lingering_since + limits.linger_s:
                    self.abort()
            case Phase.CLOSED:
                pass
            case _:
                assert_never(self._phase)

    # -- what an exchange calls (Owner) ----------------------------------------------------------------------------

    @property
    def says_close(self) -> bool:
        """Whether the next head is to say that the connection closes after its response."""
        return self._says_close

    @property
    def is_reading_paused(self) -> bool:
        """Whether the client is not read from, because what it sent has no room."""
        return self._reading_paused_at is not None

    @property
    def is_writing_paused(self) -> bool:
        """Whether more waits for the client than it takes."""
        return self._is_write_paused

    def client_address(self, forwarded_for: str | None) -> str:
        """Who asks, given the X-Forwarded-For of the request: a trusted proxy is believed."""
        if self._client_address is None:
            self._client_address = peer_address(self._transport)
        forwarders = self._service.forwarders
        return forwarders.client_of(self._client_address, forwarded_for) if forwarders else self._client_address

    def visitor_part(self, forwarded_for: str | None) -> bytes:
        """What the access log says of who asks, given the X-Forwarded-For of the request."""
        if self._visitor and (forwarded_for is None or not self._service.forwarders):
            return self._visitor
        service = self._service
        secured = self._transport.get_extra_info("ssl_object")
        tls_version = "" if secured is None else secured.version() or ""
        part = service.traffic.visitor_part(self.client_address(forwarded_for), service.scheme, tls_version)
        if forwarded_for is None or not service.forwarders:
            self._visitor = part
        return part

    def go_on(self) -> None:
        """An exchange is over: on to the next message."""
        self._was_unannounced = self._says_close
        self._exchange = None
        self._phase = Phase.READY
        self._engine.start_next()
        self._advance()

    def refuse(self, refused: Refused, *, is_head: bool = False, request: Request | None = None) -> None:
        """Answer with a refusal, and end. `request` is what was refused, where it is well-formed."""
        service = self._service
        detail = refused.refusal.detail
        service.counters.refused[detail] = service.counters.refused.get(detail, 0) + 1
        visitor_part = self.visitor_part(None if request is None else request.fields.get("x-forwarded-for"))
        service.traffic.refused(service.monotonic(), visitor_part, refused, HTTP_1_1, request)
        if self._transport.is_closing():  # the client was faster
            self._phase = Phase.CLOSED
            return
        self._transport.write(
            encode_refusal(refused, cache_name=service.cache_name, wall_now=service.wall(), is_head=is_head)
        )
        self.linger()

    def linger(self) -> None:
        """Say that nothing more comes, and read on for a moment: closing with unread bytes would reset the connection
        and may take the answer away from the client (RFC 9112 section 9.6)."""
        if self._has_eof or self._transport.is_closing() or not self._transport.can_write_eof():
            self.close()
            return
        self._phase = Phase.LINGERING
        self._lingering_since = self._service.monotonic()
        self._bound_writing()
        self._transport.write_eof()
        self.regulate_reading()

    def close(self) -> None:
        """End: what was written still leaves."""
        self._phase = Phase.CLOSED
        self._bound_writing()
        self._transport.close()

    def abort(self) -> None:
        """Reset the connection.

        Truly so while anything may be unsent: to a client that reads until the connection ends, because the content has
        no length, an orderly end would say that it is whole.
        """
        connected = self._transport.get_extra_info("socket")
        if connected is not None and (self._exchange is not None or self._transport.get_write_buffer_size()):
            with contextlib.suppress(OSError):  # the client was faster
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
        self._phase = Phase.CLOSED
        self._transport.abort()

    def regulate_reading(self) -> None:
        """Read from the client only while what it sends has room."""
        limits = self._service.limits
        exchange = self._exchange
        waiting_bytes = 0 if exchange is None else exchange.content.waiting_bytes
        may_hold = self._phase is Phase.BUSY or (self._phase is Phase.READY and self._is_write_paused)
        is_full = may_hold and (
            len(self._held) > limits.max_backlog_bytes or waiting_bytes >= limits.max_content_buffer_bytes
        )
        if is_full and self._reading_paused_at is None:
            self._reading_paused_at = self._service.monotonic()
            self._transport.pause_reading()
        elif not is_full and self._reading_paused_at is not None and not self._transport.is_closing():
            if exchange is not None:
                exchange.add_pause(self._service.monotonic() - self._reading_paused_at)
            self._reading_paused_at = None
            self._transport.resume_reading()

    async def wait_writable(self) -> None:
        """Return when the client has taken enough of what was written."""
        if self._is_write_paused:
            self._parts_at_once = 0
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        else:
            await self._give_way()

    async def _give_way(self) -> None:
        """One who takes as fast as we send must not keep the loop for himself."""
        self._parts_at_once += 1
        if self._parts_at_once > MAX_PARTS_AT_ONCE:
            self._parts_at_once = 0
            await asyncio.sleep(0)

    async def send_file(self, content: bytes | memoryview) -> bool:
        """Send all of a mapped file without copying it; False where `content` has to be written."""
        transport, limits = self._transport, self._service.limits
        if len(content) < WORTH_BYTES or transport.get_extra_info("ssl_object") is not None:
            return False
        connected = transport.get_extra_info("socket")
        file = None if connected is None else self._service.open_files.of(content)
        if file is None:
            return False
        rate = limits.min_transfer_rate_bytes_per_s
        ends_at = self._service.monotonic() + limits.write_timeout_s + len(content) / rate

        def bound(left_bytes: int) -> None:
            self._write_deadline = min(ends_at, self._service.monotonic() + limits.write_timeout_s + left_bytes / rate)

        try:
            if transport.get_write_buffer_size() and not await self._has_written_all():
                return False
            sending = FileSending(connected, file.descriptor, len(content), bound)
            if sending.has_sent():
                await self._give_way()
            else:
                self._parts_at_once = 0
                await sending.send_rest()
        except OSError:
            self.abort()
            await asyncio.get_running_loop().create_future()  # whoever waits here is cancelled with the connection
        finally:
            self._write_deadline = math.inf
        self._active_at = self._service.monotonic()
        return True

    async def _has_written_all(self) -> bool:
        """Whether all that was written has left; waits for it."""
        self._transport.set_write_buffer_limits(high=0)
        try:
            await self.wait_writable()
        finally:
            if not self._transport.is_closing():
                self._transport.set_write_buffer_limits()
        return not self._transport.is_closing() and self._transport.get_write_buffer_size() == 0

    # -- requests --------------------------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        match self._phase:
            case Phase.READY:
                if self._may_become_h2 and self._becomes_h2(data):
                    return
                is_one_head = data.find(b"\r\n\r\n") == len(data) - 4 >= 0 and data[0] != _CR
                if is_one_head and not self._held and not self._is_write_paused:
                    self._active_at = now = self._service.monotonic()
                    self._answer_head(data, now)
                    self._batch.flush()
                else:
                    self._engine.receive(data)
                    self._advance()
            case Phase.BUSY:
                self._engine.receive(data)
                if self._exchange is not None:
                    self._exchange.pump()
                self.regulate_reading()
            case Phase.LINGERING | Phase.CLOSED:
                pass
            case _:
                assert_never(self._phase)

    def _becomes_h2(self, data: bytes) -> bool:
        """Whether the client knew before that HTTP/2 is spoken here (RFC 9113 section 3.3): its first octets say so."""
        begun = self._held[:16] + data[:16]
        is_answered = self._active_at != self._connected_at and not self._held
        if is_answered or not begun.startswith(_PREFACE_LINE):
            self._may_become_h2 = not is_answered and _PREFACE_LINE.startswith(begun)
            return False
        self._service.connections.discard(self)
        self._phase = Phase.CLOSED
        H2Connection(self._service, self._client_address).take_over(self._transport, bytes(self._held) + data)
        return True

    def _advance(self) -> None:
        """Answer the requests that are here, until one needs the application's time or the client's."""
        if self._is_advancing:  # the transport resumed us from within our own write
            return
        self._is_advancing = True
        now = self._service.monotonic()
        while self._phase is Phase.READY and not self._is_write_paused:
            head = self._engine.take_head()
            if head is None:
                break
            if isinstance(head, Refused):
                self._batch.flush()
                self.refuse(head, is_head=self._engine.has_refused_head)
            else:
                self._head_since = None
                self._answer_head(head, now)
        self._batch.flush()
        self._is_advancing = False
        if self._phase is Phase.READY:
            self._active_at = now
            if self._engine.is_between or self._is_write_paused:
                self._head_since = None
            elif self._head_since is None:
                self._head_since = now
        self._settle()
        self.regulate_reading()

    def _answer_head(self, head: bytes, now: float) -> None:
        """Answer the request of a whole head, or start its exchange."""
        service = self._service
        known = service.memo.get(head) or service.known_heads.alike(head, now)
        if known is not None and (not self._host_line or head.find(self._host_line) >= 0):
            if known[0].is_usable(now) and now < service.serves_until and not self._says_close:
                service.counters.memo_hits += 1
                self._send(known, head, now)
                return
            service.memo.forget(head)
            service.memo.note(head)
        self._judge(head, now)

    def _judge(self, head: bytes, now: float) -> None:
        """Answer the request of a head of which nothing is known."""
        service = self._service
        message = self._engine.open(head)
        if isinstance(message, Refused):
            self._batch.flush()
            self.refuse(message, is_head=self._engine.has_refused_head)
            return
        if self._cover is not None:
            if not self._cover.has(message.request.host):
                self._batch.flush()
                request = message.request
                self.refuse(Refused(Refusal.MISDIRECTED), is_head=request.method == "HEAD", request=request)
                return
            self._host_line = self._cover.line = host_line(head)
        prepared = self._recall(message, now) if message.is_plain else None
        if prepared is None:
            self._batch.flush()
            self._phase = Phase.BUSY
            self._exchange = Exchange(self, self._service, self._engine, self._transport, message)
            self._exchange.start()
            return
        service.counters.recalled += 1
        self._engine.start_next()
        if message.is_persistent and not self._says_close:
            self._send(service.known_heads.learn(head, message, prepared, service.traffic), head, now)
            return
        self._batch.flush()
        is_head = message.request.method == "HEAD"
        told = told_of(message, prepared, service.traffic)
        service.traffic.hit(now, self.visitor_part(told.forwarded_for), told)
        self._transport.writelines((prepared.closing_head(now),) if is_head else prepared.closing_pieces(now))
        self.close()

    def _send(self, known: Remembered, head: bytes, now: float) -> None:
        prepared, told = known
        self._batch.add(prepared, head[0] == _H, now)
        is_same = self._visitor and told.forwarded_for is None
        visitor = self._visitor if is_same else self.visitor_part(told.forwarded_for)
        self._service.traffic.hit(now, visitor, told)

    def _recall(self, message: MessageHead, now: float) -> Prepared | None:
        if now >= self._service.serves_until:
            return None
        try:
            prepared = self._service.application.recall(message.request, now)
        except Exception:
            log.exception("recall failed for %s%s", message.request.host, message.request.target.path)
            return None
        return prepared if prepared is not None and prepared.is_usable(now) else None

    def _settle(self) -> None:
        """After the client's last byte, close when everything it asked for is answered."""
        if self._has_eof and self._phase is Phase.READY and not self._is_write_paused:
            refused = self._engine.end_of_input()
            if refused is None:
                self.close()
            else:
                self.refuse(refused, is_head=self._engine.has_refused_head)

    def _bound_writing(self) -> None:
        """Give the client its time for what waits for it."""
        limits = self._service.limits
        transfer_s = self._transport.get_write_buffer_size() / limits.min_transfer_rate_bytes_per_s
        self._write_deadline = self._service.monotonic() + limits.write_timeout_s + transfer_s

    def _time_out(self) -> None:
        self._service.counters.timed_out += 1
        self.abort()
