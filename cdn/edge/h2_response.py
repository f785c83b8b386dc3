"""Header blocks of answers that are no prepared hits: they say what the heads of HTTP/1.1 say (RFC 9113, 8.3.2)."""

from __future__ import annotations

from cdn.edge.chunked_coding import NEVER_TRAILERS
from cdn.edge.hpack_encoding import encode_response_head, encode_trailers
from cdn.edge.refusal import Refused, encode_refusal
from cdn.edge.response_head import encode_fields, encode_head
from cdn.http.date import format_date
from cdn.http.fields import FieldLines


def response_block(status: int, fields: FieldLines, size_bytes: int | None, *, wall_now: float) -> bytes:
    """Of a final response; Content-Length as in `encode_head`, Date unless there is one. Raises InvalidInput."""
    head = encode_head(status, fields, size_bytes)
    if not any(name == "date" for name, _ in fields):
        head += b"date: %s\r\n" % format_date(wall_now).encode("ascii")
    return encode_response_head(head)


def interim_block(status: int, fields: FieldLines) -> bytes:
    """Of an interim response. Raises InvalidInput like `encode_head`."""
    return encode_response_head(encode_head(status, fields, None))


def trailers_block(trailers: FieldLines) -> bytes:
    """Of the trailer fields that may stand there; empty when there are none. Raises InvalidInput."""
    kept = tuple((name, value) for name, value in trailers if name not in NEVER_TRAILERS)
    encode_fields(kept)
    return encode_trailers(kept)


def refusal_response(refused: Refused, *, cache_name: str, wall_now: float) -> tuple[bytes, bytes]:
    """Block and content of what HTTP/1.1 answers to the same; that the connection closes is HTTP/1.1's alone."""
    head, _, content = encode_refusal(refused, cache_name=cache_name, wall_now=wall_now).partition(b"\r\n\r\n")
    return encode_response_head(head), content
