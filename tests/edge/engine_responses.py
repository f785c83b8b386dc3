"""An independent reader of response bytes: strict, and nothing of the product in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9a-z]+): ([\x20-\x7e]*)\Z")


@dataclass(frozen=True)
class Received:
    """One response as a client sees it."""

    status: int
    fields: dict[str, str]
    content: bytes
    trailers: dict[str, str] = field(default_factory=dict)

    @property
    def closes(self) -> bool:
        return self.fields.get("connection") == "close"


def read_responses(data: bytes, methods: list[str] | None = None) -> list[Received]:
    """Every response in `data`, which must hold nothing else. `methods` in order tell which ones answer HEAD.

    Content without a length and not chunked goes to the end of `data`, and only where the connection closes.
    """
    responses = []
    methods = list(methods or [])
    while data:
        head, found, data = data.partition(b"\r\n\r\n")
        assert found, head
        lines = head.split(b"\r\n")
        status_match = re.match(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [A-Za-z' -]*\Z", lines[0])
        assert status_match, lines[0]
        status = int(status_match[1])
        fields = _read_fields(lines[1:])
        if status >= 200:
            assert "date" in fields
        is_head = status >= 200 and bool(methods) and methods.pop(0) == "HEAD"
        trailers: dict[str, str] = {}
        assert not {"content-length", "transfer-encoding"} <= set(fields)
        if is_head or status in (204, 304) or status < 200:
            content = b""
            assert "transfer-encoding" not in fields
        elif "transfer-encoding" in fields:
            assert fields["transfer-encoding"] == "chunked"
            content, trailers, data = _read_chunked(data)
        elif "content-length" in fields:
            size = int(fields["content-length"])
            assert len(data) >= size, "the content is not whole"
            content, data = data[:size], data[size:]
        else:
            assert fields.get("connection") == "close", "nobody can tell where the content ends"
            content, data = data, b""
        responses.append(Received(status, fields, content, trailers))
    return responses


def _read_fields(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        match = _FIELD.match(line)
        assert match, line
        name = match[1].decode()
        assert name not in fields, line
        fields[name] = match[2].decode()
    return fields


def _read_chunked(data: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Content, trailers and what stands behind them."""
    content = b""
    while True:
        line, found, data = data.partition(b"\r\n")
        assert found, "the content is not whole"
        assert re.fullmatch(rb"[0-9a-f]+", line), line
        size = int(line, 16)
        if size == 0:
            break
        assert data[size : size + 2] == b"\r\n", "the content is not whole"
        content, data = content + data[:size], data[size + 2 :]
    if data.startswith(b"\r\n"):
        return content, {}, data[2:]
    section, found, data = data.partition(b"\r\n\r\n")
    assert found, "the trailer section is not whole"
    return content, _read_fields(section.split(b"\r\n")), data
