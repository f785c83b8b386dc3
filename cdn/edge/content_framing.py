"""Where the content of a request ends (RFC 9112 section 6). Sans-IO: bytes in, content out."""

from __future__ import annotations

import re
from enum import Enum, auto

from cdn.edge.limits import HttpLimits
from cdn.edge.refusal import Refusal, Refused

MAX_CHUNK_LINE_BYTES = 256
"""A chunk size with its extensions. We know no extension; the bound keeps one byte of content from costing a page."""

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?\Z")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\Z")


class FixedLength:
    """Content of a length known from Content-Length."""

    __slots__ = ("remaining_bytes",)

    def __init__(self, size_bytes: int) -> None:
        self.remaining_bytes = size_bytes

    @property
    def is_done(self) -> bool:
        """Whether the content is whole."""
        return self.remaining_bytes == 0

    def take(self, buffer: bytearray, max_bytes: int) -> bytes | Refused | None:
        """The next part, removed from the front of `buffer`; None when more bytes are needed or it is done."""
        part = bytes(buffer[: min(self.remaining_bytes, max_bytes)])
        if not part:
            return None
        del buffer[: len(part)]
        self.remaining_bytes -= len(part)
        return part


class _Place(Enum):
    """Where in the chunked coding the next byte stands."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    DONE = auto()


class Chunked:
    """Content in the chunked coding (RFC 9112 section 7.1), read strictly; extensions and trailers are thrown away."""

    __slots__ = ("_limits", "_place", "_remaining_bytes", "_taken_bytes", "_trailer_bytes", "_trailers")

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._place = _Place.SIZE
        self._remaining_bytes = 0
        self._taken_bytes = 0
        self._trailer_bytes = 0
        self._trailers = 0

    @property
    def is_done(self) -> bool:
        """Whether the last chunk and the trailers have been read."""
        return self._place is _Place.DONE

    def take(self, buffer: bytearray, max_bytes: int) -> bytes | Refused | None:
        """The next part, removed from the front of `buffer`; None when more bytes are needed or it is done."""
        while self._place is not _Place.DONE:
            if self._place is _Place.DATA:
                part = bytes(buffer[: min(self._remaining_bytes, max_bytes)])
                if not part:
                    return None
                del buffer[: len(part)]
                self._remaining_bytes -= len(part)
                if self._remaining_bytes == 0:
                    self._place = _Place.DATA_END
                return part
            bound = self._line_bound()
            line = _take_line(buffer, bound)
            if line is None:
                return None
            if isinstance(line, Refused):
                return line
            fault = self._read_line(line)
            if fault is not None:
                return fault
        return None

    def _line_bound(self) -> int:
        match self._place:
            case _Place.DATA_END:
                return 0
            case _Place.TRAILER:
                return self._limits.max_fields_bytes - self._trailer_bytes
            case _:
                return MAX_CHUNK_LINE_BYTES

    def _read_line(self, line: bytes) -> Refused | None:
        match self._place:
            case _Place.SIZE:
                return self._read_size(line)
            case _Place.DATA_END:
                self._place = _Place.SIZE
                return None
            case _:
                return self._read_trailer(line)

    def _read_size(self, line: bytes) -> Refused | None:
        found = _CHUNK_LINE.match(line)
        if found is None:
            return Refused(Refusal.MALFORMED_CHUNK)
        size_bytes = int(found[1], 16)
        self._taken_bytes += size_bytes
        if self._taken_bytes > self._limits.max_content_bytes:
            return Refused(Refusal.CONTENT_TOO_LARGE)
        self._remaining_bytes = size_bytes
        self._place = _Place.DATA if size_bytes else _Place.TRAILER
        return None

    def _read_trailer(self, line: bytes) -> Refused | None:
        if not line:
            self._place = _Place.DONE
            return None
        self._trailers += 1
        self._trailer_bytes += len(line) + 2
        if self._trailers > self._limits.max_fields or _TRAILER_LINE.match(line) is None:
            return Refused(Refusal.MALFORMED_CHUNK)
        return None


def _take_line(buffer: bytearray, max_bytes: int) -> bytes | Refused | None:
    """The next line without its CR LF, removed from `buffer`. What cannot become a line any more is refused."""
    end = buffer.find(b"\r\n", 0, max(max_bytes, 0) + 2)
    if end < 0:
        seen = min(len(buffer), max(max_bytes, 0) + 2)
        has_bare = buffer.find(b"\n", 0, seen) >= 0 or buffer.find(b"\r", 0, seen - 1) >= 0
        return Refused(Refusal.MALFORMED_CHUNK) if has_bare or len(buffer) >= max_bytes + 2 else None
    line = bytes(buffer[:end])
    del buffer[: end + 2]
    return Refused(Refusal.MALFORMED_CHUNK) if b"\r" in line or b"\n" in line else line
