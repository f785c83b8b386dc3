"""HTTP/2 frames as octets (RFC 9113 sections 4 and 6): written from the standard for the tests alone."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_WINDOW = 2**31 - 1
INITIAL_WINDOW = 65_535
INITIAL_FRAME_BYTES = 16_384

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20


class Kind(IntEnum):
    """Frame types."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9
    PRIORITY_UPDATE = 0x10


class Code(IntEnum):
    """Error codes (section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Setting(IntEnum):
    """Settings (section 6.5.2, RFC 9218 section 2.1)."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    NO_RFC7540_PRIORITIES = 0x9


Settings = Mapping[Any, int] | Iterable[tuple[int, int]]
"""Values by setting; pairs where one stands twice."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame that came. `word` is the whole of the 32 bits that hold the stream."""

    kind: int
    flags: int
    word: int
    payload: bytes

    @property
    def stream_id(self) -> int:
        """Without the reserved bit."""
        return self.word & MAX_WINDOW

    @property
    def code(self) -> int:
        """Of RST_STREAM or GOAWAY."""
        at = 4 if self.kind == Kind.GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4], "big")

    @property
    def last_stream_id(self) -> int:
        """Of GOAWAY."""
        return int.from_bytes(self.payload[:4], "big")

    @property
    def settings(self) -> dict[int, int]:
        """Of SETTINGS, the last value of each."""
        return dict(struct.iter_unpack(">HI", self.payload))

    def has(self, flag: int) -> bool:
        return bool(self.flags & flag)

    def is_of(self, kind: Kind, stream_id: int | None = None) -> bool:
        return self.kind == kind and (stream_id is None or self.stream_id == stream_id)


def frame(kind: int, flags: int = 0, word: int = 0, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """Any frame at all. `length`: what it says of its payload, when that is not so."""
    said = len(payload) if length is None else length
    return said.to_bytes(3, "big") + struct.pack(">BBI", kind, flags, word) + payload


def settings(values: Settings = (), *, flags: int = 0, word: int = 0) -> bytes:
    pairs = values.items() if isinstance(values, Mapping) else values
    return frame(Kind.SETTINGS, flags, word, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def settings_ack() -> bytes:
    return frame(Kind.SETTINGS, ACK)


def headers(stream_id: int, block: bytes, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(Kind.HEADERS, flags, stream_id, block)


def continuation(stream_id: int, block: bytes, flags: int = END_HEADERS) -> bytes:
    return frame(Kind.CONTINUATION, flags, stream_id, block)


def data(stream_id: int, content: bytes = b"", flags: int = END_STREAM) -> bytes:
    return frame(Kind.DATA, flags, stream_id, content)


def padded(content: bytes, padding: int) -> bytes:
    """The payload of a frame with PADDED."""
    return bytes((padding,)) + content + b"\0" * padding


def rst_stream(stream_id: int, code: int = Code.CANCEL) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream_id, struct.pack(">I", code))


def ping(opaque: bytes = b"12345678", flags: int = 0) -> bytes:
    return frame(Kind.PING, flags, 0, opaque)


def goaway(last_stream_id: int = 0, code: int = Code.NO_ERROR, debug: bytes = b"") -> bytes:
    return frame(Kind.GOAWAY, 0, 0, struct.pack(">II", last_stream_id, code) + debug)


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream_id, struct.pack(">I", increment))


def priority(stream_id: int, depends_on: int = 0, weight: int = 15) -> bytes:
    return frame(Kind.PRIORITY, 0, stream_id, struct.pack(">IB", depends_on, weight))


def priority_update(stream_id: int, value: bytes, *, word: int = 0) -> bytes:
    return frame(Kind.PRIORITY_UPDATE, 0, word, struct.pack(">I", stream_id) + value)


def push_promise(stream_id: int, promised_id: int, block: bytes) -> bytes:
    return frame(Kind.PUSH_PROMISE, END_HEADERS, stream_id, struct.pack(">I", promised_id) + block)


def plain_block(fields: Iterable[tuple[str | bytes, str | bytes]]) -> bytes:
    """A field block of literals without indexing or Huffman (RFC 7541 section 6.2.2), whatever stands in them."""
    parts = []
    for name, value in fields:
        raw_name = name.encode("latin-1") if isinstance(name, str) else name
        raw_value = value.encode("latin-1") if isinstance(value, str) else value
        parts += [b"\0", _length(len(raw_name)), raw_name, _length(len(raw_value)), raw_value]
    return b"".join(parts)


def entry(name: str, value: str) -> bytes:
    """A literal that enters the dynamic table (RFC 7541 section 6.2.1)."""
    return b"\x40" + plain_block([(name, value)])[1:]


def _length(size: int) -> bytes:
    """RFC 7541 section 5.1 with a prefix of seven bits, no Huffman."""
    if size < 127:
        return bytes((size,))
    rest = size - 127
    octets = [127]
    while rest >= 128:
        octets.append(rest % 128 + 128)
        rest //= 128
    return bytes((*octets, rest))
