"""One HTTP/2 request that the application answers: its content comes in while its response goes out."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol, assert_never

from cdn.edge.chunked_coding import accepts_trailers
from cdn.edge.content_framing import FixedLength
from cdn.edge.exchange import ContentMissing, ContentSizeMismatch
from cdn.edge.h2_engine import H2Engine
from cdn.edge.h2_events import ErrorCode
from cdn.edge.h2_request import ArrivingContent
from cdn.edge.h2_response import interim_block, response_block, trailers_block
from cdn.edge.h2_section import MalformedRequest
from cdn.edge.head_parser import MessageHead
from cdn.edge.incoming_content import IncomingContent
from cdn.edge.outcome import cache_status_of
from cdn.edge.refusal import Refusal, Refused
from cdn.edge.response import ContentStream, Response, Unsent
from cdn.edge.response_head import WITHOUT_CONTENT
from cdn.edge.service import Service
from cdn.edge.traffic import HTTP_2, Answered
from cdn.edge.visitor import Visitor
from cdn.errors import TooLarge, Unavailable
from cdn.http.fields import FieldLines

log = logging.getLogger(__name__)


class StreamOwner(Protocol):
    """What an exchange asks of its connection."""

    @property
    def is_gone(self) -> bool:
        """Whether nobody is there to write to."""
        ...

    @property
    def is_writing_paused(self) -> bool:
        """Whether more waits for the client than it takes."""
        ...

    def client_address(self, forwarded_for: str | None) -> str:
        """Who asks, given the X-Forwarded-For of the request."""
        ...

    def send_soon(self) -> None:
        """The engine was given something to send."""
        ...

    def refuse(self, stream_id: int, refused: Refused, *, is_head: bool, unread: Unread | None) -> None:
        """Answer with a refusal: the exchange is over. `unread` as for `answered`."""
        ...

    def answered(self, stream_id: int, unread: Unread | None) -> None:
        """The whole response is in the engine: the exchange is over. `unread`: of its request not all has come."""
        ...

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End the stream without, or in the middle of, its response: the exchange is over."""
        ...

    def tell(self, answered: Answered, now: float) -> None:
        """What is to be said of an answer, whole or not."""
        ...


@dataclass(slots=True)
class Unread:
    """Content that still comes though its request was answered: thrown away up to `left_bytes`, and until then
    (monotonic). Who sends more is told to stop (RFC 9113 section 8.1)."""

    left_bytes: int
    until: float


class StreamExchange:
    """Runs `answer` in a task, feeds it the content, hands what it returns to the engine, then tells its owner."""

    __slots__ = (
        "_arriving",
        "_began_at",
        "_cache_status",
        "_checked_at",
        "_engine",
        "_first_byte_at",
        "_has_head_sent",
        "_held_bytes",
        "_is_over",
        "_message",
        "_must_continue",
        "_owner",
        "_receiving_since",
        "_room",
        "_sent_bytes",
        "_service",
        "_status",
        "_stream_id",
        "_task",
        "content",
    )

    def __init__(  # noqa: PLR0917 - what there is to know of one request
        self,
        owner: StreamOwner,
        service: Service,
        engine: H2Engine,
        stream_id: int,
        message: MessageHead,
        is_whole: bool,
    ) -> None:
        framing = message.framing
        size_bytes = 0 if is_whole else framing.remaining_bytes if isinstance(framing, FixedLength) else None
        self.content = IncomingContent(size_bytes, self._on_wanted)
        self._arriving = None if is_whole else ArrivingContent(message, service.limits)
        self._owner = owner
        self._service = service
        self._engine = engine
        self._stream_id = stream_id
        self._message = message
        self._must_continue = message.expects_continue
        self._began_at = self._receiving_since = self._checked_at = service.monotonic()
        self._first_byte_at: float | None = None
        self._status = 0
        self._sent_bytes = 0
        self._cache_status: str | None = None
        self._held_bytes = 0
        self._has_head_sent = False
        self._is_over = False
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask the application."""
        self._service.counters.answered += 1
        self._task = asyncio.get_running_loop().create_task(self._respond())

    # -- content of the request ------------------------------------------------------------------------------------

    @property
    def is_received(self) -> bool:
        """Whether the client has ended the request."""
        return self._arriving is None

    def receive(self, part: bytes, flow_bytes: int) -> None:
        """Content came; `flow_bytes` is what it took of the windows, which is given back as the application reads."""
        self._held_bytes += flow_bytes
        fault = None if self._arriving is None else self._arriving.add(len(part))
        match fault:
            case None:
                if part:
                    self.content.feed(part)
                self._give_back()
            case Refused():
                self.fail_content(fault)
            case MalformedRequest():
                self._break_off(fault)
            case _:
                assert_never(fault)

    def end_content(self) -> None:
        """The client has ended the request."""
        fault = None if self._arriving is None else self._arriving.end()
        if fault is not None:
            self._break_off(fault)
            return
        self._arriving = None
        self.content.finish()

    def fail_content(self, refused: Refused) -> None:
        """The content will never be whole."""
        self.content.interrupt(refused.refusal.sentence)
        if not self._has_head_sent and not self._is_over:
            self._end()
            is_head = self._message.request.method == "HEAD"
            self._owner.refuse(self._stream_id, refused, is_head=is_head, unread=Unread(0, 0.0))

    def abandon(self) -> None:
        """The stream is gone."""
        if not self.content.is_whole:
            self.content.interrupt("The client ended the request before its content was whole.")
        if not self._is_over:
            self._tell(is_complete=False)
        self._end()

    def unread(self) -> Unread | None:
        """What of the content still comes; None when all of it is here."""
        content, limits = self.content, self._service.limits
        if self._arriving is None:
            return None
        left_bytes = 0 if content.size_bytes is None else content.size_bytes - content.received_bytes
        content.discard()
        self._give_back()
        is_worth_it = not self._must_continue and left_bytes <= limits.max_drain_bytes
        return Unread(limits.max_drain_bytes if is_worth_it else 0, self._service.monotonic() + limits.linger_s)

    def is_late(self, now: float, *, is_paused: bool) -> bool:
        """Whether the content should be whole at `now`. To be asked regularly: the time in which the client may not
        send, because what it sent is not read, does not count against it."""
        passed_s, self._checked_at = now - self._checked_at, now
        if self._is_over or self._arriving is None:
            return False
        limits = self._service.limits
        if is_paused or self._must_continue or self._engine.is_held_up(self._stream_id):
            self._receiving_since += passed_s
        transfer_s = self.content.received_bytes / limits.min_transfer_rate_bytes_per_s
        return now >= self._receiving_since + limits.content_timeout_s + transfer_s

    def _break_off(self, malformed: MalformedRequest) -> None:
        """A stream error (RFC 9113 section 8.1.1)."""
        self.content.interrupt(malformed.reason)
        if not self._is_over:
            self._tell(is_complete=False)
            self._end()
            self._owner.reset(self._stream_id, ErrorCode.PROTOCOL_ERROR)

    def _end(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def _on_wanted(self) -> None:
        if self._is_over:
            return
        if self._must_continue:
            self._must_continue = False
            self._receiving_since = self._service.monotonic()
            if self.content.received_bytes == 0 and not self.content.is_whole and not self._has_head_sent:
                self._engine.send_interim(self._stream_id, interim_block(100, ()))
                self._owner.send_soon()
        self._give_back()

    def _give_back(self) -> None:
        """The windows grow by what is not held here any more."""
        waiting_bytes = self.content.waiting_bytes
        given_bytes = self._held_bytes - waiting_bytes
        if given_bytes > 0:
            self._held_bytes = waiting_bytes
            self._engine.consumed(self._stream_id, given_bytes)
            self._owner.send_soon()

    # -- response --------------------------------------------------------------------------------------------------

    def find_room(self) -> None:
        """The engine may have room again."""
        if self._room is not None and not self._room.done() and self._engine.may_send(self._stream_id):
            self._room.set_result(None)

    def send_interim(self, status: int, fields: FieldLines) -> None:
        """Send a 1xx response, as Visitor says. Only what a client takes anyway is worth telling it ahead."""
        may_have = not self._has_head_sent and not self._is_gone
        if may_have and 102 <= status <= 199 and not self._owner.is_writing_paused:
            self._engine.send_interim(self._stream_id, interim_block(status, fields))
            self._owner.send_soon()

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
            if not self._is_over:
                self._is_over = True
                self._tell(is_complete=not self._owner.is_gone)
                self._owner.answered(self._stream_id, self.unread())

    def _fail(self, refused: Refused, *, is_head: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._has_head_sent:
            self._tell(is_complete=False)
            self._owner.reset(self._stream_id, ErrorCode.INTERNAL_ERROR)  # the client sees that it is not whole
        else:
            self._owner.refuse(self._stream_id, refused, is_head=is_head, unread=self.unread())

    def _tell(self, *, is_complete: bool) -> None:
        now = self._service.monotonic()
        answered = Answered(
            self._message.request,
            self._status,
            self._sent_bytes,
            HTTP_2,
            self._cache_status,
            self._began_at,
            self._first_byte_at,
            is_complete,
        )
        self._owner.tell(answered, now)

    async def _send(self, response: Response, *, is_head: bool) -> None:
        content = response.content
        has_content = not is_head and response.status not in WITHOUT_CONTENT
        if isinstance(content, bytes):
            block = self._block(response, len(content))
            self._note_head(response)
            sent = content if has_content else b""
            self._sent_bytes = len(sent)
            self._engine.respond(self._stream_id, block, sent)
            self._owner.send_soon()
        elif isinstance(content, Unsent):
            if has_content:
                raise ContentMissing(
                    f"The response {response.status} to {self._message.request.method} came without its content."
                )
            self._send_head(response, content.size_bytes, is_end=True)
        else:
            try:
                await self._send_streamed(response, content, has_content=has_content)
            finally:
                await content.aclose()

    async def _send_streamed(self, response: Response, stream: ContentStream, *, has_content: bool) -> None:
        size_bytes = stream.size_bytes
        if not has_content or size_bytes == 0:
            self._send_head(response, size_bytes, is_end=True)
            return
        self._send_head(response, size_bytes, is_end=False)
        left_bytes = size_bytes
        async for part in stream:
            if self._is_gone:
                return
            if left_bytes is not None:
                left_bytes -= len(part)
                if left_bytes < 0:
                    break
            if len(part):
                await self._send_part(part, is_end=left_bytes == 0)
        if left_bytes:
            raise ContentSizeMismatch(
                f"A response stream announced {size_bytes} bytes and gave "
                f"{'more' if left_bytes < 0 else f'{left_bytes} fewer'}; the stream is reset."
            )
        if left_bytes is None and not self._is_gone:
            self._send_end(stream)

    def _send_end(self, stream: ContentStream) -> None:
        """The end of content that had no announced length, with the trailer fields that the client wants."""
        trailers = trailers_block(stream.trailers) if accepts_trailers(self._message.request.fields) else b""
        if trailers:
            self._engine.send_trailers(self._stream_id, trailers)
        else:
            self._engine.send_content(self._stream_id, b"", is_end=True)
        self._owner.send_soon()

    def _block(self, response: Response, size_bytes: int | None) -> bytes:
        return response_block(response.status, response.fields, size_bytes, wall_now=self._service.wall())

    def _send_head(self, response: Response, size_bytes: int | None, *, is_end: bool) -> None:
        block = self._block(response, size_bytes)
        if not self._is_gone:
            self._note_head(response)
            self._engine.send_head(self._stream_id, block, is_end=is_end)
            self._owner.send_soon()

    def _note_head(self, response: Response) -> None:
        self._has_head_sent = True
        self._status = response.status
        self._cache_status = cache_status_of(response.fields)
        self._first_byte_at = self._service.monotonic()

    async def _send_part(self, part: bytes | memoryview, *, is_end: bool) -> None:
        self._engine.send_content(self._stream_id, part, is_end=is_end)
        self._sent_bytes += len(part)
        self._owner.send_soon()
        if not is_end and not self._engine.may_send(self._stream_id):
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    @property
    def _is_gone(self) -> bool:
        """Whether nobody is there to write to."""
        return self._is_over or self._owner.is_gone
