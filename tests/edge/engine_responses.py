"""An independent reader of response bytes: strict, and nothing of the product in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9a-z]+): ([\x20-\x7e]*)\Z")


@dataclass(frozen=True)
class Received:
    """One response as a client sees it."""

    status: int
    fields: dict[str, str]
    content: bytes

    @property
    def closes(self) -> bool:
        return self.fields.get("connection") == "close"


def read_responses(data: bytes, methods: list[str] | None = None) -> list[Received]:
    """Every response in `data`, which must hold nothing else. `methods` in order tell which ones answer HEAD."""
    responses = []
    methods = list(methods or [])
    while data:
        head, found, data = data.partition(b"\r\n\r\n")
        assert found, head
        lines = head.split(b"\r\n")
        status_match = re.match(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [A-Za-z' -]*\Z", lines[0])
        assert status_match, lines[0]
        status = int(status_match[1])
        fields: dict[str, str] = {}
        for line in lines[1:]:
            match = _FIELD.match(line)
            assert match, line
            name = match[1].decode()
            assert name not in fields, line
            fields[name] = match[2].decode()
        if status >= 200:
            assert "date" in fields
        is_head = status >= 200 and bool(methods) and methods.pop(0) == "HEAD"
        size = 0 if is_head or status in (204, 304) or status < 200 else int(fields["content-length"])
        assert len(data) >= size, "the content is not whole"
        responses.append(Received(status, fields, data[:size]))
        data = data[size:]
    return responses
