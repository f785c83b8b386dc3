"""An upstream in memory that answers when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from cdn.http.fields import FieldLines, Fields
from cdn.http.response_head import ResponseHead
from cdn.origin.upstream import (
    Upstream,
    UpstreamBroken,
    UpstreamFault,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeouts,
)
from cdn.sites.origin import BucketOrigin, HttpOrigin

PATIENCE_S = 5.0
"""How long a test waits for something before it is called stuck."""


class ScriptedContent:
    """Content that comes when the test sends it. `taken_bytes` is what has been read of it."""

    def __init__(self, size_bytes: int | None) -> None:
        self.size_bytes = size_bytes
        self.trailers: FieldLines = ()
        self.taken_bytes = 0
        self.is_closed = False
        self._parts: asyncio.Queue[bytes | Exception | FieldLines] = asyncio.Queue()

    def send(self, part: bytes) -> None:
        """The next part."""
        self._parts.put_nowait(part)

    def end(self, trailers: FieldLines = ()) -> None:
        """It is whole."""
        self._parts.put_nowait(trailers)

    def break_off(self, fault: UpstreamFault = UpstreamFault.CLOSED_EARLY) -> None:
        """It ends before it is whole."""
        self._parts.put_nowait(UpstreamBroken(fault, "the upstream closed early"))

    @property
    def waiting(self) -> int:
        """Parts that were sent and not read yet."""
        return self._parts.qsize()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            part = await self._parts.get()
            if isinstance(part, Exception):
                raise part
            if isinstance(part, tuple):
                self.trailers = part
                return
            self.taken_bytes += len(part)
            yield part

    async def aclose(self) -> None:
        self.is_closed = True


class Exchange:
    """One request that has reached the upstream."""

    def __init__(self, request: UpstreamRequest, on_interim: Callable[[ResponseHead], None]) -> None:
        self.request = request
        self.fields = Fields(request.fields)
        self.on_interim = on_interim
        self.content: ScriptedContent | None = None
        self.is_cancelled = False
        self._answer: asyncio.Future[UpstreamResponse] = asyncio.get_running_loop().create_future()

    def head(self, status: int = 200, *lines: tuple[str, str], size_bytes: int | None = None) -> ScriptedContent:
        """Only the head of an answer; the content is the test's to send."""
        content = self.content = ScriptedContent(size_bytes)
        if size_bytes is not None:
            lines = (*lines, ("content-length", str(size_bytes)))
        self._answer.set_result(UpstreamResponse(ResponseHead(status, Fields(lines)), content))
        return content

    def answer(self, status: int = 200, *lines: tuple[str, str], content: bytes = b"") -> None:
        """A whole answer."""
        coming = self.head(status, *lines, size_bytes=len(content))
        if content:
            coming.send(content)
        coming.end()

    def fail(self, fault: UpstreamFault = UpstreamFault.CONNECT_REFUSED) -> None:
        """No answer."""
        self._answer.set_exception(UpstreamBroken(fault, f"scripted: {fault.value}"))

    async def answered(self) -> UpstreamResponse:
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise


class ScriptedUpstream:
    """Both the upstream of every site and the place where upstreams come from."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._next = 0
        self._arrived = asyncio.Event()

    def of(self, origin: HttpOrigin | BucketOrigin, timeouts: UpstreamTimeouts) -> Upstream:
        return self

    async def aclose(self) -> None:
        pass

    async def send(self, request: UpstreamRequest, on_interim: Callable[[ResponseHead], None]) -> UpstreamResponse:
        exchange = Exchange(request, on_interim)
        self.exchanges.append(exchange)
        self._arrived.set()
        return await exchange.answered()

    async def next(self) -> Exchange:
        """The next request, waiting for it."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.exchanges) == self._next:
                self._arrived.clear()
                await self._arrived.wait()
        self._next += 1
        return self.exchanges[self._next - 1]

    @property
    def unseen(self) -> int:
        """Requests that came and that no test has looked at."""
        return len(self.exchanges) - self._next
