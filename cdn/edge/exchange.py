"""One message that the application answers: its content comes in while its response goes out."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Protocol

from cdn.edge.chunked_coding import accepts_trailers, encode_chunk, encode_last_chunk
from cdn.edge.content_framing import FixedLength
from cdn.edge.h1 import EngineState, H1Engine, MessageEnd
from cdn.edge.head_parser import MessageHead
from cdn.edge.incoming_content import IncomingContent
from cdn.edge.outcome import cache_status_of
from cdn.edge.prepared import JOINED_BYTES
from cdn.edge.refusal import Refusal, Refused
from cdn.edge.response import ContentStream, Response, Unsent
from cdn.edge.response_head import WITHOUT_CONTENT, encode_head
from cdn.edge.service import Service
from cdn.edge.traffic import HTTP_1_0, HTTP_1_1, Answered
from cdn.edge.visitor import Visitor
from cdn.errors import CdnError, TooLarge, Unavailable
from cdn.http.date import format_date
from cdn.http.fields import FieldLines

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ContentSizeMismatch(CdnError):
    """A response stream gave more or fewer bytes than it had announced; the connection was reset."""


class ContentMissing(CdnError):
    """A response whose content has to be sent came without it."""


class Owner(Protocol):
    """What an exchange asks of its connection."""

    @property
    def says_close(self) -> bool:
        """Whether the head of this response is to say that the connection closes."""
        ...

    @property
    def is_reading_paused(self) -> bool:
        """Whether the client is not read from, because what it sent has no room."""
        ...

    @property
    def is_writing_paused(self) -> bool:
        """Whether more waits for the client than it takes."""
        ...

    def client_address(self, forwarded_for: str | None) -> str:
        """Who asks, given the X-Forwarded-For of the request."""
        ...

    def visitor_part(self, forwarded_for: str | None) -> bytes:
        """What the access log says of who asks, given the X-Forwarded-For of the request."""
        ...

    def refuse(self, refused: Refused, *, is_head: bool = False) -> None:
        """Answer with a refusal, and end."""
        ...

    def linger(self) -> None:
        """End, though more content may come."""
        ...

    def close(self) -> None:
        """End: everything was received and answered."""
        ...

    def abort(self) -> None:
        """Reset."""
        ...

    def go_on(self) -> None:
        """The exchange is over: on to the next message."""
        ...

    def regulate_reading(self) -> None:
        """The room for content has changed."""
        ...

    async def send_file(self, content: bytes | memoryview) -> bool:
        """Send all of a mapped file without copying it; False where `content` has to be written."""
        ...

    async def wait_writable(self) -> None:
        """Return when the client has taken enough of what was written."""
        ...


class Exchange:
    """Runs `answer` in a task, feeds it the content, sends what it returns, then tells its owner how to go on."""

    __slots__ = (
        "_began_at",
        "_cache_status",
        "_closes",
        "_content_bytes",
        "_engine",
        "_first_byte_at",
        "_has_head_sent",
        "_is_discarding",
        "_is_over",
        "_is_told",
        "_message",
        "_must_continue",
        "_owner",
        "_receiving_since",
        "_service",
        "_status",
        "_task",
        "_transport",
        "content",
    )

    def __init__(
        self, owner: Owner, service: Service, engine: H1Engine, transport: asyncio.Transport, message: MessageHead
    ) -> None:
        framing = message.framing
        size_bytes = 0 if framing is None else framing.remaining_bytes if isinstance(framing, FixedLength) else None
        self.content = IncomingContent(size_bytes, self._on_wanted)
        self._owner = owner
        self._service = service
        self._engine = engine
        self._transport = transport
        self._message = message
        self._closes = not message.is_persistent
        self._must_continue = message.expects_continue
        self._receiving_since = self._began_at = service.monotonic()
        self._status = 0
        self._cache_status: str | None = None
        self._content_bytes = 0
        self._first_byte_at: float | None = None
        self._is_told = False
        self._is_discarding = False
        self._has_head_sent = False
        self._is_over = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take the content that is here already; when it is acceptable, ask the application."""
        self.pump()
        if not self._is_over:
            self._service.counters.answered += 1
            self._task = asyncio.get_running_loop().create_task(self._respond())

    # -- content of the request ------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Hand content on, as much as the application may leave unread."""
        if self._is_over:
            return
        max_waiting_bytes = self._service.limits.max_content_buffer_bytes
        while self._engine.state is EngineState.CONTENT and self.content.waiting_bytes < max_waiting_bytes:
            event = self._engine.next_event()
            if isinstance(event, bytes):
                self.content.feed(event)
            elif isinstance(event, MessageEnd):
                self.content.finish()
            elif isinstance(event, Refused):
                self.fail_content(event)
                return
            else:
                break
        if self._is_discarding:
            self._finish()

    def fail_content(self, refused: Refused) -> None:
        """The content will never be whole, and nothing can be said about what follows it."""
        self.content.interrupt(refused.refusal.sentence)
        self._closes = True
        if self._is_discarding:
            self._is_over = True
            self._owner.linger()
        elif not self._has_head_sent and not self._is_over:
            self._is_over = True
            if self._task is not None:
                self._task.cancel()
            self._is_told = True
            self._owner.refuse(refused, is_head=self._message.request.method == "HEAD")

    def end_of_input(self) -> None:
        """The client sends nothing more."""
        if self._engine.state is EngineState.CONTENT:
            refused = self._engine.end_of_input()
            if refused is not None:
                self.fail_content(refused)

    def abandon(self) -> None:
        """The client is gone."""
        self._is_over = True
        if not self.content.is_whole:
            self.content.interrupt("The client closed the connection before the content was whole.")
        self._tell(is_complete=False)
        if self._task is not None:
            self._task.cancel()

    def add_pause(self, pause_s: float) -> None:
        """The client was not read from for so long: that does not count against it."""
        self._receiving_since += pause_s

    def deadline(self) -> float:
        """When (monotonic) the content must be whole."""
        is_waiting = self._engine.state is EngineState.CONTENT and not self.content.is_whole
        if not is_waiting or self._must_continue or self._owner.is_reading_paused:
            return math.inf
        limits = self._service.limits
        transfer_s = self.content.received_bytes / limits.min_transfer_rate_bytes_per_s
        return self._receiving_since + limits.content_timeout_s + transfer_s

    def _on_wanted(self) -> None:
        if self._is_over:
            return
        if self._must_continue:
            self._must_continue = False
            self._receiving_since = self._service.monotonic()
            if self.content.received_bytes == 0 and not self.content.is_whole and not self._has_head_sent:
                self._transport.write(_CONTINUE)
        self.pump()
        self._owner.regulate_reading()

    # -- response --------------------------------------------------------------------------------------------------

    def send_interim(self, status: int, fields: FieldLines) -> None:
        """Send a 1xx response, as Visitor says. Only what a client takes anyway is worth telling it ahead."""
        may_have = self._message.minor == 1 and not self._has_head_sent and not self._is_over
        if may_have and 102 <= status <= 199 and not self._owner.is_writing_paused and not self._transport.is_closing():
            self._transport.write(encode_head(status, fields, None) + b"\r\n")

    async def _respond(self) -> None:
        request = self._message.request
        is_head = request.method == "HEAD"
        visitor = Visitor(self._owner.client_address(request.fields.get("x-forwarded-for")), self.send_interim)
        try:
            response = await self._service.application.answer(request, self.content, visitor)
            await self._send(response, is_head=is_head)
        except TooLarge:
            self._fail(Refused(Refusal.CONTENT_TOO_LARGE), is_head=is_head)
        except Exception as exc:
            # An upstream may break off at any time, and whoever reads from it has told the operator, once in a while.
            is_told = self._has_head_sent and isinstance(exc, Unavailable)
            if not self._is_over and not is_told:  # otherwise it fails because the client is gone or was refused
                log.exception("no answer for %s %s%s", request.method, request.host, request.target.path)
            self._fail(Refused(Refusal.APPLICATION_FAILED), is_head=is_head)
        else:
            self._finish()

    def _fail(self, refused: Refused, *, is_head: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._has_head_sent:
            self._tell(is_complete=False)
            self._owner.abort()  # only a reset tells the client that the content is not whole
        else:
            self._is_told = True
            self._owner.refuse(refused, is_head=is_head)

    async def _send(self, response: Response, *, is_head: bool) -> None:
        content = response.content
        has_content = not is_head and response.status not in WITHOUT_CONTENT
        if isinstance(content, bytes):
            self._send_head(response, len(content), content=content if has_content else b"")
        elif isinstance(content, Unsent):
            if has_content:
                raise ContentMissing(
                    f"The response {response.status} to {self._message.request.method} came without its content."
                )
            self._send_head(response, content.size_bytes)
        else:
            try:
                await self._send_streamed(response, content, has_content=has_content)
            finally:
                await content.aclose()

    async def _send_streamed(self, response: Response, stream: ContentStream, *, has_content: bool) -> None:
        size_bytes = stream.size_bytes
        if not has_content:
            self._send_head(response, size_bytes)
        elif size_bytes is not None:
            self._send_head(response, size_bytes)
            await self._send_sized(stream, size_bytes)
        elif self._message.minor == 1:
            self._send_head(response, None, framing=b"transfer-encoding: chunked\r\n")
            await self._send_chunked(stream)
        else:
            self._closes = True  # the end of the connection is the end of the content (RFC 9112 section 6.3)
            self._send_head(response, None)
            async for part in stream:
                if self._is_gone:
                    return
                self._write(part)
                await self._owner.wait_writable()

    def _write(self, part: bytes | memoryview) -> None:
        self._content_bytes += len(part)
        self._transport.write(part)

    def _send_head(
        self, response: Response, size_bytes: int | None, *, framing: bytes = b"", content: bytes = b""
    ) -> None:
        if self._is_gone:
            return
        head = encode_head(response.status, response.fields, size_bytes)
        self._closes = self._closes or self._owner.says_close or self._has_unwanted_content()
        if not any(name == "date" for name, _ in response.fields):
            head += b"date: %s\r\n" % format_date(self._service.wall()).encode("ascii")
        head += b"%s%s\r\n" % (framing, b"connection: close\r\n" if self._closes else b"")
        self._has_head_sent = True
        self._status = response.status
        self._cache_status = cache_status_of(response.fields)
        self._first_byte_at = self._service.monotonic()
        self._content_bytes += len(content)
        if len(content) <= JOINED_BYTES:
            self._transport.write(head + content)
        else:
            self._transport.writelines((head, content))

    async def _send_sized(self, stream: ContentStream, size_bytes: int) -> None:
        left_bytes = size_bytes
        async for part in stream:
            if self._is_gone:
                return
            left_bytes -= len(part)
            if left_bytes < 0:
                break
            if await self._owner.send_file(part):
                self._content_bytes += len(part)
            elif not self._is_gone:  # it may have left while what was written before made room
                self._write(part)
                await self._owner.wait_writable()
        if left_bytes:
            raise ContentSizeMismatch(
                f"A response stream announced {size_bytes} bytes and gave "
                f"{'more' if left_bytes < 0 else f'{left_bytes} fewer'}; the connection is reset."
            )

    async def _send_chunked(self, stream: ContentStream) -> None:
        async for part in stream:
            if self._is_gone:
                return
            if len(part):
                self._content_bytes += len(part)
                self._transport.writelines(encode_chunk(part))
                await self._owner.wait_writable()
        if not self._is_gone:
            wants_trailers = accepts_trailers(self._message.request.fields)
            self._transport.write(encode_last_chunk(stream.trailers if wants_trailers else ()))

    def _tell(self, *, is_complete: bool) -> None:
        """Count what came of it, and keep it in the access log: once."""
        if self._is_told:
            return
        self._is_told = True
        request = self._message.request
        service = self._service
        answered = Answered(
            request,
            self._status,
            self._content_bytes,
            HTTP_1_1 if self._message.minor else HTTP_1_0,
            self._cache_status,
            self._began_at,
            self._first_byte_at,
            is_complete,
        )
        visitor_part = self._owner.visitor_part(request.fields.get("x-forwarded-for"))
        service.traffic.answered(service.monotonic(), visitor_part, answered)

    @property
    def _is_gone(self) -> bool:
        """Whether nobody is there to write to."""
        return self._is_over or self._transport.is_closing()

    def _has_unwanted_content(self) -> bool:
        """Whether more content may come than is worth throwing away."""
        content = self.content
        if content.is_whole:
            return False
        if self._must_continue:
            return True
        left_bytes = 0 if content.size_bytes is None else content.size_bytes - content.received_bytes
        return left_bytes > self._service.limits.max_drain_bytes

    def _finish(self) -> None:
        """The response is written: go on with the next message once this one is whole, or close."""
        if self._is_over:
            return
        self._tell(is_complete=not self._transport.is_closing())  # nobody else closes it while this is under way
        content = self.content
        if self._closes:
            self._is_over = True
            if content.is_whole:
                self._owner.close()
            else:
                self._owner.linger()
        elif content.is_whole:
            self._is_over = True
            self._owner.go_on()
        elif not self._is_discarding:
            self._is_discarding = True
            content.discard()
            self.pump()
            self._owner.regulate_reading()
        elif content.received_bytes > self._service.limits.max_drain_bytes:
            self._is_over = True
            self._owner.linger()
