"""The head of a request as bytes (RFC 9112 section 3). What could be read as two requests is refused, not escaped."""

from __future__ import annotations

import re

from cdn.http.fields import FieldLines
from cdn.origin.upstream import UpstreamBroken, UpstreamFault, UpstreamRequest

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(r"/[\x21-\x7e]*|\*")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_WRITTEN_HERE = frozenset(
    ("content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade", "expect")
)
_MEANING_CONTENT = frozenset(("POST", "PUT", "PATCH"))


def request_head(request: UpstreamRequest) -> bytes:
    """The bytes from the request line to the empty line, with the framing of the content.

    Fields of framing and connection in `request.fields` are not sent. Raises UpstreamBroken (BAD_REQUEST) when a
    method, target or field has characters that would end it.
    """
    if _TOKEN.fullmatch(request.method) is None or _TARGET.fullmatch(request.target) is None:
        raise UpstreamBroken(UpstreamFault.BAD_REQUEST, "The method or target of a request cannot be sent upstream.")
    if not _has_one_host(request.fields):
        raise UpstreamBroken(UpstreamFault.BAD_REQUEST, "A request that is sent upstream names exactly one host.")
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    for name, value in request.fields:
        if _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise UpstreamBroken(UpstreamFault.BAD_REQUEST, f"The field {name!r} of a request cannot be sent upstream.")
        if name.lower() not in _WRITTEN_HERE:
            lines.append(f"{name}: {value}")
        if name.lower() == "te":
            lines.append("connection: TE")  # it speaks of this connection alone (RFC 9110 section 10.1.4)
    lines += _framing_lines(request)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _has_one_host(fields: FieldLines) -> bool:
    return sum(name.lower() == "host" for name, _ in fields) == 1


def _framing_lines(request: UpstreamRequest) -> list[str]:
    if request.content is None:
        return ["content-length: 0"] if request.method in _MEANING_CONTENT else []
    if request.content_size_bytes is None:
        return ["transfer-encoding: chunked"]
    return [f"content-length: {request.content_size_bytes}"]
