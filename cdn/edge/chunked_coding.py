"""Content of unknown size on its way to a client (RFC 9112 section 7.1)."""

from __future__ import annotations

from cdn.edge.response_head import encode_fields
from cdn.http.fields import FieldLines, Fields

NEVER_TRAILERS = frozenset(
    (
        # framing and routing
        *("content-length", "transfer-encoding", "trailer", "te", "connection", "keep-alive", "upgrade", "host"),
        *("proxy-connection", "max-forwards", "via", "expect"),
        # authentication and state
        *("authorization", "www-authenticate", "proxy-authorization", "proxy-authenticate", "set-cookie"),
        # what controls the response and how its content is read
        *("cache-control", "cdn-cache-control", "surrogate-control", "pragma", "expires", "age", "date", "vary"),
        *("location", "retry-after", "content-type", "content-encoding", "content-range"),
    )
)
"""Whoever takes one of these from a trailer section would read the message otherwise than those who do not
(RFC 9110 section 6.5.1)."""


def encode_chunk(part: bytes | memoryview) -> tuple[bytes, bytes | memoryview, bytes]:
    """`part` as one chunk, to be written as it is. It may not be empty: that would be the last chunk."""
    return b"%x\r\n" % len(part), part, b"\r\n"


def encode_last_chunk(trailers: FieldLines = ()) -> bytes:
    """The end of chunked content: it is whole. Trailer fields that may not stand here are left out.

    Raises InvalidInput like `encode_fields`.
    """
    kept = tuple((name, value) for name, value in trailers if name not in NEVER_TRAILERS)
    return b"0\r\n" + encode_fields(kept) + b"\r\n"


def accepts_trailers(fields: Fields) -> bool:
    """Whether the client of a request with these fields wants trailer fields (RFC 9110 section 10.1.4)."""
    te = fields.get("te")
    return te is not None and any(member.strip(" \t").lower() == "trailers" for member in te.split(","))
