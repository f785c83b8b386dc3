"""Frames of HTTP/2 (RFC 9113 sections 4 and 6): their kinds, and the octets of those that a server sends."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from cdn.edge.h2_events import ErrorCode
from cdn.errors import CdnError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client begins with (section 3.4)."""

HEADER_BYTES: Final = 9

MAX_FRAME_BYTES: Final = 16_384
"""The content of a frame, both ways: what every implementation takes without being asked (section 4.2). Larger ones
would let one answer hold up the others for longer, and save nothing that can be measured."""

MAX_WINDOW_BYTES: Final = 2**31 - 1
MAX_STREAM_ID: Final = 2**31 - 1
DEFAULT_WINDOW_BYTES: Final = 65_535

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20

PRIORITY_BYTES: Final = 5
"""What HEADERS say of the priority of RFC 7540, when they do."""


class FrameType(IntEnum):
    """RFC 9113 section 6; the last is of RFC 9218 section 7.1."""

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


class Setting(IntEnum):
    """RFC 9113 section 6.5.2, and RFC 9218 section 2.1."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    NO_RFC7540_PRIORITIES = 0x9


class ConnectionFault(CdnError):
    """A client broke the protocol such that the connection cannot go on (section 5.4.1)."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


_SETTING: Final = struct.Struct(">HI")
_WORDS: Final = struct.Struct(">II")

frame_header: Final = struct.Struct(">IBI")
"""Length in octets shifted by eight, with the kind below it; flags; stream."""


def encode_frame(kind: int, flags: int, stream_id: int, content: bytes) -> bytes:
    """One frame of at most MAX_FRAME_BYTES of content."""
    return frame_header.pack(len(content) << 8 | kind, flags, stream_id) + content


def encode_head(stream_id: int, block: bytes, *, is_end: bool) -> bytes:
    """HEADERS with as many CONTINUATION frames as the block needs (section 4.3)."""
    end = END_STREAM if is_end else 0
    if len(block) <= MAX_FRAME_BYTES:
        return encode_frame(FrameType.HEADERS, end | END_HEADERS, stream_id, block)
    parts = [block[at : at + MAX_FRAME_BYTES] for at in range(0, len(block), MAX_FRAME_BYTES)]
    frames = [encode_frame(FrameType.HEADERS, end, stream_id, parts[0])]
    frames += [encode_frame(FrameType.CONTINUATION, 0, stream_id, part) for part in parts[1:-1]]
    frames.append(encode_frame(FrameType.CONTINUATION, END_HEADERS, stream_id, parts[-1]))
    return b"".join(frames)


def encode_settings(values: dict[Setting, int]) -> bytes:
    """SETTINGS (section 6.5)."""
    return encode_frame(FrameType.SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in values.items()))


SETTINGS_ACK: Final = encode_frame(FrameType.SETTINGS, ACK, 0, b"")


def encode_ping(opaque: bytes, *, is_ack: bool) -> bytes:
    """PING, or the answer to one (section 6.7)."""
    return encode_frame(FrameType.PING, ACK if is_ack else 0, 0, opaque)


def encode_reset(stream_id: int, code: ErrorCode) -> bytes:
    """RST_STREAM (section 6.4)."""
    return encode_frame(FrameType.RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def encode_window_update(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE (section 6.9)."""
    return encode_frame(FrameType.WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def encode_goaway(last_stream_id: int, code: ErrorCode, reason: str) -> bytes:
    """GOAWAY (section 6.8), with words for whoever looks into it."""
    return encode_frame(FrameType.GOAWAY, 0, 0, _WORDS.pack(last_stream_id, code) + reason.encode("ascii", "replace"))


def read_settings(content: bytes) -> list[tuple[int, int]]:
    """The values of SETTINGS in order, known ones and others. Raises ConnectionFault when the size is wrong."""
    if len(content) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
    return list(_SETTING.iter_unpack(content))


def read_padded(content: bytes, flags: int) -> bytes:
    """What a DATA or HEADERS frame holds without its padding (section 6.1).

    Raises ConnectionFault when the padding is no part of the frame.
    """
    if not flags & PADDED:
        return content
    if not content:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without the length of its padding")
    padding_bytes = content[0]
    if padding_bytes >= len(content):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding that is longer than its frame")
    return content[1 : len(content) - padding_bytes]


def read_error_code(content: bytes) -> ErrorCode:
    """An error code; one that nobody knows counts as INTERNAL_ERROR (section 7)."""
    code = int.from_bytes(content[:4], "big")
    return ErrorCode(code) if code in _CODES else ErrorCode.INTERNAL_ERROR


_CODES: Final = frozenset(ErrorCode)
