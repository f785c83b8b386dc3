"""The half of an HTTP/2 connection that reads requests: HEADERS, DATA and what ends them (RFC 9113 sections 5, 6, 8.1).

Windows of both sides are counted here too: how far a client may send, and how far it lets us.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from cdn.edge.h2_budget import ClientBudget
from cdn.edge.h2_events import ContentEnd, ContentPart, ErrorCode, HeaderList, RequestHead
from cdn.edge.h2_frames import (
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    END_STREAM,
    MAX_STREAM_ID,
    MAX_WINDOW_BYTES,
    PRIORITY,
    PRIORITY_BYTES,
    ConnectionFault,
    FrameType,
    encode_reset,
    encode_window_update,
    read_error_code,
    read_padded,
)
from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_priorities import Priority, read_priority
from cdn.edge.h2_section import may_stand_in_trailers
from cdn.edge.h2_sender import H2Sender
from cdn.edge.h2_streams import CODES, VERDICTS, Step, Stream, StreamState, Verdict
from cdn.edge.hpack_decoder import HpackDecoder

MAX_SKIPPED: Final = 32
"""Ranges of stream identifiers that a client passed over, remembered to name its fault right. Few clients do."""


_BLAMES_CLIENT: Final = (ErrorCode.PROTOCOL_ERROR, ErrorCode.ENHANCE_YOUR_CALM, ErrorCode.REFUSED_STREAM)


class H2Receiver(H2Sender):
    """Takes the frames of streams, each of them whole. Its `_take` methods raise ConnectionFault, or HpackFault, when
    the connection is over with them."""

    __slots__ = (
        "_block",
        "_block_bytes",
        "_block_flags",
        "_block_stream_id",
        "_budget",
        "_decoder",
        "_final_id",
        "_foretold",
        "_now",
        "_own_stream_window_bytes",
        "_receivable_bytes",
        "_resets",
        "_returned_bytes",
        "_skipped",
        "_skipped_streams",
    )

    def __init__(self, limits: H2Limits) -> None:
        super().__init__(limits)
        self._decoder = HpackDecoder(limits.max_header_list_bytes, limits.header_table_bytes)
        self._budget = ClientBudget(limits)
        self._now = 0.0
        self._block: list[bytes] | None = None  # of HEADERS that CONTINUATION frames follow
        self._block_stream_id = self._block_flags = self._block_bytes = 0
        self._own_stream_window_bytes = DEFAULT_WINDOW_BYTES  # until the client has read our SETTINGS
        self._receivable_bytes = DEFAULT_WINDOW_BYTES
        self._returned_bytes = 0
        self._resets: OrderedDict[int, None] = OrderedDict()
        self._skipped: deque[range] = deque(maxlen=MAX_SKIPPED)
        self._skipped_streams = 0
        self._foretold: dict[int, Priority] = {}  # of streams that are not open yet
        self._final_id = MAX_STREAM_ID  # streams beyond came after we had gone

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

    def is_held_up(self, stream_id: int) -> bool:
        """Whether what nobody has read, of this request or of others, is half a window or more: then the client may
        soon send no content of it."""
        stream = self._streams.get(stream_id)
        window_bytes = max(self._limits.connection_window_bytes, DEFAULT_WINDOW_BYTES)
        unread_bytes = window_bytes - self._receivable_bytes - self._returned_bytes
        return 2 * unread_bytes >= window_bytes or (
            stream is not None and 2 * stream.unread_bytes >= self._limits.stream_window_bytes
        )

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream (RST_STREAM): what is queued of it is dropped. No `StreamOver` follows.

        With a code that blames the client it counts as a fault of the client.
        """
        if stream_id not in self._asked and stream_id not in self._streams:
            return
        super().reset(stream_id, code)
        if code in _BLAMES_CLIENT:
            try:
                self._count_reset()
            except ConnectionFault as fault:
                self.go_away(fault.code, fault.reason)

    # -- HEADERS and CONTINUATION --------------------------------------------------------------------------------------

    def _take_headers(self, flags: int, stream_id: int, content: bytes) -> None:
        block = read_padded(content, flags)
        if flags & PRIORITY:
            if len(block) < PRIORITY_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without the priority that it announces")
            block = block[PRIORITY_BYTES:]
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

    def _take_block(self, stream_id: int, block: bytes, *, is_end: bool) -> None:
        fields = self._decoder.decode(block)  # in any case: the table has to stay in step
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
            self._pass_over(range(self._last_id + 2, stream_id, 2))
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

    def _pass_over(self, stream_ids: range) -> None:
        self._skipped.append(stream_ids)
        self._skipped_streams += len(stream_ids)
        for stream_id in [foretold for foretold in self._foretold if foretold in stream_ids]:
            del self._foretold[stream_id]

    def _take_trailers(self, stream_id: int, fields: HeaderList, *, is_end: bool) -> None:
        if not is_end or not all(may_stand_in_trailers(name, value) for name, value in fields):
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

    # -- what changes or ends a stream ---------------------------------------------------------------------------------

    def _take_reset(self, _flags: int, stream_id: int, content: bytes) -> None:
        if len(content) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of a wrong size")
        is_taken = self._verdict(stream_id, FrameType.RST_STREAM) is Verdict.TAKE
        if is_taken and self._state_of(stream_id) is not StreamState.HALF_CLOSED_LOCAL:
            self._over_for(stream_id, read_error_code(content), Step.RECEIVED_RESET)
            self._count_reset()
        else:
            self._over_for(stream_id, read_error_code(content), Step.RECEIVED_RESET)
            self._count_control()

    def _take_priority(self, _flags: int, stream_id: int, content: bytes) -> None:
        self._count_control()
        if len(content) == PRIORITY_BYTES:  # what it says is ignored: we said so (RFC 9218 section 2.1)
            return
        state = self._state_of(stream_id)
        if state is StreamState.IDLE:  # which has no RST_STREAM
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
        if state is not StreamState.RESET:  # one RST_STREAM for a stream is enough (section 5.4.2)
            self._fail(stream_id, ErrorCode.FRAME_SIZE_ERROR)
            self._remember_reset(stream_id)

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

    # -- states and faults ---------------------------------------------------------------------------------------------

    def _count_control(self) -> None:
        self._budget.count_control_frame(self._now, self._sent_bytes, (self._last_id >> 1) - self._skipped_streams)

    def _count_reset(self) -> None:
        self._budget.count_reset(self._now, self._sent_bytes, (self._last_id >> 1) - self._skipped_streams)

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
        self._count_reset()

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
