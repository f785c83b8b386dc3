"""What an application answers with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from cdn.http.fields import FieldLines


class ContentStream(Protocol):
    """Content that is produced while it is sent. Iterated once, at most.

    The engine calls `aclose` exactly once, whether the stream was iterated to its end, in part or not at all (HEAD).
    An exception while iterating resets the connection, so that the client sees that the content is not whole.
    """

    @property
    def size_bytes(self) -> int | None:
        """How many bytes the iteration gives in all: sent as Content-Length.

        None when nobody knows: sent chunked, or ended by the end of the connection where the client speaks HTTP/1.0.
        """
        ...

    @property
    def trailers(self) -> FieldLines:
        """Trailer fields (RFC 9110 section 6.5), read after the last part.

        Sent only with content of unknown size, and only to clients that said `TE: trailers`; else dropped.
        """
        ...

    def __aiter__(self) -> AsyncIterator[bytes | memoryview]: ...

    async def aclose(self) -> None:
        """Release what the stream holds (a mapped file, a fetch)."""
        ...


@dataclass(frozen=True, slots=True)
class Unsent:
    """Content that is not sent and need not be at hand: of a response to HEAD, or of a 304.

    `size_bytes` is what GET would send; None when nobody knows: then there is no Content-Length.
    """

    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Response:
    """One final response (RFC 9110 section 15).

    `fields` has no Content-Length, Connection or Transfer-Encoding: the engine adds those that apply, and Date unless
    there is one. For HEAD give the same content as for GET, or Unsent: the engine sends its length only. For 304 the
    content is not sent and no length either.
    """

    status: int
    fields: FieldLines
    content: bytes | ContentStream | Unsent = b""
