"""The server's side of one HTTP/2 connection without IO (RFC 9113): bytes in, events out; answers in, frames out."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from cdn.edge.h2_events import ErrorCode, Event, RequestHead
from cdn.edge.h2_frames import (
    ACK,
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    END_STREAM,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    MAX_STREAM_ID,
    MAX_WINDOW_BYTES,
    PREFACE,
    PRIORITY,
    PRIORITY_BYTES,
    SETTINGS_ACK,
    ConnectionFault,
    FrameType,
    Setting,
    encode_goaway,
    encode_ping,
    encode_settings,
    encode_window_update,
    frame_header,
    read_settings,
)
from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_receiver import H2Receiver
from cdn.edge.hpack_decoder import DEFAULT_TABLE_BYTES, HpackFault

SETTINGS_PER_FRAME: Final = 32
"""More of them in one frame count as more frames: clients send six, and a frame has room for 2730."""

_HEEDED: Final = frozenset(
    (
        Setting.HEADER_TABLE_SIZE,
        Setting.ENABLE_PUSH,
        Setting.MAX_FRAME_SIZE,
        Setting.NO_RFC7540_PRIORITIES,
    )
)
"""Others are unknown or of no meaning to a server (section 6.5.2)."""

_HEADERS: Final = FrameType.HEADERS.value
_WHOLE: Final = END_STREAM | END_HEADERS
_WHOLE_WITH_PRIORITY: Final = _WHOLE | PRIORITY
_DRAINING: Final = b"draining"
_NO_TABLE: Final = b"\x20"  # RFC 7541 section 6.3: from here on our blocks use a dynamic table of no size
_unpack = frame_header.unpack_from


@lru_cache(maxsize=8)  # those of the listeners of a process
def _greeting(streams: int, stream_window_bytes: int, list_bytes: int, table_bytes: int, window_bytes: int) -> bytes:
    """What a connection begins with: 4 us less of each when it is made once."""
    values = {
        Setting.MAX_CONCURRENT_STREAMS: streams,
        Setting.INITIAL_WINDOW_SIZE: stream_window_bytes,
        Setting.MAX_HEADER_LIST_SIZE: list_bytes,
        Setting.NO_RFC7540_PRIORITIES: 1,
    }
    if table_bytes != DEFAULT_TABLE_BYTES:
        values[Setting.HEADER_TABLE_SIZE] = table_bytes
    more_bytes = window_bytes - DEFAULT_WINDOW_BYTES
    return encode_settings(values) + (encode_window_update(0, more_bytes) if more_bytes > 0 else b"")


class Farewell(Enum):
    """How far the server is in going away (section 6.8)."""

    NONE = auto()
    ANNOUNCED = auto()  # streams that are on their way are still served
    FINAL = auto()


class H2Engine(H2Receiver):
    """One connection. Never raises on any input: what a client does wrong becomes frames and events.

    Whoever drives it calls `receive` with what came, answers the events, then takes `output` while the transport has
    room, and after that `take_events`.
    """

    __slots__ = ("_farewell", "_has_begun", "_has_preface", "_held", "_is_acknowledged", "_needed_bytes")

    def __init__(self, limits: H2Limits) -> None:
        super().__init__(limits)
        self._held = bytearray()
        self._needed_bytes = len(PREFACE)
        self._has_preface = self._has_begun = False
        self._is_acknowledged = False
        self._farewell = Farewell.NONE

    # -- what came -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Queue our SETTINGS, which are the first frame of a connection (RFC 9113 section 3.4)."""
        limits = self._limits
        self._append(
            _greeting(
                limits.max_concurrent_streams,
                limits.stream_window_bytes,
                limits.max_header_list_bytes,
                limits.header_table_bytes,
                limits.connection_window_bytes,
            )
        )
        self._receivable_bytes = max(limits.connection_window_bytes, DEFAULT_WINDOW_BYTES)

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What `data` says, in order. The client's preface comes first (section 3.4), also by prior knowledge."""
        if self._is_over:
            return self.take_events()
        self._now = now
        if self._held:
            self._held += data
            if len(self._held) < self._needed_bytes:
                return self.take_events()
            data = bytes(self._held)
            self._held.clear()
        try:
            at = self._read(data, 0 if self._has_preface else self._read_preface(data))
            if at < len(data):
                self._held += memoryview(data)[at:]
        except ConnectionFault as fault:
            self.go_away(fault.code, fault.reason)
        except HpackFault as fault:
            self.go_away(ErrorCode.COMPRESSION_ERROR, str(fault))
        return self.take_events()

    def take_events(self) -> list[Event]:
        """What has happened beside `receive`: `Writable` after `output`, `ConnectionOver` after `drain` or a limit that
        was met while answering. To be asked after `output`."""
        events = self._events
        self._events = []
        return events

    # -- the connection ------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Go away gracefully (section 6.8): streams that the client has opened or is opening are answered, and no new
        ones after it has read this. `ConnectionOver` comes when the last is answered. A second call does not wait for
        the client to have read it."""
        if self._is_over:
            return
        if self._farewell is Farewell.NONE:
            self._farewell = Farewell.ANNOUNCED
            self._append(encode_goaway(MAX_STREAM_ID, ErrorCode.NO_ERROR, ""))
            self._append(encode_ping(_DRAINING, is_ack=False))
        elif self._farewell is Farewell.ANNOUNCED:
            self._go_finally()

    @property
    def has_begun(self) -> bool:
        """Whether the client's preface is whole: its SETTINGS were read."""
        return self._has_begun

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way and no part of one has come."""
        return not self._asked and not self._streams and not self._held and self._block is None

    def _go_finally(self) -> None:
        self._farewell = Farewell.FINAL
        self._final_id = self._last_id
        self._say_goodbye(ErrorCode.NO_ERROR, "")
        self._ends_when_idle = True
        self._end_when_idle()

    # -- frames --------------------------------------------------------------------------------------------------------

    def _read_preface(self, data: bytes) -> int:
        if not PREFACE.startswith(data[: len(PREFACE)]):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is no HTTP/2 preface")
        if len(data) < len(PREFACE):
            return 0
        self._has_preface = True
        return len(PREFACE)

    def _read(self, data: bytes, at: int) -> int:
        """Read frames from there on; where the first one starts that is not whole. 0.9 us for a usual request, beside
        decoding its fields."""
        if not self._has_preface:
            return at
        size = len(data)
        decoder = self._decoder
        room = self._room()
        while size - at >= HEADER_BYTES:
            word, flags, stream_id = _unpack(data, at)
            length = word >> 8
            if length > MAX_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of more than {MAX_FRAME_BYTES} octets")
            start = at + HEADER_BYTES
            if size - start < length:
                self._needed_bytes = HEADER_BYTES + length
                return at
            at = start + length
            if (
                word & 0xFF == _HEADERS
                and stream_id == self._last_id + 2
                and room > 0
                and (flags == _WHOLE or (flags == _WHOLE_WITH_PRIORITY and length > PRIORITY_BYTES))
            ):
                room -= 1
                self._last_id = stream_id
                fields = decoder.decode(data[start if flags == _WHOLE else start + PRIORITY_BYTES : at])
                self._asked[stream_id] = fields
                self._events.append(RequestHead(stream_id, fields, True, decoder.is_list_too_large, decoder.shape))
            else:
                self._take_frame(word & 0xFF, flags, stream_id & MAX_STREAM_ID, data[start:at])
                if self._ends_when_idle:
                    self._end_when_idle()
                    if self._is_over:
                        return size
                room = self._room()
        self._needed_bytes = HEADER_BYTES
        return at

    def _room(self) -> int:
        """How many streams may be opened without a closer look."""
        if self._block is not None or not self._has_begun or self._foretold or self._farewell is Farewell.FINAL:
            return 0
        return self._limits.max_concurrent_streams - len(self._asked) - len(self._streams)

    def _take_frame(self, kind: int, flags: int, stream_id: int, content: bytes) -> None:
        if self._block is not None and (kind != FrameType.CONTINUATION or stream_id != self._block_stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block that another frame interrupts")
        if not self._has_begun and (kind != FrameType.SETTINGS or flags & ACK):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a connection begins with SETTINGS")
        take = _READERS.get(kind)
        if take is None:  # section 5.5: what extensions send is ignored
            self._count_control()
            return
        if (stream_id == 0) is not (kind in _OF_CONNECTION) and kind != FrameType.WINDOW_UPDATE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{FrameType(kind).name} with a wrong stream identifier")
        take(self, flags, stream_id, content)

    # -- the other frames ----------------------------------------------------------------------------------------------

    def _take_settings(self, flags: int, _stream_id: int, content: bytes) -> None:
        if flags & ACK:
            if content:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with content")
            self._count_control()
            self._take_acknowledgement()
            return
        values = read_settings(content)
        if self._has_begun:
            self._count_control()
        for _ in range(len(values) // SETTINGS_PER_FRAME):
            self._count_control()
        window_bytes: int | None = None
        for setting, value in values:
            if setting == Setting.INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW_BYTES:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "an initial window that is too large")
                window_bytes = value
            elif setting in _HEEDED:
                self._take_setting(setting, value)
        if window_bytes is not None:  # the last: each takes 70 us for all streams, and a frame has room for 2730
            self._move_windows(window_bytes)
        self._has_begun = True
        self._answer(SETTINGS_ACK)

    def _take_acknowledgement(self) -> None:
        """The client has read our SETTINGS: from here on it keeps to them (section 6.5.3)."""
        if self._is_acknowledged:
            return
        self._is_acknowledged = True
        self._decoder.settings_acknowledged()
        more_bytes = self._limits.stream_window_bytes - self._own_stream_window_bytes
        self._own_stream_window_bytes += more_bytes
        for stream in self._streams.values():
            stream.receivable_bytes += more_bytes

    def _take_setting(self, setting: int, value: int) -> None:
        match setting:
            case Setting.HEADER_TABLE_SIZE:
                if value < DEFAULT_TABLE_BYTES:
                    self._block_prefix = _NO_TABLE  # RFC 7541 section 4.2: a smaller one has to be acknowledged so
            case Setting.MAX_FRAME_SIZE:
                if not MAX_FRAME_BYTES <= value < 1 << 24:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame size that is not allowed")
            case Setting.ENABLE_PUSH | Setting.NO_RFC7540_PRIORITIES:
                if value > 1:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{Setting(setting).name} that is neither 0 nor 1")
            case _:
                raise AssertionError(f"setting {setting} is not heeded")

    def _take_push_promise(self, _flags: int, _stream_id: int, _content: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client that pushes")

    def _take_ping(self, flags: int, _stream_id: int, content: bytes) -> None:
        if len(content) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong size")
        self._count_control()
        if not flags & ACK:
            self._answer(encode_ping(content, is_ack=True))
        elif content == _DRAINING and self._farewell is Farewell.ANNOUNCED:
            self._go_finally()

    def _take_goaway(self, _flags: int, _stream_id: int, content: bytes) -> None:
        """The client opens no more streams; those that are open it still wants answered."""
        if len(content) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of a wrong size")
        self._count_control()
        self._ends_when_idle = True


_READERS: Final[dict[int, Callable[[H2Engine, int, int, bytes], None]]] = {
    FrameType.DATA: H2Engine._take_data,
    FrameType.HEADERS: H2Engine._take_headers,
    FrameType.PRIORITY: H2Engine._take_priority,
    FrameType.RST_STREAM: H2Engine._take_reset,
    FrameType.SETTINGS: H2Engine._take_settings,
    FrameType.PUSH_PROMISE: H2Engine._take_push_promise,
    FrameType.PING: H2Engine._take_ping,
    FrameType.GOAWAY: H2Engine._take_goaway,
    FrameType.WINDOW_UPDATE: H2Engine._take_window_update,
    FrameType.CONTINUATION: H2Engine._take_continuation,
    FrameType.PRIORITY_UPDATE: H2Engine._take_priority_update,
}
_OF_CONNECTION: Final = frozenset((FrameType.SETTINGS, FrameType.PING, FrameType.GOAWAY, FrameType.PRIORITY_UPDATE))
