"""One HTTP/2 connection: the engine on a transport, and the road of a hit.

What one read brings is answered in one write: hits at once, everything else by a task for each stream.
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

from cdn.edge.certificate_cover import COVER, CertificateCover
from cdn.edge.h2_engine import H2Engine
from cdn.edge.h2_events import (
    ConnectionOver,
    ContentEnd,
    ContentPart,
    ErrorCode,
    Event,
    RequestHead,
    StreamOver,
    Writable,
)
from cdn.edge.h2_exchange import StreamExchange, Unread
from cdn.edge.h2_request import RequestGist
from cdn.edge.h2_response import refusal_response
from cdn.edge.h2_section import MalformedRequest
from cdn.edge.h2_service import H2Service
from cdn.edge.head_parser import MessageHead
from cdn.edge.peer_address import peer_address
from cdn.edge.prepared import Prepared
from cdn.edge.refusal import Refusal, Refused
from cdn.edge.service import Service
from cdn.edge.traffic import HTTP_2, Answered
from cdn.http.request import Request

log = logging.getLogger(__name__)

WRITE_BYTES = 64 * 1024
"""Taken from the engine for one write, with a frame more at most. From 128 KiB on every buffer on the way is new memory
of the kernel: encrypting 16 KiB of ten answers in one write took 15 us, in two writes 7.5."""

TURN_BYTES = 1024 * 1024
"""Written before other connections have their turn, though the client would take more."""

_RESETS = struct.pack("ii", 1, 0)  # SO_LINGER for no time: closing sends a reset


class Phase(Enum):
    """What a connection is doing."""

    OPEN = auto()
    LINGERING = auto()  # everything is said; what still comes is thrown away so that the client reads the answers
    CLOSED = auto()  # nothing is read any more; what was written may still be leaving


class H2Connection(asyncio.Protocol):
    """Serves one client, above TLS or on a plain connection. `check` is to be called about once a second: it enforces
    every timeout.

    `client_address` is what a proxy that is believed said ahead of the connection; without it the client is the peer.
    """

    __slots__ = (
        "_active_at",
        "_client_address",
        "_connected_at",
        "_cover",
        "_engine",
        "_exchanges",
        "_has_eof",
        "_is_busy",
        "_is_draining",
        "_is_refused",
        "_is_sending_soon",
        "_is_withdrawn",
        "_is_write_paused",
        "_lingering_since",
        "_phase",
        "_service",
        "_shared",
        "_transport",
        "_unfinished_since",
        "_unread",
        "_visitor",
        "_withdrawn_at",
        "_write_deadline",
    )

    def __init__(self, service: Service, client_address: str | None = None) -> None:
        self._service = service
        self._shared = service.http2 or H2Service.of(service.limits, words=service.traffic.words)
        self._client_address = client_address
        self._engine = H2Engine(self._shared.limits)
        self._phase = Phase.OPEN
        self._exchanges: dict[int, StreamExchange] = {}
        self._cover: CertificateCover | None = None
        self._active_at = self._connected_at = 0.0
        self._lingering_since = 0.0
        self._has_eof = False
        self._is_withdrawn = False
        self._is_draining = False
        self._is_busy = False
        self._is_refused = False
        self._is_sending_soon = False
        self._is_write_paused = False
        self._write_deadline = math.inf
        self._unfinished_since: float | None = None
        self._unread: dict[int, Unread] = {}
        self._visitor = b""
        self._withdrawn_at = 0.0

    # -- what the transport calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._service.counters.connections += 1
        is_full = len(self._service.connections) >= self._service.limits.max_connections
        self._begin(transport)
        if is_full:
            self._refuse_all(Refusal.TOO_MANY_CONNECTIONS)
        self._send()

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Go on with a connection that began as another protocol's: its client has sent `data`, our preface first."""
        transport.set_protocol(self)
        self._begin(transport)
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Bytes came: what they ask for that is in memory is answered here."""
        if self._phase is not Phase.OPEN:
            return
        now = self._service.monotonic()
        self._is_busy = True
        for event in self._engine.receive(data, now):
            if type(event) is RequestHead:
                self._open(event, now)
            else:
                self._note(event)
        self._is_busy = False
        service = self._service
        if (service.is_withdrawn or service.is_draining) and not self._is_withdrawn and self._has_asked:
            self.withdraw()
        self._send()

    def eof_received(self) -> bool:
        """The client sends nothing more, but may still read: what it asked for is answered."""
        self._has_eof = True
        if self._phase is Phase.CLOSED:
            return self._transport.can_write_eof()
        if self._phase is Phase.OPEN and self._engine.open_streams and self._transport.can_write_eof():
            for exchange in tuple(self._exchanges.values()):
                if not exchange.is_received:
                    exchange.fail_content(Refused(Refusal.INCOMPLETE))
            self._send()
            return True
        self._close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: whoever works for it is told."""
        self._phase = Phase.CLOSED
        self._service.connections.discard(self)
        self._abandon()
        self._service.on_connection_gone()

    def pause_writing(self) -> None:
        """More waits for the client than it takes."""
        self._is_write_paused = True
        self._bound_writing()

    def resume_writing(self) -> None:
        """The client took enough of it."""
        self._is_write_paused = False
        if self._phase is Phase.OPEN:
            self._write_deadline = math.inf
            self._send()

    # -- what the listener calls -----------------------------------------------------------------------------------

    def withdraw(self) -> None:
        """Say that the connection goes away: its client opens another for what it asks next (RFC 9113 section 6.8)."""
        if self._phase is Phase.OPEN and not self._is_withdrawn:
            self._is_withdrawn = True
            self._withdrawn_at = self._service.monotonic()
            self._engine.drain()
            self._send()

    def drain(self) -> None:
        """Serve what was asked for, then close. A client that has not yet read that the connection goes away has
        `linger_s` for the request that it may have sent."""
        was_told = self._is_withdrawn
        self._is_draining = True
        self.withdraw()
        if was_told and self._phase is Phase.OPEN:
            self._engine.drain()
            self._send()

    def check(self, now: float) -> None:
        """Enforce the timeouts of HttpLimits at `now`."""
        limits = self._service.limits
        if now >= self._write_deadline:
            self._time_out()
            return
        match self._phase:
            case Phase.OPEN:
                self._check_streams(now)
                self._check_silence(now)
                self._send()
            case Phase.LINGERING:
                if self._transport.get_write_buffer_size():
                    self._lingering_since = now  # the answers are still leaving
                elif now >= self._lingering_since + limits.linger_s:
                    self.abort()
            case Phase.CLOSED:
                pass
            case _:
                assert_never(self._phase)

    def abort(self) -> None:
        """Reset the connection."""
        connected = self._transport.get_extra_info("socket")
        if connected is not None and self._transport.get_write_buffer_size():
            with contextlib.suppress(OSError):  # the client was faster
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
        self._phase = Phase.CLOSED
        self._transport.abort()

    # -- what an exchange calls (StreamOwner) ----------------------------------------------------------------------

    @property
    def is_gone(self) -> bool:
        """Whether nobody is there to write to."""
        return self._phase is not Phase.OPEN or self._transport.is_closing()

    @property
    def is_writing_paused(self) -> bool:
        """Whether more waits for the client than it takes."""
        return self._is_write_paused

    @property
    def _has_asked(self) -> bool:
        """Whether a request has come: one that came late is told to go away with its first answer, not before."""
        return self._active_at > self._connected_at or self._engine.open_streams > 0

    def client_address(self, forwarded_for: str | None) -> str:
        """Who asks, given the X-Forwarded-For of the request: a trusted proxy is believed."""
        if self._client_address is None:
            self._client_address = peer_address(self._transport)
        forwarders = self._service.forwarders
        return forwarders.client_of(self._client_address, forwarded_for) if forwarders else self._client_address

    def send_soon(self) -> None:
        """Send what the engine was given, together with what others give it in this turn of the loop."""
        if not self._is_sending_soon and not self._is_busy:
            self._is_sending_soon = True
            asyncio.get_running_loop().call_soon(self._send_now)

    def refuse(
        self,
        stream_id: int,
        refused: Refused,
        *,
        is_head: bool,
        unread: Unread | None,
        request: Request | None = None,
    ) -> None:
        """Answer with a refusal, in the words of HTTP/1.1. `request` is what was refused, where it is well-formed."""
        service = self._service
        self._count_refusal(refused.refusal)
        visitor_part = self._visitor_part(None if request is None else request.fields.get("x-forwarded-for"))
        service.traffic.refused(service.monotonic(), visitor_part, refused, HTTP_2, request)
        block, content = refusal_response(refused, cache_name=service.cache_name, wall_now=service.wall())
        self._engine.respond(stream_id, block, b"" if is_head else content)
        self.answered(stream_id, unread)

    def answered(self, stream_id: int, unread: Unread | None) -> None:
        """The whole response is in the engine."""
        self._exchanges.pop(stream_id, None)
        if unread is not None:
            self._unread[stream_id] = unread
        self._active_at = self._service.monotonic()
        self.send_soon()

    def tell(self, answered: Answered, now: float) -> None:
        """Count it, and keep it in the access log."""
        visitor_part = self._visitor_part(answered.request.fields.get("x-forwarded-for"))
        self._service.traffic.answered(now, visitor_part, answered)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End the stream."""
        self._service.counters.h2_resets += 1
        self._exchanges.pop(stream_id, None)
        self._engine.reset(stream_id, code)
        self.send_soon()

    # -- requests --------------------------------------------------------------------------------------------------

    def _open(self, event: RequestHead, now: float) -> None:
        """Answer a request from memory, or start its exchange."""
        service = self._service
        stream_id = event.stream_id
        self._active_at = now
        service.counters.h2_streams += 1
        gist = None
        if event.is_end and not event.is_too_large:
            gist = self._shared.requests.gist(event.fields, event.shape)
        if gist is not None and self._answer_alike(stream_id, gist, now):
            return
        message = (
            Refused(Refusal.FIELDS_TOO_LARGE)
            if event.is_too_large
            else self._shared.requests.read(event.fields, event.is_end, service.scheme)
        )
        if type(message) is not MessageHead:
            self._turn_away(event, message)
            return
        request = message.request
        cover = self._cover
        if cover is not None and request.host not in cover.hosts and not cover.has(request.host):
            unread = None if event.is_end else Unread(0, 0.0)
            refused = Refused(Refusal.MISDIRECTED)
            self.refuse(stream_id, refused, is_head=request.method == "HEAD", unread=unread, request=request)
            return
        prepared = self._recall(message, now) if message.is_plain else None
        if prepared is not None:
            service.counters.recalled += 1
            self._remember(event, request, prepared)
            content = b"" if request.method == "HEAD" else prepared.content_view
            self._engine.respond(stream_id, prepared.h2_block(now), content)
            told = service.traffic.told(request, prepared.status, len(content), HTTP_2)
            service.traffic.hit(now, self._visitor_part(told.forwarded_for), told)
            return
        exchange = StreamExchange(self, service, self._engine, stream_id, message, event.is_end)
        self._exchanges[stream_id] = exchange
        exchange.start()

    def _answer_alike(self, stream_id: int, gist: RequestGist, now: float) -> bool:
        """Answer with what requests of the same gist led to, where that is known and may be sent."""
        service = self._service
        memo = self._shared.memo
        known = memo.get(gist.key)
        if known is None:
            return False
        prepared, told = known
        if not prepared.is_usable(now):
            memo.forget(gist.key)
            memo.note(gist.key)
            return False
        cover = self._cover
        is_covered = cover is None or gist.host in cover.hosts or cover.has(gist.host)
        if now >= service.serves_until or not is_covered:
            return False
        service.counters.memo_hits += 1
        self._engine.respond(stream_id, prepared.h2_block(now), b"" if gist.is_head else prepared.content_view)
        is_same = self._visitor and told.forwarded_for is None
        visitor = self._visitor if is_same else self._visitor_part(told.forwarded_for)
        service.traffic.hit_in_words(now, visitor, told, gist.words)
        return True

    def _remember(self, event: RequestHead, request: Request, prepared: Prepared) -> None:
        """Keep what the request led to, when one of its gist came before."""
        gist = self._shared.requests.gist(event.fields) if event.is_end else None
        if gist is not None:
            self._shared.remember(gist, request, prepared, self._service.traffic)

    def _turn_away(self, event: RequestHead, judged: MessageHead | Refused | MalformedRequest) -> None:
        if isinstance(judged, MalformedRequest):
            log.debug("a request is reset: %s", judged.reason)
            service = self._service
            service.traffic.malformed(service.monotonic(), self._visitor_part(None), HTTP_2)
            self.reset(event.stream_id, ErrorCode.PROTOCOL_ERROR)
        elif isinstance(judged, Refused):
            unread = None if event.is_end else Unread(0, 0.0)
            self.refuse(event.stream_id, judged, is_head=(":method", "HEAD") in event.fields, unread=unread)

    def _recall(self, message: MessageHead, now: float) -> Prepared | None:
        if now >= self._service.serves_until:
            return None
        try:
            prepared = self._service.application.recall(message.request, now)
        except Exception:
            log.exception("recall failed for %s%s", message.request.host, message.request.target.path)
            return None
        return prepared if prepared is not None and prepared.is_usable(now) else None

    def _note(self, event: Event) -> None:
        match event:
            case ContentPart(stream_id, content, flow_bytes):
                exchange = self._exchanges.get(stream_id)
                if exchange is not None:
                    exchange.receive(content, flow_bytes)
                elif stream_id in self._unread:
                    self._engine.consumed(stream_id, flow_bytes)
                    self._unread[stream_id].left_bytes -= flow_bytes
            case ContentEnd(stream_id):
                self._unread.pop(stream_id, None)
                exchange = self._exchanges.get(stream_id)
                if exchange is not None:
                    exchange.end_content()
            case StreamOver(stream_id, _, is_answered):
                self._unread.pop(stream_id, None)
                self._service.counters.h2_resets += not is_answered
                exchange = self._exchanges.pop(stream_id, None)
                if exchange is not None:
                    exchange.abandon()
            case Writable(stream_id):
                exchange = self._exchanges.get(stream_id)
                if exchange is not None:
                    exchange.find_room()
            case ConnectionOver(code, reason):
                self._over(code, reason)
            case RequestHead():
                raise AssertionError("requests are opened, with their time")
            case _:
                assert_never(event)

    # -- sending ---------------------------------------------------------------------------------------------------

    def _send_now(self) -> None:
        self._is_sending_soon = False
        self._send()

    def _send(self) -> None:
        """Write what may leave, while the client takes it; then act on what the engine tells of it."""
        if self._is_busy or self._phase is not Phase.OPEN:  # busy: the transport resumed us from within our own write
            return
        self._is_busy = True
        engine = self._engine
        turn_bytes = TURN_BYTES
        while not self._is_write_paused:
            pieces = engine.output(WRITE_BYTES)
            if not pieces or self._transport.is_closing():
                break
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            turn_bytes -= len(data)
            self._transport.write(data)
            if turn_bytes <= 0 or not engine.has_output:
                break
        for event in engine.take_events():
            self._note(event)
        self._is_busy = False
        if self._unread:
            self._stop_unread()
        if turn_bytes <= 0:
            self.send_soon()
        elif (self._has_eof or engine.is_over) and not engine.has_output:
            if engine.is_over:
                self._linger()
            elif not engine.open_streams:  # what has come of a frame never gets its rest
                self._close()

    def _stop_unread(self) -> None:
        """Tell clients that go on sending what nobody reads to stop, once they have their answer."""
        now = self._service.monotonic()
        for stream_id, unread in tuple(self._unread.items()):
            if (unread.left_bytes <= 0 or now >= unread.until) and self._engine.is_answered(stream_id):
                del self._unread[stream_id]
                self._engine.reset(stream_id, ErrorCode.NO_ERROR)
                self.send_soon()

    def _visitor_part(self, forwarded_for: str | None) -> bytes:
        """What the access log says of who asks."""
        service = self._service
        if self._visitor and (forwarded_for is None or not service.forwarders):
            return self._visitor
        secured = self._transport.get_extra_info("ssl_object")
        version = "" if secured is None else secured.version() or ""
        part = service.traffic.visitor_part(self.client_address(forwarded_for), service.scheme, version)
        if forwarded_for is None or not service.forwarders:
            self._visitor = part
        return part

    # -- timeouts --------------------------------------------------------------------------------------------------

    def _check_streams(self, now: float) -> None:
        """Whose content comes too slowly, and who does not take what is sent."""
        limits = self._service.limits
        for exchange in tuple(self._exchanges.values()):
            if exchange.is_late(now, is_paused=self._is_write_paused):
                exchange.fail_content(Refused(Refusal.CONTENT_TIMEOUT))
        stalled = self._engine.stalled_since(now, limits.min_transfer_rate_bytes_per_s)
        patience_s = 0.0 if self._has_eof else limits.write_timeout_s  # who sends nothing more gives no windows either
        for stream_id, since in stalled.items():
            if now < since + patience_s:
                continue
            if stream_id == 0:
                self._time_out()
                return
            self._service.counters.timed_out += 1
            exchange_or_none = self._exchanges.get(stream_id)
            if exchange_or_none is not None:
                exchange_or_none.abandon()
            self.reset(stream_id, ErrorCode.CANCEL)

    def _check_silence(self, now: float) -> None:
        """Who says nothing, or begins something and does not end it."""
        engine, limits = self._engine, self._service.limits
        if engine.open_streams or (self._is_write_paused and self._has_asked):
            self._active_at = now  # an answer is still leaving
        if not engine.has_begun:
            if now >= self._connected_at + limits.head_timeout_s:
                engine.go_away(ErrorCode.SETTINGS_TIMEOUT, "The connection's preface did not arrive in time.")
        elif engine.is_idle:
            self._unfinished_since = None
            if now >= self._active_at + limits.idle_timeout_s:
                engine.go_away(ErrorCode.NO_ERROR, "Nothing was asked for in a while.")
        elif engine.open_streams == 0:
            since = self._unfinished_since = max(self._unfinished_since or now, self._active_at)
            if now >= since + limits.head_timeout_s:
                self._refuse_all(Refusal.HEAD_TIMEOUT)
        else:
            self._unfinished_since = None
        if self._is_draining and now >= self._withdrawn_at + limits.linger_s:
            engine.drain()

    def _bound_writing(self) -> None:
        """Give the client its time for what waits for it."""
        limits = self._service.limits
        transfer_s = self._transport.get_write_buffer_size() / limits.min_transfer_rate_bytes_per_s
        self._write_deadline = self._service.monotonic() + limits.write_timeout_s + transfer_s

    def _time_out(self) -> None:
        self._service.counters.timed_out += 1
        self.abort()

    # -- beginning and end -----------------------------------------------------------------------------------------

    def _begin(self, transport: asyncio.BaseTransport) -> None:
        service = self._service
        self._transport = cast("asyncio.Transport", transport)
        self._cover = transport.get_extra_info(COVER)
        self._active_at = self._connected_at = service.monotonic()
        service.counters.h2_connections += 1
        service.connections.add(self)
        self._engine.start()
        if service.is_draining:  # it has `linger_s` to ask for something
            self._is_draining = True
            self._withdrawn_at = self._connected_at

    def _over(self, code: ErrorCode, reason: str) -> None:
        """The engine reads nothing more; what it still has to say leaves."""
        if code is not ErrorCode.NO_ERROR and not self._is_refused:
            log.debug("an HTTP/2 connection ends with %s: %s", code.name, reason)
            self._count(f"h2-{code.name.lower().replace('_', '-')}")
        self._abandon()

    def _abandon(self) -> None:
        exchanges = tuple(self._exchanges.values())
        self._exchanges.clear()
        for exchange in exchanges:
            exchange.abandon()

    def _linger(self) -> None:
        """Say that nothing more comes, and read on for a moment: closing with unread bytes would reset the connection
        and may take the answers away from the client (RFC 9112 section 9.6)."""
        if self._has_eof or self._transport.is_closing() or not self._transport.can_write_eof():
            self._close()
            return
        self._phase = Phase.LINGERING
        self._lingering_since = self._service.monotonic()
        self._bound_writing()
        self._transport.write_eof()

    def _close(self) -> None:
        """End: what was written still leaves."""
        self._phase = Phase.CLOSED
        self._abandon()
        self._bound_writing()
        self._transport.close()

    def _refuse_all(self, refusal: Refusal) -> None:
        """End the connection for a reason that HTTP/1.1 has, too: it is counted as there."""
        self._is_refused = True
        self._count_refusal(refusal)
        self._engine.go_away(ErrorCode.ENHANCE_YOUR_CALM, refusal.sentence)

    def _count_refusal(self, refusal: Refusal) -> None:
        self._count(refusal.detail)

    def _count(self, detail: str) -> None:
        refused = self._service.counters.refused
        refused[detail] = refused.get(detail, 0) + 1
