"""What the engine answers by itself: requests that are never handed to the application."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cdn.edge.response_head import encode_head
from cdn.http.cache_status import CacheStatus
from cdn.http.date import format_date

ALLOWED = "GET, HEAD, OPTIONS"
"""Methods that every target here answers. The engine does not know which others a site takes."""


class Refusal(Enum):
    """Why; the value is (status, detail for Cache-Status and counters, sentence for people)."""

    MALFORMED_REQUEST_LINE = (400, "malformed-request-line", "The request line is not METHOD TARGET HTTP/1.1.")
    BARE_LINE_END = (400, "bare-line-end", "A line ends in CR or LF alone; lines end in CR LF (RFC 9112 section 2.2).")
    MALFORMED_FIELDS = (400, "malformed-fields", "A field line is malformed (RFC 9112 section 5).")
    MALFORMED_TARGET = (400, "malformed-target", "The request target is malformed.")
    MISSING_HOST = (400, "missing-host", "The Host field is missing; it says which site is meant.")
    REPEATED_HOST = (400, "repeated-host", "The Host field stands more than once.")
    MALFORMED_HOST = (400, "malformed-host", "The Host field is not a host name with an optional port.")
    DIFFERENT_HOST = (400, "different-host", "The request target names another host than the Host field.")
    MALFORMED_FRAMING = (
        400,
        "malformed-framing",
        "Content-Length and Transfer-Encoding do not say where the content ends.",
    )
    MALFORMED_CHUNK = (400, "malformed-chunk", "The chunked content is malformed (RFC 9112 section 7.1).")
    INCOMPLETE = (400, "incomplete-request", "The connection ended before the request did.")
    METHOD_NOT_ALLOWED = (
        405,
        "method",
        "TRACE is not answered here; it would repeat what proxies have added.",
    )
    HEAD_TIMEOUT = (408, "head-timeout", "The request did not arrive in time.")
    CONTENT_TIMEOUT = (408, "content-timeout", "The content of the request did not arrive in time.")
    CONTENT_TOO_LARGE = (413, "content-too-large", "The content of the request is larger than this server takes.")
    TARGET_TOO_LONG = (414, "target-too-long", "The request line is longer than this server takes.")
    UNKNOWN_EXPECTATION = (417, "unknown-expectation", "Expect says something other than 100-continue.")
    MISDIRECTED = (
        421,
        "certificate",
        "This connection was secured for other hosts than the one that was asked for; connect anew for it.",
    )
    FIELDS_TOO_LARGE = (431, "fields-too-large", "The request's fields are larger than this server takes.")
    TOO_MANY_FIELDS = (431, "too-many-fields", "The request has more fields than this server takes.")
    APPLICATION_FAILED = (500, "internal-error", "The server failed to answer; the failure was recorded.")
    UNKNOWN_METHOD = (501, "unknown-method", "CONNECT asks for a tunnel, and there are none here.")
    UNKNOWN_CODING = (501, "unknown-transfer-coding", "The only transfer coding known here is chunked.")
    TOO_MANY_CONNECTIONS = (503, "too-many-connections", "The server has all the connections it takes; try again.")
    UNKNOWN_VERSION = (505, "unknown-version", "This server speaks HTTP/1.1 and HTTP/1.0.")

    @property
    def status(self) -> int:
        """The status code of the answer."""
        return self.value[0]

    @property
    def detail(self) -> str:
        """One word for Cache-Status and for counters."""
        return self.value[1]

    @property
    def sentence(self) -> str:
        """What the answer's content says."""
        return self.value[2]


@dataclass(frozen=True, slots=True)
class Refused:
    """The message is refused; the connection closes after the answer. `note` says more where the reason has kinds."""

    refusal: Refusal
    note: str = ""


def encode_refusal(refused: Refused, *, cache_name: str, wall_now: float, is_head: bool = False) -> bytes:
    """The whole answer: a small text, `Connection: close`, and why in `Cache-Status` (RFC 9211 `detail`)."""
    refusal = refused.refusal
    content = f"{refusal.status} {refusal.sentence}{' ' + refused.note if refused.note else ''}\n".encode()
    head = encode_head(
        refusal.status,
        (
            ("content-type", "text/plain; charset=utf-8"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("cache-status", CacheStatus(cache=cache_name, detail=refusal.detail).serialise()),
            ("date", format_date(wall_now)),
            ("connection", "close"),
            *((("allow", ALLOWED),) if refusal.status == 405 else ()),
        ),
        len(content),
    )
    return head + b"\r\n" if is_head else head + b"\r\n" + content
