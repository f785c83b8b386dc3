"""From the field list of one HTTP/2 request to a judged request (RFC 9113 sections 8.2 and 8.3)."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.edge.h2_events import HeaderList
from cdn.edge.head_parser import MessageHead
from cdn.edge.limits import HttpLimits
from cdn.edge.refusal import Refused


@dataclass(frozen=True, slots=True)
class MalformedRequest:
    """Not a request at all (RFC 9113 section 8.1.1): the stream is reset with PROTOCOL_ERROR. `reason` is for logs."""

    reason: str


class RequestReader:
    """Judges field lists; one serves all connections of a listener and holds nothing of a request but memos.

    What HTTP/1.1 refuses is refused here with the same words. What only HTTP/2 forbids is a MalformedRequest.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits

    def read(self, fields: HeaderList, is_end: bool, scheme: str) -> MessageHead | Refused | MalformedRequest:
        """Judge `fields`; `scheme` is the connection's ("http" or "https").

        The request's fields are those of the same request by HTTP/1.1: `host` first, cookies joined. `framing` is None
        when no content follows, FixedLength when its size is announced, else Chunked: the end is told when it comes.
        """
        raise NotImplementedError


class ArrivingContent:
    """Counts the content of one request against what was announced (RFC 9113 section 8.1.1) and what is allowed."""

    __slots__ = ("_left_bytes", "_max_bytes")

    def __init__(self, message: MessageHead, limits: HttpLimits) -> None:
        self._left_bytes: int | None = None
        self._max_bytes = limits.max_content_bytes

    def add(self, size_bytes: int) -> MalformedRequest | Refused | None:
        """So much content came: None when that may be."""
        raise NotImplementedError

    def end(self) -> MalformedRequest | None:
        """The request has ended: None when its content is whole."""
        raise NotImplementedError
