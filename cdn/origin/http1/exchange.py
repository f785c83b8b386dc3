"""One request and its response on a connection, content streaming both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from cdn.http.fields import FieldLines
from cdn.http.response_head import ResponseHead
from cdn.origin.http1.connection import UpstreamConnection
from cdn.origin.http1.engine import PART_BYTES, Event, MessageEnd
from cdn.origin.http1.framing import Broken, FixedLength
from cdn.origin.http1.response_head import MessageHead
from cdn.origin.upstream import UpstreamBroken, UpstreamFault, UpstreamRequest, UpstreamResponse

Release = Callable[[bool], None]
"""Takes a connection back; True when another request may be sent on it."""


class Exchange:
    """The content of the response (UpstreamContent), and the request content that may still be on its way.

    Whatever ends it gives the connection to `release`, once. While request content is being sent the upstream has all
    the time that takes; from then on every silence is bounded by `read_s`.
    """

    def __init__(self, connection: UpstreamConnection, read_s: float, release: Release) -> None:
        self._connection = connection
        self._read_s = read_s
        self._release = release
        self._sender: asyncio.Task[bool] | None = None
        self._is_released = False
        self._failure: Exception | None = None
        self._has_head = False
        self._has_more = False
        self._silent_since = 0.0
        self.trailers: FieldLines = ()
        self.size_bytes: int | None = 0

    async def open(
        self, head: bytes, request: UpstreamRequest, on_interim: Callable[[ResponseHead], None]
    ) -> UpstreamResponse:
        """Send the request, whose head in bytes is `head`, and wait for the head of its final response.

        Raises UpstreamBroken, and whatever the request's content raises; the connection is released then, as it is when
        this is cancelled.
        """
        try:
            self._connection.engine.start(request.method)
            self._connection.write(head)
            self._start_silence()
            if request.content is not None:
                self._sender = asyncio.create_task(self._send(request.content, request.content_size_bytes))
                self._sender.add_done_callback(self._sent)
            message = await self._final_head(on_interim)
        except BaseException:
            await self._close(is_reusable=False)
            raise
        self._has_head = True
        match message.framing:
            case None:
                await self._end(self._connection.next_event())
            case FixedLength(remaining_bytes=size_bytes):
                self.size_bytes = size_bytes
            case _:
                self.size_bytes = None
        return UpstreamResponse(message.head, self)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """See UpstreamContent."""
        return self

    async def __anext__(self) -> bytes:
        """The next part. Raises StopAsyncIteration when the content is whole, else as `open` does; when cancelled, the
        connection is closed."""
        if self._failure is not None:
            raise self._failure
        if self._is_released:
            raise StopAsyncIteration
        self._start_silence()
        try:
            if self._has_more:
                await asyncio.sleep(0)
            event = await self._next_event()
        except BaseException as exc:
            self._failure = exc if isinstance(exc, Exception) else self._given_up()
            await self._close(is_reusable=False)
            raise
        if isinstance(event, bytes):
            # Of many tiny chunks there is work left in what has arrived already: it is not done all at once.
            self._has_more = len(event) < PART_BYTES and bool(self._connection.engine.buffer)
            return event
        await self._end(event)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """See UpstreamContent."""
        if not self._is_released:
            await self._end(self._connection.next_event())

    def _start_silence(self) -> None:
        self._silent_since = asyncio.get_running_loop().time()

    async def _final_head(self, on_interim: Callable[[ResponseHead], None]) -> MessageHead:
        while True:
            event = await self._next_event()
            assert isinstance(event, MessageHead)
            if not event.is_interim:
                return event
            on_interim(event.head)
            self._start_silence()

    async def _next_event(self) -> MessageHead | bytes | MessageEnd:
        connection = self._connection
        while True:
            event = connection.next_event()
            if isinstance(event, Broken):
                raise UpstreamBroken(
                    event.fault, f"The answer of the upstream {connection.peer} cannot be used: {event.text}."
                )
            if event is not None:
                return event
            if self._sender is not None and self._sender.done():
                self._judge(self._sender)
            deadline = None if self._is_sending else self._silent_since + self._read_s
            try:
                await connection.wait(deadline)
            except TimeoutError as exc:
                raise UpstreamBroken(
                    UpstreamFault.READ_TIMEOUT, f"The upstream {connection.peer} was silent for {self._read_s:g} s."
                ) from exc

    @property
    def _is_sending(self) -> bool:
        return self._sender is not None and not self._sender.done()

    def _judge(self, sender: asyncio.Task[bool]) -> None:
        """Raise what went wrong with the request content, unless the upstream may have answered without reading it."""
        fault = sender.exception()
        if fault is not None and not (self._has_head and isinstance(fault, UpstreamBroken)):
            raise fault

    async def _send(self, content: AsyncIterator[bytes], size_bytes: int | None) -> bool:
        """Send all request content; False when the connection was lost, which whoever reads from it will see."""
        connection = self._connection
        sent_bytes = 0
        async for part in content:
            sent_bytes += len(part)
            if size_bytes is not None and sent_bytes > size_bytes:
                break
            if part:
                connection.write(part if size_bytes is not None else b"%x\r\n%b\r\n" % (len(part), part))
            if not await connection.drain(self._read_s):
                return False
        if size_bytes is None:
            connection.write(b"0\r\n\r\n")
        elif sent_bytes != size_bytes:
            raise UpstreamBroken(
                UpstreamFault.BAD_REQUEST,
                f"The content of a request has not the {size_bytes} bytes that were announced.",
            )
        return True

    def _sent(self, sender: asyncio.Task[bool]) -> None:
        if not sender.cancelled():
            sender.exception()  # seen here, so that it is not logged when the response makes it meaningless
        self._start_silence()
        self._connection.wake()

    async def _end(self, event: Event | None) -> None:
        if isinstance(event, MessageEnd):
            self.trailers = event.trailers
            await self._close(is_reusable=self._connection.engine.may_start)
        else:
            self._failure = self._given_up()
            await self._close(is_reusable=False)

    def _given_up(self) -> UpstreamBroken:
        return UpstreamBroken(
            UpstreamFault.CLOSED_EARLY, f"The content from {self._connection.peer} was closed here before its end."
        )

    async def _close(self, *, is_reusable: bool) -> None:
        if self._is_released:
            return
        self._is_released = True
        sender = self._sender
        self._release(is_reusable and (sender is None or _is_whole(sender)))
        if sender is not None and not sender.done():
            sender.cancel()
            await asyncio.wait({sender})


def _is_whole(sender: asyncio.Task[bool]) -> bool:
    return sender.done() and not sender.cancelled() and sender.exception() is None and sender.result()
