"""Frames of a client, written by libraries that know nothing of ours, and what an engine makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from cdn.edge.h2_engine import H2Engine
from cdn.edge.h2_events import ConnectionOver, ErrorCode, Event
from cdn.edge.h2_limits import H2Limits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FIELDS = ((":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/x"))
POST = ((":method", "POST"), *FIELDS[1:])
OK = b"\x88"
NOW = 1000.0
ALL = 1 << 30


def block(fields: Iterable[tuple[str, str]] = FIELDS) -> bytes:
    """A block that leaves the dynamic table alone, so tests may drop or repeat it."""
    literals = (hpack.NeverIndexedHeaderTuple(name, value) for name, value in fields)
    return bytes(hpack.Encoder().encode(literals, huffman=False))


def raw(kind: int, flags: int, stream_id: int, content: bytes = b"") -> bytes:
    """Any frame, legal or not."""
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + content


def settings(values: dict[int, int] | None = None) -> bytes:
    return SettingsFrame(0, settings=values or {}).serialize()


SETTINGS_ACK = SettingsFrame(0, flags=["ACK"]).serialize()


def headers(
    stream_id: int, *, is_end: bool = True, fields: Iterable[tuple[str, str]] = FIELDS, content: bytes | None = None
) -> bytes:
    flags = ["END_HEADERS", *(["END_STREAM"] if is_end else [])]
    return HeadersFrame(stream_id, block(fields) if content is None else content, flags=flags).serialize()


def data(stream_id: int, content: bytes = b"", *, is_end: bool = False, padding_bytes: int | None = None) -> bytes:
    flags = [*(["END_STREAM"] if is_end else []), *([] if padding_bytes is None else ["PADDED"])]
    return DataFrame(stream_id, content, pad_length=padding_bytes or 0, flags=flags).serialize()


def continuation(stream_id: int, content: bytes, *, is_end: bool) -> bytes:
    return ContinuationFrame(stream_id, content, flags=["END_HEADERS"] if is_end else []).serialize()


def reset(stream_id: int, code: int = ErrorCode.CANCEL) -> bytes:
    return RstStreamFrame(stream_id, code).serialize()


def window_update(stream_id: int, increment: int) -> bytes:
    return WindowUpdateFrame(stream_id, increment).serialize()


def ping(opaque: bytes = b"12345678", *, is_ack: bool = False) -> bytes:
    return PingFrame(0, opaque, flags=["ACK"] if is_ack else []).serialize()


def priority(stream_id: int) -> bytes:
    return PriorityFrame(stream_id, depends_on=0, stream_weight=7).serialize()


def priority_update(stream_id: int, value: bytes) -> bytes:
    return raw(0x10, 0, 0, stream_id.to_bytes(4, "big") + value)


def goaway(code: int = 0) -> bytes:
    return GoAwayFrame(0, 0, code).serialize()


def read_frames(octets: bytes) -> list[Frame]:
    """What a server sent."""
    frames: list[Frame] = []
    while octets:
        frame, length = Frame.parse_frame_header(memoryview(octets[:9]))
        frame.parse_body(memoryview(octets[9 : 9 + length]))
        assert len(octets) >= 9 + length, "half a frame"
        frames.append(frame)
        octets = octets[9 + length :]
    return frames


@dataclass
class Stage:
    """An engine whose client has said hello, and what came of it."""

    limits: H2Limits = field(default_factory=H2Limits)
    client_settings: dict[int, int] = field(default_factory=dict)
    is_acknowledged: bool = True
    engine: H2Engine = field(init=False)
    now: float = NOW

    def __post_init__(self) -> None:
        self.engine = H2Engine(self.limits)
        self.engine.start()
        hello = PREFACE + settings(self.client_settings) + (SETTINGS_ACK if self.is_acknowledged else b"")
        assert self.send(hello) == []
        self.frames()

    def send(self, *octets: bytes) -> list[Event]:
        return self.engine.receive(b"".join(octets), self.now)

    def output(self, max_bytes: int = ALL) -> bytes:
        return b"".join(self.engine.output(max_bytes))

    def frames(self, max_bytes: int = ALL) -> list[Frame]:
        return read_frames(self.output(max_bytes))

    def error(self, *octets: bytes) -> ErrorCode:
        """The error of the connection that these mean: told, and sent as the last frame."""
        over = self.send(*octets)[-1]
        assert isinstance(over, ConnectionOver), over
        frames = self.frames()
        goodbye = frames[-1]
        assert isinstance(goodbye, GoAwayFrame)
        assert goodbye.error_code == over.code
        assert goodbye.additional_data.decode() == over.reason
        assert self.engine.is_over
        assert not self.engine.open_streams
        assert not self.send(headers(2**31 - 1)), "nothing more is read"
        assert not self.engine.has_output
        return over.code

    def stream_error(self, stream_id: int, *octets: bytes) -> ErrorCode:
        """The error of the stream that these mean; the connection goes on."""
        self.send(*octets)
        resets = [frame for frame in self.frames() if isinstance(frame, RstStreamFrame)]
        assert [frame.stream_id for frame in resets] == [stream_id]
        assert self.send(ping()) == []
        assert isinstance(self.frames()[0], PingFrame)
        return ErrorCode(resets[0].error_code)


def content_of(frames: Iterable[Frame], stream_id: int) -> bytes:
    return b"".join(
        bytes(frame.data) for frame in frames if isinstance(frame, DataFrame) and frame.stream_id == stream_id
    )


def data_ids(frames: Iterable[Frame]) -> list[int]:
    """Whose content left, in order."""
    return [frame.stream_id for frame in frames if isinstance(frame, DataFrame)]


def ends(frames: Iterable[Frame]) -> list[int]:
    """Which streams ended, in order."""
    return [frame.stream_id for frame in frames if "END_STREAM" in frame.flags]
