"""The server's side of one HTTP/2 connection without IO (RFC 9113): bytes in, events out; answers in, frames out."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from cdn.edge.h2_budget import ClientBudget
from cdn.edge.h2_events import ContentEnd, ContentPart, ErrorCode, Event, HeaderList, RequestHead
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
    SETTINGS_ACK,
    ConnectionFault,
    FrameType,
    Setting,
    encode_goaway,
    encode_ping,
    encode_reset,
    encode_settings,
    encode_window_update,
    frame_header,
    read_error_code,
    read_padded,
    read_settings,
)
from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_priorities import Priority, read_priority
from cdn.edge.h2_sender import H2Sender
from cdn.edge.h2_streams import CODES, VERDICTS, Step, Stream, StreamState, Verdict
from cdn.edge.hpack_decoder import DEFAULT_TABLE_BYTES, HpackDecoder, HpackFault

MAX_SKIPPED: Final = 32
"""Ranges of stream identifiers that a client passed over, remembered to name its fault right. Few clients do."""

_HEADERS: Final = FrameType.HEADERS.value
_WHOLE: Final = END_STREAM | END_HEADERS
_WHOLE_WITH_PRIORITY: Final = _WHOLE | PRIORITY
_PRIORITY_BYTES: Final = 5
_DRAINING: Final = b"draining"
_NO_TABLE: Final = b"\x20"  # RFC 7541 section 6.3: from here on our blocks use a dynamic table of no size
_FIELD_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+\-.^_`|~]+")
_unpack = frame_header.unpack_from


class Farewell(Enum):
    """How far the server is in going away (section 6.8)."""

    NONE = auto()
    ANNOUNCED = auto()  # streams that are on their way are still served
    FINAL = auto()


class H2Engine(H2Sender):
    """One connection. Never raises on any input: what a client does wrong becomes frames and events.

    Whoever drives it calls `receive` with what came, answers the events, then takes `output` while the transport has
    room, and after that `take_events`.
    """

    def __init__(self, limits: H2Limits) -> None:
        super().__init__(limits)
        self._decoder = HpackDecoder(limits.max_header_list_bytes, limits.header_table_bytes)
        self._budget = ClientBudget(limits)
        self._now = 0.0
        self._held = bytearray()
        self._needed_bytes = len(PREFACE)
        self._has_preface = self._has_begun = False
        self._block: list[bytes] | None = None  # of HEADERS that CONTINUATION frames follow
        self._block_stream_id = self._block_flags = self._block_bytes = 0
        self._own_stream_window_bytes = DEFAULT_WINDOW_BYTES  # the client has not read our SETTINGS yet
        self._is_acknowledged = False
        self._receivable_bytes = DEFAULT_WINDOW_BYTES
        self._returned_bytes = 0
        self._resets: OrderedDict[int, None] = OrderedDict()
        self._skipped: deque[range] = deque(maxlen=MAX_SKIPPED)
        self._foretold: dict[int, Priority] = {}  # of streams that are not open yet
        self._farewell = Farewell.NONE
        self._final_id = MAX_STREAM_ID

    # -- what came -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Queue our SETTINGS, which are the first frame of a connection (RFC 9113 section 3.4)."""
        limits = self._limits
        values = {
            Setting.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
            Setting.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            Setting.MAX_HEADER_LIST_SIZE: limits.max_header_list_bytes,
            Setting.NO_RFC7540_PRIORITIES: 1,
        }
        if limits.header_table_bytes != DEFAULT_TABLE_BYTES:
            values[Setting.HEADER_TABLE_SIZE] = limits.header_table_bytes
        self._append(encode_settings(values))
        more_bytes = limits.connection_window_bytes - DEFAULT_WINDOW_BYTES
        if more_bytes > 0:
            self._append(encode_window_update(0, more_bytes))
            self._receivable_bytes += more_bytes

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
        if self._ends_when_idle:
            self._end_when_idle()
        return self.take_events()

    def take_events(self) -> list[Event]:
        """What has happened beside `receive`: `Writable` after `output`, `ConnectionOver` after `drain` or a limit that
        was met while answering. To be asked after `output`."""
        events = self._events
        self._events = []
        return events

    def consumed(self, stream_id: int, flow_bytes: int) -> None:
        """A part of a request's content was read: the client may send as much again.

        Does nothing for a stream that is over: what nobody read of it was given back to the connection at once.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        flow_bytes = min(flow_bytes, stream.unread_bytes)
        stream.unread_bytes -= flow_bytes
        self._give_back(flow_bytes)
        if stream.state in (StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL):
            stream.returned_bytes += flow_bytes
            if stream.returned_bytes * 2 >= self._limits.stream_window_bytes:
                self._append(encode_window_update(stream_id, stream.returned_bytes))
                stream.receivable_bytes += stream.returned_bytes
                stream.returned_bytes = 0

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

    def go_away(self, code: ErrorCode, reason: str) -> None:
        """End the connection: GOAWAY is the last frame of `output`; `ConnectionOver` comes."""
        if not self._is_over:
            self._say_goodbye(code, reason)
            self._finish(code, reason)

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
        """Read frames from there on; where the first one starts that is not whole. 1.1 us for a request of 15 fields,
        beside decoding them."""
        size = len(data)
        if not self._has_preface:
            return at
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
            kind = word & 0xFF
            if (
                kind == _HEADERS
                and stream_id == self._last_id + 2
                and (flags == _WHOLE or (flags == _WHOLE_WITH_PRIORITY and length > _PRIORITY_BYTES))
                and self._may_open_at_once()
            ):
                self._last_id = stream_id
                fields = self._decode(data[start if flags == _WHOLE else start + _PRIORITY_BYTES : at])
                self._asked[stream_id] = fields
                self._events.append(RequestHead(stream_id, fields, True, self._decoder.is_list_too_large))
            else:
                self._take_frame(kind, flags, stream_id & MAX_STREAM_ID, data[start:at])
        self._needed_bytes = HEADER_BYTES
        return at

    def _may_open_at_once(self) -> bool:
        return (
            len(self._asked) + len(self._streams) < self._limits.max_concurrent_streams
            and self._block is None
            and self._has_begun
            and not self._foretold
            and self._farewell is not Farewell.FINAL
        )

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

    def _count_control(self) -> None:
        self._budget.count_control_frame(self._now, self._sent_bytes, self._last_id >> 1)

    def _answer(self, frame: bytes) -> None:
        """Send what the protocol asks for. Raises ConnectionFault when the client has not read many of them."""
        self._append(frame)
        self._unsent_answers_bytes += len(frame)
        if self._unsent_answers_bytes > self._limits.max_unsent_answers_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "answers that are not read")

    def _verdict(self, stream_id: int, kind: FrameType) -> Verdict:
        """What a frame means now. Raises ConnectionFault where the connection is over with it."""
        verdict = VERDICTS[self._state_of(stream_id), kind]
        code = CODES.get(verdict)
        if code is not None:
            raise ConnectionFault(code, f"{kind.name} on a stream that is not open")
        return verdict

    def _state_of(self, stream_id: int) -> StreamState:
        if stream_id in self._asked:
            return StreamState.HALF_CLOSED_REMOTE
        stream = self._streams.get(stream_id)
        if stream is not None:
            return stream.state
        if stream_id > self._final_id and stream_id & 1:
            return StreamState.RESET  # it came after we had gone: ignored (section 6.8)
        if stream_id > self._last_id or not stream_id & 1:
            return StreamState.IDLE
        if stream_id in self._resets:
            return StreamState.RESET
        return StreamState.SKIPPED if any(stream_id in ids for ids in self._skipped) else StreamState.CLOSED

    def _fail(self, stream_id: int, code: ErrorCode) -> None:
        """An error of the stream (section 5.4.2)."""
        self._answer(encode_reset(stream_id, code))
        self._over_for(stream_id, code, Step.SENT_RESET)
        self._budget.count_reset(self._now, self._sent_bytes, self._last_id >> 1)

    def _remember_reset(self, stream_id: int) -> None:
        self._resets[stream_id] = None
        if len(self._resets) > self._limits.max_resets:
            self._resets.popitem(last=False)

    def _forget(self, stream: Stream) -> None:
        super()._forget(stream)
        if stream.state is StreamState.RESET:
            self._remember_reset(stream.id)
        unread_bytes, stream.unread_bytes = stream.unread_bytes, 0
        self._give_back(unread_bytes)

    # -- HEADERS and CONTINUATION --------------------------------------------------------------------------------------

    def _take_headers(self, flags: int, stream_id: int, content: bytes) -> None:
        block = read_padded(content, flags)
        if flags & PRIORITY:
            if len(block) < _PRIORITY_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without the priority that it announces")
            block = block[_PRIORITY_BYTES:]
        if flags & END_HEADERS:
            self._take_block(stream_id, block, is_end=bool(flags & END_STREAM))
            return
        self._block, self._block_bytes = [block], len(block)
        self._block_stream_id, self._block_flags = stream_id, flags

    def _take_continuation(self, flags: int, stream_id: int, content: bytes) -> None:
        if self._block is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block.append(content)
        self._block_bytes += len(content)
        limits = self._limits
        if len(self._block) > limits.max_continuations + 1 or self._block_bytes > limits.max_header_block_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block that is too large")
        if flags & END_HEADERS:
            block, self._block = b"".join(self._block), None
            self._take_block(stream_id, block, is_end=bool(self._block_flags & END_STREAM))

    def _decode(self, block: bytes) -> HeaderList:
        try:
            return self._decoder.decode(block)
        except HpackFault as fault:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(fault)) from fault

    def _take_block(self, stream_id: int, block: bytes, *, is_end: bool) -> None:
        fields = self._decode(block)  # in any case: the table has to stay in step
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream identifier that clients do not use")
        match self._verdict(stream_id, FrameType.HEADERS):
            case Verdict.STREAM_CLOSED:
                self._fail(stream_id, ErrorCode.STREAM_CLOSED)
            case Verdict.IGNORE:
                self._count_control()
            case _ if stream_id > self._last_id:
                self._open(stream_id, fields, is_end=is_end)
            case _:
                self._take_trailers(stream_id, fields, is_end=is_end)

    def _open(self, stream_id: int, fields: HeaderList, *, is_end: bool) -> None:
        if stream_id > self._last_id + 2:
            self._skipped.append(range(self._last_id + 2 if self._last_id else 1, stream_id, 2))
        self._last_id = stream_id
        if self.open_streams >= self._limits.max_concurrent_streams:
            if not is_end:
                self._remember_reset(stream_id)
            self._fail(stream_id, ErrorCode.REFUSED_STREAM)
            return
        priority = self._foretold.pop(stream_id, None)
        if is_end and priority is None:
            self._asked[stream_id] = fields
        else:
            state = StreamState.HALF_CLOSED_REMOTE if is_end else StreamState.OPEN
            stream = Stream(stream_id, state, fields, self._stream_window_bytes, self._own_stream_window_bytes)
            stream.given_priority = priority
            self._streams[stream_id] = stream
        self._events.append(RequestHead(stream_id, fields, is_end, self._decoder.is_list_too_large))

    def _take_trailers(self, stream_id: int, fields: HeaderList, *, is_end: bool) -> None:
        if not is_end or any(_FIELD_NAME.fullmatch(name) is None for name, _ in fields):
            self._fail(stream_id, ErrorCode.PROTOCOL_ERROR)  # malformed (section 8.1)
            return
        self._end_request(stream_id)

    def _end_request(self, stream_id: int) -> None:
        self._events.append(ContentEnd(stream_id))
        self._close(stream_id, Step.RECEIVED_END)

    # -- DATA ----------------------------------------------------------------------------------------------------------

    def _take_data(self, flags: int, stream_id: int, content: bytes) -> None:
        flow_bytes = len(content)
        part = read_padded(content, flags)
        if flow_bytes > self._receivable_bytes:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "content beyond the window of the connection")
        self._receivable_bytes -= flow_bytes
        is_end = bool(flags & END_STREAM)
        if not part and not is_end:
            self._count_control()
        match self._verdict(stream_id, FrameType.DATA):
            case Verdict.TAKE:
                self._take_content(self._streams[stream_id], part, flow_bytes, is_end=is_end)
            case Verdict.IGNORE:
                self._count_control()
                self._give_back(flow_bytes)
            case _:
                self._give_back(flow_bytes)
                self._fail(stream_id, ErrorCode.STREAM_CLOSED)

    def _take_content(self, stream: Stream, part: bytes, flow_bytes: int, *, is_end: bool) -> None:
        stream.unread_bytes += flow_bytes
        if flow_bytes > stream.receivable_bytes:
            self._fail(stream.id, ErrorCode.FLOW_CONTROL_ERROR)
            return
        stream.receivable_bytes -= flow_bytes
        if part:
            self._events.append(ContentPart(stream.id, part, flow_bytes))
        if is_end:
            self._end_request(stream.id)
        elif not part and flow_bytes:
            self.consumed(stream.id, flow_bytes)

    def _give_back(self, flow_bytes: int) -> None:
        """Let the client send as much again on the connection."""
        self._returned_bytes += flow_bytes
        if self._returned_bytes * 2 >= self._limits.connection_window_bytes and not self._is_over:
            self._append(encode_window_update(0, self._returned_bytes))
            self._receivable_bytes += self._returned_bytes
            self._returned_bytes = 0

    # -- the other frames ----------------------------------------------------------------------------------------------

    def _take_priority(self, _flags: int, stream_id: int, content: bytes) -> None:
        self._count_control()
        if len(content) == _PRIORITY_BYTES:  # what it says is ignored: we said so (RFC 9218 section 2.1)
            return
        if self._state_of(stream_id) is StreamState.IDLE:  # which has no RST_STREAM
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
        self._fail(stream_id, ErrorCode.FRAME_SIZE_ERROR)

    def _take_reset(self, _flags: int, stream_id: int, content: bytes) -> None:
        if len(content) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of a wrong size")
        is_taken = self._verdict(stream_id, FrameType.RST_STREAM) is Verdict.TAKE
        if is_taken and self._state_of(stream_id) is not StreamState.HALF_CLOSED_LOCAL:
            self._over_for(stream_id, read_error_code(content), Step.RECEIVED_RESET)
            self._budget.count_reset(self._now, self._sent_bytes, self._last_id >> 1)
        else:
            self._over_for(stream_id, read_error_code(content), Step.RECEIVED_RESET)
            self._count_control()

    def _take_settings(self, flags: int, _stream_id: int, content: bytes) -> None:
        if flags & ACK:
            if content:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with content")
            self._count_control()
            self._take_acknowledgement()
            return
        if self._has_begun:
            self._count_control()
        for setting, value in read_settings(content):
            self._take_setting(setting, value)
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
            case Setting.INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW_BYTES:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "an initial window that is too large")
                self._move_windows(value)
            case Setting.MAX_FRAME_SIZE:
                if not MAX_FRAME_BYTES <= value < 1 << 24:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame size that is not allowed")
            case Setting.ENABLE_PUSH | Setting.NO_RFC7540_PRIORITIES:
                if value > 1:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{Setting(setting).name} that is neither 0 nor 1")
            case _:
                pass  # of no meaning to us, or unknown (section 6.5.2)

    def _move_windows(self, initial_bytes: int) -> None:
        """A new initial window counts for open streams too (section 6.9.2)."""
        more_bytes = initial_bytes - self._stream_window_bytes
        self._stream_window_bytes = initial_bytes
        for stream in self._streams.values():
            stream.window_bytes += more_bytes
            if stream.window_bytes > MAX_WINDOW_BYTES:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "an initial window that is too large")
            if stream.window_bytes <= 0:
                self._turns.remove(stream)
            elif stream.queue:
                self._turns.add(stream)

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

    def _take_window_update(self, _flags: int, stream_id: int, content: bytes) -> None:
        if len(content) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size")
        self._count_control()
        more_bytes = int.from_bytes(content, "big") & MAX_WINDOW_BYTES
        if stream_id:
            if self._verdict(stream_id, FrameType.WINDOW_UPDATE) is Verdict.TAKE:
                self._widen(stream_id, more_bytes)
            return
        if not more_bytes:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window that grows by nothing")
        if self._window_bytes + more_bytes > MAX_WINDOW_BYTES:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
        self._window_bytes += more_bytes
        self._granted_bytes += more_bytes

    def _widen(self, stream_id: int, more_bytes: int) -> None:
        stream = self._stream(stream_id)
        if stream is None:
            return
        if not more_bytes:
            self._fail(stream_id, ErrorCode.PROTOCOL_ERROR)
        elif stream.window_bytes + more_bytes > MAX_WINDOW_BYTES:
            self._fail(stream_id, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            stream.window_bytes += more_bytes
            if stream.queue and stream.window_bytes > 0:
                self._turns.add(stream)

    def _take_priority_update(self, _flags: int, _stream_id: int, content: bytes) -> None:
        """RFC 9218 section 7.1."""
        if len(content) < 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY_UPDATE of a wrong size")
        self._count_control()
        stream_id = int.from_bytes(content[:4], "big") & MAX_STREAM_ID
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY_UPDATE of a stream that no client opens")
        priority = read_priority(content[4:].decode("latin-1"))
        if stream_id > self._last_id:
            if stream_id in self._foretold or len(self._foretold) < self._limits.max_concurrent_streams:
                self._foretold[stream_id] = priority
            return
        stream = self._stream(stream_id)
        if stream is not None:
            self._turns.change(stream, priority)


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
