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
    def size_bytes(self) -> int:
        """How many bytes the iteration gives in all: sent as Content-Length."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes | memoryview]: ...

    async def aclose(self) -> None:
        """Release what the stream holds (a mapped file, a fetch)."""
        ...


@dataclass(frozen=True, slots=True)
class Response:
    """One final response (RFC 9110 section 15).

    `fields` has no Content-Length, Date, Connection or Transfer-Encoding: the engine adds those that apply.
    For HEAD give the same content as for GET: the engine sends its length only. For 304 the content is not sent and
    no length either.
    """

    status: int
    fields: FieldLines
    content: bytes | ContentStream = b""
