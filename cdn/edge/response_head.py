"""The head of a response on the wire (RFC 9112 sections 4 and 5)."""

from __future__ import annotations

from http import HTTPStatus

from cdn.errors import InvalidInput
from cdn.http.fields import FieldLines

WITHOUT_CONTENT = frozenset((HTTPStatus.NO_CONTENT.value, HTTPStatus.NOT_MODIFIED.value))
"""Statuses whose responses carry neither content nor its length (RFC 9110 sections 8.6, 15.3.5 and 15.4.5)."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


def encode_head(status: int, fields: FieldLines, size_bytes: int | None) -> bytes:
    """Status line, `fields` and Content-Length where the status has one, without the empty line at the end.

    A `size_bytes` of None: no Content-Length. Raises InvalidInput like `encode_fields`.
    """
    lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in fields]
    if size_bytes is not None and status not in WITHOUT_CONTENT:
        lines.append(f"content-length: {size_bytes}\r\n")
    return _encode(lines)


def encode_fields(fields: FieldLines) -> bytes:
    """Field lines alone, each with its line end.

    Raises InvalidInput when a field would break out of its line, or is not Latin-1: nothing that came from a user may
    start a field of its own.
    """
    return _encode([f"{name}: {value}\r\n" for name, value in fields])


def _encode(lines: list[str]) -> bytes:
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise InvalidInput("A response field holds CR, LF or NUL; remove it where the field is made.", field="fields")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as fault:
        raise InvalidInput(
            f"A response field holds {text[fault.start]!r}, which is not Latin-1; percent-encode it.", field="fields"
        ) from fault
