"""The content of one request between the engine that receives it and the application that reads it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from cdn.edge.request_content import ContentInterrupted


class IncomingContent:
    """A RequestContent that a connection feeds.

    `on_wanted` is called when the application first waits for content, and again whenever it has taken a part: the
    connection then sends 100 (Continue), and reads on. The bound is the connection's: it stops feeding while
    `waiting_bytes` is high.
    """

    def __init__(self, size_bytes: int | None, on_wanted: Callable[[], None]) -> None:
        self._size_bytes = size_bytes
        self._on_wanted = on_wanted
        self._parts: deque[bytes] = deque()
        self._is_whole = size_bytes == 0
        self._is_discarding = False
        self._failure: str | None = None
        self._arrival: asyncio.Future[None] | None = None
        self.waiting_bytes = 0
        self.received_bytes = 0

    @property
    def size_bytes(self) -> int | None:
        """The announced size; None when it is chunked. 0 when there is no content."""
        return self._size_bytes

    @property
    def is_whole(self) -> bool:
        """Whether all of it was received."""
        return self._is_whole

    def feed(self, part: bytes) -> None:
        """The next part arrived."""
        self.received_bytes += len(part)
        if not self._is_discarding:
            self._parts.append(part)
            self.waiting_bytes += len(part)
            self._wake()

    def finish(self) -> None:
        """It is whole."""
        self._is_whole = True
        self._wake()

    def interrupt(self, why: str) -> None:
        """It will never be whole; reading it raises ContentInterrupted with that sentence."""
        self._failure = why
        self._wake()

    def discard(self) -> None:
        """Nobody reads it any more: forget what waits and what comes."""
        self._is_discarding = True
        self._parts.clear()
        self.waiting_bytes = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._parts:
                part = self._parts.popleft()
                self.waiting_bytes -= len(part)
                self._on_wanted()
                yield part
            if self._failure is not None:
                raise ContentInterrupted(self._failure)
            if self._is_whole:
                return
            self._arrival = asyncio.get_running_loop().create_future()
            self._on_wanted()
            await self._arrival

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
