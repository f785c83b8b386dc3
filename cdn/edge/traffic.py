"""What is counted, and kept in the access log, of every answer.

One of it for each process, shared by its listeners. Connections call `hit` for what memory answers, `answered` for
everything else that a request got, and `refused` for what was never a request.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdn.edge.outcome import Outcome
from cdn.edge.refusal import Refused
from cdn.http.request import Request

HTTP_1_0 = "HTTP/1.0"
HTTP_1_1 = "HTTP/1.1"
HTTP_2 = "HTTP/2"
PROTOCOLS = (HTTP_1_0, HTTP_1_1, HTTP_2)
"""What `protocol` may be, below."""


class Tally:
    """Plain integers, raised in place: answers of one protocol, class of status and outcome."""

    __slots__ = ("content_bytes", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.content_bytes = 0


class Told:
    """What is said of a hit each time it is sent: kept by the head memo beside its Prepared, some 500 bytes.

    `size_bytes` is the content that is sent: 0 for HEAD. `forwarded_for` is the request's X-Forwarded-For: where a
    service has `forwarders`, what the log says of the visitor depends on it. `line` is empty without a log.
    """

    __slots__ = ("forwarded_for", "line", "size_bytes", "tally")

    def __init__(self, line: bytes, tally: Tally, size_bytes: int, forwarded_for: str | None) -> None:
        self.line = line
        self.tally = tally
        self.size_bytes = size_bytes
        self.forwarded_for = forwarded_for


@dataclass(frozen=True, slots=True)
class Answered:
    """What is said of an answer that took its time.

    `content_bytes` as sent; `cache_status` is the response's field (None: it has none); `began_at` is when the request's
    head was here, `first_byte_at` when that of the answer was sent. `outcome` is given where `cache_status` does not say.
    """

    request: Request
    status: int
    content_bytes: int
    protocol: str
    cache_status: str | None
    began_at: float
    first_byte_at: float | None
    is_complete: bool = True
    outcome: Outcome | None = None


class Traffic:
    """Times are monotonic."""

    def visitor_part(self, address: str, scheme: str, tls_version: str = "") -> bytes:
        """What lines say of the visitor: the same for a connection, unless it is a trusted proxy's. Never empty.

        `tls_version` as OpenSSL names it; empty: no TLS.
        """
        raise NotImplementedError

    def told(
        self, request: Request, status: int, size_bytes: int, protocol: str, outcome: Outcome = Outcome.HIT
    ) -> Told:
        """To be given to `hit` for as long as the answer is the same. Costs about 1.5 us with a log."""
        raise NotImplementedError

    def hit(self, now: float, visitor_part: bytes, told: Told) -> None:
        """An answer from memory was sent, whole and in no time: counted in the lowest bucket of latency."""
        raise NotImplementedError

    def answered(self, now: float, visitor_part: bytes, answered: Answered) -> None:
        """An answer was handed to the transport up to its end, or broke off."""
        raise NotImplementedError

    def refused(self, now: float, visitor_part: bytes, refused: Refused, protocol: str) -> None:
        """Something was refused that is no request, or not wholly."""
        raise NotImplementedError
