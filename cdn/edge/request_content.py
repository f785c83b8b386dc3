"""The content of one request, offered to the application as it arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from cdn.errors import CdnError


class ContentInterrupted(CdnError):
    """The content ended before it was whole: the client went away, was too slow, or broke the framing."""


class RequestContent(Protocol):
    """Bounded: at most `HttpLimits.max_content_buffer_bytes` wait here, then the connection is not read from.

    Reading it is optional. What nobody reads is thrown away, or the connection is closed after the response.
    """

    @property
    def size_bytes(self) -> int | None:
        """The announced size; None when it is chunked. 0 when there is no content."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The parts that were not read yet. Raises ContentInterrupted."""
        ...
