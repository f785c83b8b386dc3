"""One HTTP/1.1 connection: the engine on a transport, and the road of a hit.

A hit whose head was seen before is one lookup and one write, in `data_received`. Everything else goes through the
engine, one message at a time, so responses keep the order of their requests.
"""

from __future__ import annotations

import asyncio
import logging
import math
from enum import Enum, auto
from typing import assert_never, cast

from cdn.edge.content_framing import FixedLength
from cdn.edge.h1 import EngineState, H1Engine, MessageEnd
from cdn.edge.head_parser import MessageHead
from cdn.edge.incoming_content import IncomingContent
from cdn.edge.prepared import JOINED_BYTES, Prepared
from cdn.edge.prepared_batch import PreparedBatch
from cdn.edge.refusal import Refusal, Refused, encode_refusal
from cdn.edge.response import ContentStream, Response
from cdn.edge.response_head import WITHOUT_CONTENT, encode_head
from cdn.edge.service import Service
from cdn.errors import CdnError, TooLarge
from cdn.http.date import format_date

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ContentSizeMismatch(CdnError):
    """A response stream gave more or fewer bytes than it had announced; the connection was reset."""


class Phase(Enum):
    """What a connection is doing."""

    READY = auto()  # for the next request; part of its head may be here
    BUSY = auto()  # a message is being received or answered
    LINGERING = auto()  # refused; what still comes is thrown away so that the client reads the answer
    CLOSED = auto()  # nothing is read any more; what was written may still be leaving


class H1Connection(asyncio.Protocol):
    """Serves one client. `check` is to be called about once a second: it enforces every timeout."""

    __slots__ = (
        "_active_at",
        "_closes",
        "_closing_at",
        "_content",
        "_content_since",
        "_drained",
        "_engine",
        "_has_eof",
        "_has_head_sent",
        "_head_since",
        "_held",
        "_is_advancing",
        "_is_discarding",
        "_is_draining",
        "_is_write_paused",
        "_must_continue",
        "_phase",
        "_reading_paused_at",
        "_service",
        "_task",
        "_transport",
        "_write_deadline",
    )

    def __init__(self, service: Service) -> None:
        self._service = service
        self._engine = H1Engine(service.parser, service.limits, service.scheme)
        self._held = self._engine.buffer
        self._phase = Phase.READY
        self._active_at = 0.0
        self._head_since: float | None = None
        self._closing_at = 0.0
        self._closes = False
        self._has_eof = False
        self._is_draining = False
        self._is_advancing = False
        self._is_write_paused = False
        self._write_deadline = math.inf
        self._reading_paused_at: float | None = None
        self._drained: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._content: IncomingContent | None = None
        self._content_since = 0.0
        self._is_discarding = False
        self._must_continue = False
        self._has_head_sent = False

    # -- what the transport calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        service = self._service
        self._transport = cast(asyncio.Transport, transport)
        self._active_at = service.monotonic()
        service.counters.connections += 1
        is_full = len(service.connections) >= service.limits.max_connections
        service.connections.add(self)
        if is_full:
            self._refuse(Refused(Refusal.TOO_MANY_CONNECTIONS))

    def data_received(self, data: bytes) -> None:
        """Bytes came: a known head is answered here, everything else by `_receive`."""
        if self._phase is Phase.READY and not self._held and not self._is_write_paused:
            service = self._service
            known = service.memo.get(data)
            if known is not None:
                prepared, is_head = known
                self._active_at = now = service.monotonic()
                if prepared.is_usable(now):
                    service.counters.memo_hits += 1
                    if is_head:
                        self._transport.write(prepared.wire_head(now))
                    elif prepared.is_joined:
                        self._transport.write(prepared.wire(now))
                    else:
                        self._transport.writelines(prepared.pieces(now))
                    return
                service.memo.forget(data)
        self._receive(data)

    def eof_received(self) -> bool:
        """The client sends nothing more, but may still read: what it asked for is answered."""
        self._has_eof = True
        match self._phase:
            case Phase.READY:
                self._settle()
            case Phase.BUSY:
                if self._engine.state is EngineState.CONTENT:
                    refused = self._engine.end_of_input()
                    if refused is not None:
                        self._fail_content(refused)
            case Phase.LINGERING:
                self._close()
            case Phase.CLOSED:
                pass
            case _:
                assert_never(self._phase)
        return self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: whoever works for it is told."""
        self._phase = Phase.CLOSED
        self._service.connections.discard(self)
        if self._content is not None and not self._content.is_whole:
            self._content.interrupt("The client closed the connection before the content was whole.")
        if self._task is not None:
            self._task.cancel()
        self._service.on_connection_gone()

    def pause_writing(self) -> None:
        """More waits for the client than it takes."""
        self._is_write_paused = True
        limits = self._service.limits
        waiting_s = self._transport.get_write_buffer_size() / limits.min_transfer_rate_bytes_per_s
        self._write_deadline = self._service.monotonic() + limits.write_timeout_s + waiting_s

    def resume_writing(self) -> None:
        """The client took enough of it."""
        self._is_write_paused = False
        self._write_deadline = math.inf
        self._active_at = self._service.monotonic()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._phase is Phase.READY:
            self._advance()

    # -- what the listener calls -----------------------------------------------------------------------------------

    def drain(self) -> None:
        """Serve what was asked for, then close; an idle connection closes at once."""
        self._is_draining = True
        if self._phase is Phase.READY and not self._held:
            self._close()

    def abort(self) -> None:
        """Reset the connection."""
        self._phase = Phase.CLOSED
        self._transport.abort()

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
                        self._refuse(Refused(Refusal.HEAD_TIMEOUT))
                elif now >= self._active_at + limits.idle_timeout_s:
                    self._close()
            case Phase.BUSY:
                if now >= self._content_deadline():
                    self._fail_content(Refused(Refusal.CONTENT_TIMEOUT))
            case Phase.LINGERING:
                if now >= self._closing_at + limits.linger_s:
                    self.abort()
            case Phase.CLOSED:
                if now >= self._closing_at + limits.write_timeout_s:
                    self._time_out()
            case _:
                assert_never(self._phase)

    # -- requests --------------------------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        match self._phase:
            case Phase.READY:
                self._engine.receive(data)
                self._advance()
            case Phase.BUSY:
                self._engine.receive(data)
                self._pump_content()
                self._regulate_reading()
            case Phase.LINGERING | Phase.CLOSED:
                pass
            case _:
                assert_never(self._phase)

    def _advance(self) -> None:
        """Answer the requests that are here, until one needs the application's time or the client's."""
        if self._is_advancing:  # the transport resumed us from within our own write
            return
        self._is_advancing = True
        now = self._service.monotonic()
        batch = PreparedBatch(self._transport, self._service.limits.max_pipelined)
        while self._phase is Phase.READY and not self._is_write_paused:
            head = self._engine.take_head()
            if head is None:
                break
            if isinstance(head, Refused):
                batch.flush()
                self._refuse(head)
            else:
                self._answer_head(head, now, batch)
        batch.flush()
        self._is_advancing = False
        if self._phase is Phase.READY:
            self._active_at = now
            if not self._held or self._is_write_paused:
                self._head_since = None
            elif self._head_since is None:
                self._head_since = now
        self._settle()
        self._regulate_reading()

    def _answer_head(self, head: bytes, now: float, batch: PreparedBatch) -> None:
        service = self._service
        self._head_since = None
        known = None if self._is_draining else service.memo.get(head)
        if known is not None:
            prepared, is_head = known
            if prepared.is_usable(now):
                service.counters.memo_hits += 1
                batch.add(prepared, is_head, now)
                return
            service.memo.forget(head)
        message = self._engine.open(head)
        if isinstance(message, Refused):
            batch.flush()
            self._refuse(message, is_head=head.startswith(b"HEAD "))
            return
        recalled = self._recall(message, now) if message.is_plain else None
        if recalled is None:
            batch.flush()
            self._start(message, now)
            return
        service.counters.recalled += 1
        self._engine.start_next()
        is_head = message.request.method == "HEAD"
        if message.is_persistent and not self._is_draining:
            service.memo.put(head, recalled, is_head=is_head)
            batch.add(recalled, is_head, now)
        else:
            batch.flush()
            pieces = (recalled.closing_head(now),) if is_head else recalled.closing_pieces(now)
            self._transport.writelines(pieces)
            self._close()

    def _recall(self, message: MessageHead, now: float) -> Prepared | None:
        try:
            prepared = self._service.application.recall(message.request, now)
        except Exception:
            log.exception("recall failed for %s %s", message.request.host, message.request.target.path)
            return None
        return prepared if prepared is not None and prepared.is_usable(now) else None

    def _settle(self) -> None:
        """After the client's last byte, close when everything it asked for is answered."""
        if self._has_eof and self._phase is Phase.READY and not self._is_write_paused:
            refused = self._engine.end_of_input()
            if refused is None:
                self._close()
            else:
                self._refuse(refused)

    # -- content of requests ---------------------------------------------------------------------------------------

    def _start(self, message: MessageHead, now: float) -> None:
        framing = message.framing
        if framing is None:
            size_bytes: int | None = 0
        else:
            size_bytes = framing.remaining_bytes if isinstance(framing, FixedLength) else None
        self._phase = Phase.BUSY
        self._closes = not message.is_persistent
        self._content = IncomingContent(size_bytes, self._on_content_wanted)
        self._content_since = now
        self._is_discarding = False
        self._must_continue = message.expects_continue
        self._has_head_sent = False
        self._task = None
        self._pump_content()
        if self._phase is Phase.BUSY:
            self._service.counters.answered += 1
            self._task = asyncio.get_running_loop().create_task(self._respond(message, self._content))

    def _on_content_wanted(self) -> None:
        content = self._content
        if self._phase is not Phase.BUSY or content is None:
            return
        if self._must_continue:
            self._must_continue = False
            self._content_since = self._service.monotonic()
            if content.received_bytes == 0 and not content.is_whole:
                self._transport.write(_CONTINUE)
        self._pump_content()
        self._regulate_reading()

    def _pump_content(self) -> None:
        """Hand content on, as much as the application may leave unread."""
        content = self._content
        if content is None:
            return
        limits = self._service.limits
        while self._engine.state is EngineState.CONTENT and content.waiting_bytes < limits.max_content_buffer_bytes:
            event = self._engine.next_event()
            if isinstance(event, bytes):
                content.feed(event)
            elif isinstance(event, MessageEnd):
                content.finish()
            elif isinstance(event, Refused):
                self._fail_content(event)
                return
            else:
                break
        if self._is_discarding:
            self._finish()

    def _fail_content(self, refused: Refused) -> None:
        """The content will never be whole, and nothing can be said about what follows it."""
        if self._content is not None:
            self._content.interrupt(refused.refusal.sentence)
        self._closes = True
        if self._is_discarding:
            self._linger()
        elif not self._has_head_sent:
            if self._task is not None:
                self._task.cancel()
            self._refuse(refused)

    def _content_deadline(self) -> float:
        content = self._content
        if content is None or content.is_whole or self._must_continue or self._reading_paused_at is not None:
            return math.inf
        if self._engine.state is not EngineState.CONTENT:
            return math.inf
        limits = self._service.limits
        transfer_s = content.received_bytes / limits.min_transfer_rate_bytes_per_s
        return self._content_since + limits.content_timeout_s + transfer_s

    def _regulate_reading(self) -> None:
        """Read from the client only while what it sends has room."""
        limits = self._service.limits
        waiting_bytes = 0 if self._content is None else self._content.waiting_bytes
        may_hold = self._phase is Phase.BUSY or (self._phase is Phase.READY and self._is_write_paused)
        is_full = may_hold and (
            len(self._held) > limits.max_backlog_bytes or waiting_bytes >= limits.max_content_buffer_bytes
        )
        if is_full and self._reading_paused_at is None:
            self._reading_paused_at = self._service.monotonic()
            self._transport.pause_reading()
        elif not is_full and self._reading_paused_at is not None and not self._transport.is_closing():
            self._content_since += self._service.monotonic() - self._reading_paused_at
            self._reading_paused_at = None
            self._transport.resume_reading()

    # -- responses -------------------------------------------------------------------------------------------------

    async def _respond(self, message: MessageHead, content: IncomingContent) -> None:
        request = message.request
        try:
            response = await self._service.application.answer(request, content)
            await self._send(response, is_head=request.method == "HEAD")
        except TooLarge:
            self._fail_answer(Refused(Refusal.CONTENT_TOO_LARGE))
        except Exception:
            log.exception("no answer for %s http://%s%s", request.method, request.host, request.target.path)
            self._fail_answer(Refused(Refusal.APPLICATION_FAILED), is_head=request.method == "HEAD")
        else:
            self._finish()

    def _fail_answer(self, refused: Refused, *, is_head: bool = False) -> None:
        if self._phase is not Phase.BUSY:
            return
        if self._has_head_sent:
            self.abort()  # only a reset tells the client that the content is not whole
        else:
            self._refuse(refused, is_head=is_head)

    async def _send(self, response: Response, *, is_head: bool) -> None:
        content = response.content
        if isinstance(content, bytes):
            self._send_whole(response, content, is_head=is_head)
            return
        try:
            if self._send_head(response, content.size_bytes) and not is_head:
                await self._send_stream(content)
        finally:
            await content.aclose()

    def _send_whole(self, response: Response, content: bytes, *, is_head: bool) -> None:
        if self._phase is not Phase.BUSY:
            return
        head = self._encode_head(response, len(content))
        self._has_head_sent = True
        if is_head or response.status in WITHOUT_CONTENT:
            self._transport.write(head)
        elif len(content) <= JOINED_BYTES:
            self._transport.write(head + content)
        else:
            self._transport.writelines((head, content))

    def _send_head(self, response: Response, size_bytes: int) -> bool:
        """Whether content may follow."""
        if self._phase is not Phase.BUSY:
            return False
        head = self._encode_head(response, size_bytes)
        self._has_head_sent = True
        self._transport.write(head)
        return response.status not in WITHOUT_CONTENT

    async def _send_stream(self, stream: ContentStream) -> None:
        left_bytes = stream.size_bytes
        async for part in stream:
            left_bytes -= len(part)
            if left_bytes < 0:
                break
            self._transport.write(part)
            if self._is_write_paused:
                self._drained = asyncio.get_running_loop().create_future()
                await self._drained
        if left_bytes:
            raise ContentSizeMismatch(
                f"A response stream announced {stream.size_bytes} bytes and gave "
                f"{'more' if left_bytes < 0 else f'{left_bytes} fewer'}; the connection is reset."
            )

    def _encode_head(self, response: Response, size_bytes: int) -> bytes:
        head = encode_head(response.status, response.fields, size_bytes)
        self._closes = self._closes or self._is_draining or self._has_unwanted_content()
        return b"%sdate: %s\r\n%s\r\n" % (
            head,
            format_date(self._service.wall()).encode("ascii"),
            b"connection: close\r\n" if self._closes else b"",
        )

    def _has_unwanted_content(self) -> bool:
        """Whether more content may come than is worth throwing away."""
        content = self._content
        if content is None or content.is_whole:
            return False
        if self._must_continue:
            return True
        left_bytes = 0 if content.size_bytes is None else content.size_bytes - content.received_bytes
        return left_bytes > self._service.limits.max_drain_bytes

    def _finish(self) -> None:
        """The response is written: go on with the next request, or close."""
        content = self._content
        if self._phase is not Phase.BUSY or content is None:
            return
        if self._closes or self._is_draining:
            if content.is_whole:
                self._close()
            else:
                self._linger()
        elif content.is_whole:
            self._content = None
            self._task = None
            self._is_discarding = False
            self._phase = Phase.READY
            self._engine.start_next()
            self._advance()
        elif not self._is_discarding:
            self._is_discarding = True
            content.discard()
            self._pump_content()
            self._regulate_reading()
        elif content.received_bytes > self._service.limits.max_drain_bytes:
            self._linger()

    # -- endings ---------------------------------------------------------------------------------------------------

    def _refuse(self, refused: Refused, *, is_head: bool = False) -> None:
        service = self._service
        detail = refused.refusal.detail
        service.counters.refused[detail] = service.counters.refused.get(detail, 0) + 1
        self._transport.write(
            encode_refusal(refused, cache_name=service.cache_name, wall_now=service.wall(), is_head=is_head)
        )
        self._linger()

    def _linger(self) -> None:
        """Say that nothing more comes, and read on for a moment: closing with unread bytes would reset the connection
        and may take the answer away from the client (RFC 9112 section 9.6)."""
        if self._has_eof or not self._transport.can_write_eof():
            self._close()
            return
        self._phase = Phase.LINGERING
        self._closing_at = self._service.monotonic()
        self._transport.write_eof()
        self._regulate_reading()

    def _close(self) -> None:
        self._phase = Phase.CLOSED
        self._closing_at = self._service.monotonic()
        self._transport.close()

    def _time_out(self) -> None:
        self._service.counters.timed_out += 1
        self.abort()
