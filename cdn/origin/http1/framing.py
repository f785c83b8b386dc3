"""Where the content of a response ends (RFC 9112 section 6). Sans-IO: bytes in, content out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from cdn.http.fields import FieldLines
from cdn.origin.upstream import UpstreamFault
from cdn.origin.upstream_limits import UpstreamLimits

MAX_CHUNK_LINE_BYTES = 256
"""A chunk size with its extensions. No extension means anything here; the bound keeps a byte from costing a page."""

MAX_CHUNKS_PER_PART = 256
"""Chunks joined into one part: reading them takes half a millisecond, and then others have their turn."""

NOT_IN_TRAILERS = frozenset(
    {
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "host",
        "expect",
        "content-encoding",
        "content-type",
        "content-range",
        "content-location",
        "cache-control",
        "cdn-cache-control",
        "surrogate-control",
        "age",
        "date",
        "expires",
        "vary",
        "location",
        "retry-after",
        "set-cookie",
        "etag",
        "last-modified",
        "warning",
        "authorization",
        "www-authenticate",
        "proxy-authenticate",
        "max-forwards",
        "range",
    }
)
"""Fields of framing, routing, caching, authentication and of how content is read: as trailers they count for nothing
(RFC 9110 section 6.5.1), and whoever merged them into a head would be deceived. They are dropped."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]{0,%d}+)?\r\n" % (MAX_CHUNK_LINE_BYTES - 16))
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):([\t\x20-\x7e\x80-\xff]*+)")


@dataclass(frozen=True, slots=True)
class Broken:
    """The response must not be used (any further); `text` says in a few words what was wrong with it."""

    fault: UpstreamFault
    text: str


def read_field_line(line: bytes) -> tuple[str, str] | None:
    """Lower-case name and value of one field line without its end (RFC 9112 section 5); None when it is malformed.

    Folding, whitespace before the colon and control characters are malformed.
    """
    found = _FIELD_LINE.fullmatch(line)
    if found is None:
        return None
    return found[1].decode("ascii").lower(), found[2].strip(b" \t").decode("latin-1")


class FixedLength:
    """Content of the length that Content-Length promised."""

    __slots__ = ("remaining_bytes",)

    trailers: FieldLines = ()

    def __init__(self, size_bytes: int) -> None:
        self.remaining_bytes = size_bytes

    @property
    def is_done(self) -> bool:
        """Whether the content is whole."""
        return self.remaining_bytes == 0

    def take(self, buffer: bytearray, max_bytes: int) -> bytes | None:
        """The next part, removed from the front of `buffer`; None when more bytes are needed or it is done."""
        part = bytes(buffer[: min(self.remaining_bytes, max_bytes)])
        if not part:
            return None
        del buffer[: len(part)]
        self.remaining_bytes -= len(part)
        return part


class UntilClose:
    """Content that ends with the connection (RFC 9112 section 6.3): only a clean close tells that it is whole."""

    __slots__ = ()

    trailers: FieldLines = ()
    is_done = False

    def take(self, buffer: bytearray, max_bytes: int) -> bytes | None:
        """The next part, removed from the front of `buffer`; None when more bytes are needed."""
        part = bytes(buffer[:max_bytes])
        del buffer[: len(part)]
        return part or None


class _Place(Enum):
    """Where in the chunked coding the next byte stands."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()
    DONE = auto()


class Chunked:
    """Content in the chunked coding (RFC 9112 section 7.1), read strictly; extensions are thrown away."""

    __slots__ = ("_limits", "_place", "_remaining_bytes", "_trailer_bytes", "_trailers")

    def __init__(self, limits: UpstreamLimits) -> None:
        self._limits = limits
        self._place = _Place.SIZE
        self._remaining_bytes = 0
        self._trailer_bytes = 0
        self._trailers: list[tuple[str, str]] = []

    @property
    def is_done(self) -> bool:
        """Whether the last chunk and the trailer section have been read."""
        return self._place is _Place.DONE

    @property
    def trailers(self) -> FieldLines:
        """The trailer fields that may count for something; () until it is done."""
        return tuple(self._trailers) if self.is_done else ()

    def take(self, buffer: bytearray, max_bytes: int) -> bytes | Broken | None:
        """The next part, removed from the front of `buffer`; None when more bytes are needed or it is done.

        Small chunks are joined: a part has `max_bytes` and MAX_CHUNKS_PER_PART at most, and what is broken behind it is
        told by the next call.
        """
        parts: list[bytearray] = []
        taken = at = 0
        broken: Broken | None = None
        while taken < max_bytes and len(parts) < MAX_CHUNKS_PER_PART:
            if self._place is _Place.DATA:
                part = buffer[at : at + min(self._remaining_bytes, max_bytes - taken)]
                if not part:
                    break
                parts.append(part)
                taken += len(part)
                at += len(part)
                self._remaining_bytes -= len(part)
                if self._remaining_bytes == 0:
                    self._place = _Place.DATA_END
                continue
            step = self._read_line(buffer, at)
            if not isinstance(step, int):
                broken = step
                break
            at += step
        del buffer[:at]
        return b"".join(parts) if parts else broken

    def _read_line(self, buffer: bytearray, at: int) -> int | Broken | None:
        """Read what stands between data from `at` on: the bytes it took; None when more are needed, or it is done."""
        match self._place:
            case _Place.SIZE:
                return self._read_size(buffer, at)
            case _Place.DATA_END:
                return self._read_data_end(buffer, at)
            case _Place.TRAILERS:
                return self._read_trailer(buffer, at)
            case _Place.DATA | _Place.DONE:
                return None

    def _read_size(self, buffer: bytearray, at: int) -> int | Broken | None:
        found = _SIZE_LINE.match(buffer, at)
        if found is None:
            has_end = buffer.find(b"\n", at, at + MAX_CHUNK_LINE_BYTES) >= 0
            return _malformed("a chunk size") if has_end or len(buffer) - at >= MAX_CHUNK_LINE_BYTES else None
        self._remaining_bytes = int(found[1], 16)
        self._place = _Place.DATA if self._remaining_bytes else _Place.TRAILERS
        return found.end() - at

    def _read_data_end(self, buffer: bytearray, at: int) -> int | Broken | None:
        end = buffer[at : at + 2]
        if end == b"\r\n":
            self._place = _Place.SIZE
            return 2
        return None if b"\r\n".startswith(end) else _malformed("the end of a chunk")

    def _read_trailer(self, buffer: bytearray, at: int) -> int | Broken | None:
        allowed = self._limits.max_trailer_bytes - self._trailer_bytes
        end = buffer.find(b"\n", at, at + allowed)
        if end < 0:
            return _malformed("the trailer section: it is too large") if len(buffer) - at >= allowed else None
        size = end + 1 - at
        self._trailer_bytes += size
        if buffer[at : end + 1] == b"\r\n":
            self._place = _Place.DONE
            return size
        line = read_field_line(bytes(buffer[at : end - 1])) if buffer[end - 1 : end] == b"\r" else None
        if line is None or len(self._trailers) == self._limits.max_trailers:
            return _malformed("the trailer section")
        if line[0] not in NOT_IN_TRAILERS:
            self._trailers.append(line)
        return size


def _malformed(what: str) -> Broken:
    return Broken(UpstreamFault.MALFORMED_CONTENT, f"{what} is malformed")


Framing = FixedLength | Chunked | UntilClose
