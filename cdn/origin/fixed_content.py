"""Content that is at hand, for responses that no upstream sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cdn.http.fields import FieldLines


class FixedContent:
    """An UpstreamContent of bytes in memory."""

    trailers: FieldLines = ()

    def __init__(self, content: bytes = b"") -> None:
        self._content = content
        self.size_bytes: int | None = len(content)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """See UpstreamContent."""
        content, self._content = self._content, b""
        if content:
            yield content

    async def aclose(self) -> None:
        """See UpstreamContent."""
