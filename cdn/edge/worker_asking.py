"""One connection to the node, seen from a worker: a request is asked about, answered, and the next may be."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, assert_never

from cdn.edge.request_content import ContentInterrupted, RequestContent
from cdn.edge.visitor import Visitor
from cdn.edge.worker_ask import (
    Ask,
    ContentBroken,
    ContentEnd,
    End,
    Failed,
    Failure,
    FinalHead,
    Interim,
    Lent,
    NotSent,
    Ready,
    Streamed,
    Taken,
    Want,
    Whole,
    decode_from_node,
    encode,
)
from cdn.edge.worker_channel import Channel
from cdn.edge.worker_files import LentFiles
from cdn.edge.worker_frames import FrameFault
from cdn.errors import TooLarge, Unavailable
from cdn.http.fields import FieldLines

MAX_LENT: Final = 2
"""Parts of files that wait to be sent: the next is there when one is."""

MAX_WAITING_BYTES: Final = 256 * 1024
"""Content of a response that came and was not taken yet; beyond, the connection is not read from."""


class NodeGone(Unavailable):
    """The connection to the node ended before the answer was whole."""


class Asking:
    """One connection. `on_gone` is called when it has ended.

    Whoever asks calls `let_go` when the answer was used, or is not wanted any more.
    """

    def __init__(self, on_gone: Callable[[Asking], None], files: LentFiles | None = None) -> None:
        self._on_gone = on_gone
        self._files = files or LentFiles()
        self._visitor: Visitor | None = None
        self._sent: RequestContent | None = None
        self._head: asyncio.Future[FinalHead] | None = None
        self._uploading: asyncio.Task[None] | None = None
        self._granted_bytes = 0
        self._grant: asyncio.Event = asyncio.Event()
        self._stream: NodeStream | None = None
        self._is_answered = False
        self.channel = Channel(self)

    @property
    def is_reusable(self) -> bool:
        """Whether another request may be asked about: the one before it is over, and nothing of it can still come."""
        is_sent = self._uploading is None or self._uploading.done()
        return self._is_answered and is_sent and not self.channel.is_gone

    async def ask(self, ask: Ask, content: RequestContent, visitor: Visitor) -> FinalHead:
        """The head of the response, or all of it. After Streamed, `stream` has the content.

        Raises what the node's application raised: TooLarge, ContentInterrupted, Unavailable; NodeGone.
        """
        self._is_answered = False
        self._visitor, self._sent = visitor, content
        self._uploading, self._granted_bytes = None, 0
        self._head = asyncio.get_running_loop().create_future()
        if self.channel.is_gone:
            raise _gone()
        self.channel.send_message(encode(ask))
        return await self._head

    def stream(self, streamed: Streamed) -> NodeStream:
        """The content that follows its head."""
        assert self._stream is not None, "the head of streamed content has come"
        self._stream.size_bytes = streamed.size_bytes
        return self._stream

    def let_go(self) -> bool:
        """Nobody wants anything more of this exchange; whether the connection may carry another."""
        if self._uploading is not None and not self._uploading.done():
            self._uploading.cancel()
        is_reusable = self.is_reusable
        self._visitor = self._sent = self._head = self._stream = None
        if not is_reusable:
            self.channel.abort()
        return is_reusable

    # Receiver

    def message_came(self, raw: bytes) -> None:
        """The node said something."""
        message = decode_from_node(raw)
        match message:
            case Interim(status, fields):
                if self._visitor is not None:
                    self._visitor.send_interim(status, fields)
            case Want(size_bytes):
                self._wanted(size_bytes)
            case Ready() | Whole() | NotSent():
                self._is_answered = True
                self._answer(message)
            case Streamed():
                if not self._is_unwanted:
                    self._stream = NodeStream(self, message.size_bytes)
                self._answer(message)
            case Lent():
                self._lent(message)
            case End(trailers):
                self._is_answered = True
                if self._stream is not None:
                    self._stream.finish(trailers)
            case Failed():
                self._is_answered = True
                self._fail(_raised(message))
            case _:
                assert_never(message)

    def _lent(self, lent: Lent) -> None:
        """Take the content of a file; the node sends it when the file has gone since."""
        if self._is_unwanted:
            return
        if self._stream is None:
            raise FrameFault("content was lent to nobody")
        part = self._files.part(lent.path, lent.size_bytes, lent.start, lent.stop)
        if part is None:
            self.channel.send_message(encode(Taken(is_there=False)))
        else:
            self._stream.feed_lent(part)

    def content_came(self, part: bytes) -> None:
        """Content of the response."""
        if self._stream is not None:
            self._stream.feed(part)

    def gone(self) -> None:
        """The node has gone, or this side has let go."""
        self._fail(_gone())
        if self._uploading is not None:
            self._uploading.cancel()
        self._on_gone(self)

    @property
    def _is_unwanted(self) -> bool:
        """Whether the visitor has gone while the head was waited for: who asked lets go in the same turn of the loop,
        but the answer may be faster."""
        return self._head is not None and self._head.cancelled()

    def _answer(self, head: FinalHead) -> None:
        if self._is_unwanted:
            return
        if self._head is None or self._head.done():
            raise FrameFault("an answer came though nobody had asked")
        self._head.set_result(head)

    def _fail(self, exc: Exception) -> None:
        if self._head is not None and not self._head.done():
            self._head.set_exception(exc)
        elif self._stream is not None:
            self._stream.fail(exc)

    # Content of the request

    def _wanted(self, size_bytes: int) -> None:
        self._granted_bytes += size_bytes
        self._grant.set()
        if self._uploading is None and self._sent is not None:
            self._uploading = asyncio.get_running_loop().create_task(self._upload(self._sent))

    async def _upload(self, content: RequestContent) -> None:
        """Send content as the node wants it; it leaves here only when there is room for it there."""
        try:
            async for part in content:
                rest = memoryview(part)
                while rest:
                    while not self._granted_bytes:
                        self._grant.clear()
                        await self._grant.wait()
                    now = rest[: self._granted_bytes]
                    self._granted_bytes -= len(now)
                    self.channel.send_content(now)
                    rest = rest[len(now) :]
        except ContentInterrupted as exc:
            self.channel.send_message(encode(ContentBroken(exc.message)))
        else:
            self.channel.send_message(encode(ContentEnd()))


class NodeStream:
    """A ContentStream that the node sends."""

    def __init__(self, asking: Asking, size_bytes: int | None) -> None:
        self.size_bytes = size_bytes
        self.trailers: FieldLines = ()
        self.on_closed: Callable[[], None] = lambda: None
        self._channel = asking.channel
        self._parts: deque[bytes | memoryview] = deque()
        self._owes_taken = False
        self._waiting_bytes = 0
        self._is_paused = False
        self._is_whole = False
        self._failure: Exception | None = None
        self._arrival: asyncio.Future[None] | None = None

    def feed(self, part: bytes) -> None:
        """The next part arrived."""
        self._parts.append(part)
        self._waiting_bytes += len(part)
        if self._waiting_bytes >= MAX_WAITING_BYTES and not self._is_paused:
            self._is_paused = True
            self._channel.pause_reading()
        self._wake()

    def feed_lent(self, part: memoryview) -> None:
        """The next part lies in a file. Another may come while this one waits, and no more."""
        self._parts.append(part)
        if len(self._parts) < MAX_LENT:
            self._channel.send_message(encode(Taken(is_there=True)))
        else:
            self._owes_taken = True
        self._wake()

    def finish(self, trailers: FieldLines) -> None:
        """It is whole."""
        self.trailers = trailers
        self._is_whole = True
        self._wake()

    def fail(self, exc: Exception) -> None:
        """It will never be whole, unless it is already."""
        self._failure = exc
        self._wake()

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        while True:
            while self._parts:
                part = self._parts.popleft()
                if self._owes_taken:
                    self._owes_taken = False
                    self._channel.send_message(encode(Taken(is_there=True)))
                if isinstance(part, bytes):
                    self._waiting_bytes -= len(part)
                if self._is_paused and self._waiting_bytes * 2 <= MAX_WAITING_BYTES:
                    self._is_paused = False
                    self._channel.resume_reading()
                yield part
            if self._is_whole:
                return
            if self._failure is not None:
                raise self._failure
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival

    async def aclose(self) -> None:
        """Nobody reads it any more."""
        if self._is_paused:
            self._channel.resume_reading()
        self.on_closed()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


def _gone() -> NodeGone:
    return NodeGone("The node ended the connection before the answer was whole; it is restarting, or has failed.")


def _raised(failed: Failed) -> Exception:
    match failed.failure:
        case Failure.TOO_LARGE:
            return TooLarge(failed.sentence, field="content")
        case Failure.INTERRUPTED:
            return ContentInterrupted(failed.sentence)
        case Failure.UNAVAILABLE:
            return Unavailable(failed.sentence)
        case _:
            assert_never(failed.failure)
