"""The half of an HTTP/2 connection that sends (RFC 9113 sections 5 and 6.9, RFC 9218 section 10)."""

from __future__ import annotations

from typing import Final

from cdn.edge.h2_events import ConnectionOver, ErrorCode, Event, HeaderList, StreamOver, Writable
from cdn.edge.h2_frames import (
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    END_STREAM,
    MAX_FRAME_BYTES,
    FrameType,
    encode_goaway,
    encode_head,
    encode_reset,
    frame_header,
)
from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_priorities import Priority, Turns, priority_of
from cdn.edge.h2_streams import Step, Stream, StreamState

DIRECT_BYTES: Final = 64 * 1024
"""Content that leaves in the order of its requests when it has all it needs: until then nobody looks at priorities,
because it all leaves in one write."""

MAX_DIRECT_BYTES: Final = 256 * 1024
"""The same while all of it has the same priority and is not incremental, where the order of requests is the right one.
Beyond, answers wait in their streams."""

_HEADERS: Final = FrameType.HEADERS.value
_DATA: Final = FrameType.DATA.value
_HEADERS_OF_FRAMES_BYTES: Final = 18
_ONLY_HEAD_FLAGS: Final = END_HEADERS | END_STREAM
_ENDED: Final = (StreamState.CLOSED, StreamState.RESET)
_pack = frame_header.pack


class H2Sender:
    """Answers in, frames out. H2Engine is this and what reads.

    A request whose content is whole and that nobody has answered is only an entry of `_asked`, with its fields: most
    answers leave at once, so most streams never become a Stream.
    """

    # With places of their own: of more than 30 attributes Python keeps a dictionary for each connection, 1.2 KiB.
    __slots__ = (
        "_asked",
        "_block_prefix",
        "_direct_priority",
        "_ends_when_idle",
        "_events",
        "_fed_bytes",
        "_granted_bytes",
        "_has_said_goodbye",
        "_is_over",
        "_last_id",
        "_leaving",
        "_limits",
        "_ready",
        "_ready_bytes",
        "_stall",
        "_stream_window_bytes",
        "_streams",
        "_turns",
        "_unsent_answers_bytes",
        "_wanting",
        "_window_bytes",
    )

    def __init__(self, limits: H2Limits) -> None:
        self._limits = limits
        self._events: list[Event] = []
        self._asked: dict[int, HeaderList] = {}
        self._streams: dict[int, Stream] = {}
        self._ready: list[bytes | memoryview] = []
        self._ready_bytes = 0
        self._direct_priority: Priority | None = None
        self._leaving: list[int] = []  # answered streams that count until their frames have left
        self._unsent_answers_bytes = 0
        self._turns = Turns()
        self._window_bytes = self._granted_bytes = DEFAULT_WINDOW_BYTES
        self._stream_window_bytes = DEFAULT_WINDOW_BYTES  # of new streams, as the client's SETTINGS say
        self._stall: tuple[float, int] | None = None
        self._fed_bytes = 0
        self._wanting: dict[int, None] = {}  # streams that wait for `Writable`
        self._block_prefix = b""
        self._last_id = -1  # of the streams that the client has opened: these are odd
        self._ends_when_idle = False
        self._has_said_goodbye = False
        self._is_over = False

    # -- answers: each does nothing for a stream that is over ----------------------------------------------------------

    def respond(self, stream_id: int, block: bytes, content: bytes | memoryview) -> None:
        """A whole response. `content` is not copied until it is sent; empty: HEADERS end the stream.

        0.6 us where it leaves at once.
        """
        size = len(content)
        if (
            stream_id in self._asked
            and size <= self._window_bytes
            and size <= self._stream_window_bytes
            and size <= MAX_FRAME_BYTES
            and len(block) <= MAX_FRAME_BYTES
            and not self._turns
            and not self._block_prefix
            and (self._ready_bytes <= DIRECT_BYTES or self._may_go_direct(stream_id))
        ):
            del self._asked[stream_id]
            block_bytes = len(block)
            if size:  # pieces: joining them here costs half as much again as one join of all that leaves
                head = _pack(block_bytes << 8 | _HEADERS, END_HEADERS, stream_id)
                self._ready += (head, block, _pack(size << 8 | _DATA, END_STREAM, stream_id), content)
                self._window_bytes -= size
            else:
                self._ready += (_pack(block_bytes << 8 | _HEADERS, _ONLY_HEAD_FLAGS, stream_id), block)
            self._ready_bytes += size + block_bytes + _HEADERS_OF_FRAMES_BYTES
        else:
            self._respond(stream_id, block, content)

    def _respond(self, stream_id: int, block: bytes, content: bytes | memoryview) -> None:
        size = len(content)
        self.send_head(stream_id, block, is_end=not size)
        stream = self._streams.get(stream_id)
        if size and stream is not None and not stream.is_ending:
            stream.is_whole = stream.is_ending = True
            self._queue(stream, content)

    def _may_go_direct(self, stream_id: int) -> bool:
        """Whether a response may be sent in the order of requests though much is ready before it."""
        if self._ready_bytes > MAX_DIRECT_BYTES:
            return False
        priority = priority_of(self._asked[stream_id])
        if self._direct_priority is None:
            self._direct_priority = priority
        return priority == self._direct_priority and not priority.is_incremental

    def send_interim(self, stream_id: int, block: bytes) -> None:
        """The block of an interim response (RFC 9110 section 15.2)."""
        if self._is_answerable(stream_id):
            self._append_head(stream_id, block, is_end=False)

    def send_head(self, stream_id: int, block: bytes, *, is_end: bool) -> None:
        """The block of the response; content follows unless `is_end`."""
        if not self._is_answerable(stream_id):
            return
        self._append_head(stream_id, block, is_end=is_end)
        if is_end:
            self._end(stream_id)
        else:
            self._stream(stream_id)

    def send_content(self, stream_id: int, part: bytes | memoryview, *, is_end: bool) -> None:
        """Content after its head. Ask `may_send` first; a part is queued in any case."""
        stream = self._streams.get(stream_id)
        if stream is None or not self._is_answerable(stream_id):
            return
        stream.is_ending = is_end
        if part:
            stream.queued_bytes += len(part)
            self._fed_bytes += len(part)
            self._queue(stream, part)
        elif is_end and not stream.queue:
            self._append(_pack(_DATA, END_STREAM, stream_id))
            self._end(stream_id)

    def send_trailers(self, stream_id: int, block: bytes) -> None:
        """Trailer fields after the content; they end the stream."""
        stream = self._streams.get(stream_id)
        if stream is None or not self._is_answerable(stream_id):
            return
        if stream.queue:
            stream.is_ending, stream.trailers = True, block
        else:
            self._append_head(stream_id, block, is_end=True)
            self._end(stream_id)

    def may_send(self, stream_id: int) -> bool:
        """Whether the next part of this stream's content has room. When not, `Writable` comes once it has, or
        `StreamOver`. True for a stream with nothing queued and for one that is over."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.queued_bytes or self._fed_bytes < self._limits.max_queued_bytes:
            return True
        self._wanting[stream_id] = None
        return False

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream (RST_STREAM): what is queued of it is dropped. No `StreamOver` follows."""
        if stream_id in self._asked or stream_id in self._streams:
            self._append(encode_reset(stream_id, code))
            self._close(stream_id, Step.SENT_RESET)

    # -- frames that leave ---------------------------------------------------------------------------------------------

    def output(self, max_bytes: int) -> list[bytes | memoryview]:
        """Frames that may leave now, in order, in pieces; at most a frame more of them than `max_bytes`.

        Content leaves by urgency and fairly among equals (RFC 9218 section 10), within the windows. Ask again when the
        transport has taken these, before anything else is sent: a frame may begin here and end there. Empty when there
        is nothing to send.
        """
        if self._ready_bytes > max_bytes + MAX_FRAME_BYTES:
            return self._part_of_ready(max_bytes)
        if self._turns:
            self._take_turns(max_bytes - self._ready_bytes)
        frames = self._ready
        self._ready = []
        self._ready_bytes = self._unsent_answers_bytes = 0
        self._direct_priority = None
        if self._leaving:
            for stream_id in self._leaving:
                self._close(stream_id, Step.SENT_END)
            self._leaving.clear()
        if self._wanting:
            self._tell_writable()
        if self._ends_when_idle:
            self._end_when_idle()
            frames += self._ready
            self._ready = []
        return frames

    def _part_of_ready(self, max_bytes: int) -> list[bytes | memoryview]:
        count = size = 0
        while not count or size < max_bytes:
            size += len(self._ready[count])
            count += 1
        frames = self._ready[:count]
        del self._ready[:count]
        self._ready_bytes -= size
        return frames

    def stalled_since(self, now: float, min_rate_bytes_per_s: int) -> dict[int, float]:
        """Streams whose content waits for the client's windows, and since when they have got less than the rate; 0
        stands for the connection's window. To be asked about once a second: that is how exact it is."""
        found: dict[int, float] = {}
        is_waiting = False
        for stream in self._streams.values():
            stream.stall = (
                _stalled(stream.stall, stream.sent_bytes, stream.window_bytes, now, min_rate_bytes_per_s)
                if stream.queue
                else None
            )
            is_waiting = is_waiting or bool(stream.queue)
            if stream.stall is not None:
                found[stream.id] = stream.stall[0]
        self._stall = (
            _stalled(self._stall, self._sent_bytes, self._window_bytes, now, min_rate_bytes_per_s)
            if is_waiting
            else None
        )
        if self._stall is not None:
            found[0] = self._stall[0]
        return found

    def is_answered(self, stream_id: int) -> bool:
        """Whether the end of the response has left, or the stream is over."""
        stream = self._streams.get(stream_id)
        is_open = stream is not None and stream.state is not StreamState.HALF_CLOSED_LOCAL
        return stream_id not in self._asked and not is_open

    @property
    def open_streams(self) -> int:
        """Requests under way: those whose content comes, that wait for an answer, or whose answer is leaving."""
        return len(self._asked) + len(self._streams)

    @property
    def has_output(self) -> bool:
        """Whether `output` would give anything."""
        return bool(self._ready) or (self._window_bytes > 0 and bool(self._turns))

    @property
    def is_over(self) -> bool:
        """Whether nothing more is read; `output` may still have the last frames."""
        return self._is_over

    @property
    def _sent_bytes(self) -> int:
        return self._granted_bytes - self._window_bytes

    def _take_turns(self, budget_bytes: int) -> None:
        turns = self._turns
        while budget_bytes > 0 and self._window_bytes > 0:
            stream = turns.take()
            if stream is None:
                break
            budget_bytes -= self._send_part(stream)
            if not stream.queue:
                if stream.is_ending:
                    self._close(stream.id, Step.SENT_END)
            elif stream.window_bytes > 0:
                turns.add(stream)

    def _send_part(self, stream: Stream) -> int:
        """One DATA frame, and what ends the stream when it is the last."""
        part = stream.queue[0]
        size = min(len(part), self._window_bytes, stream.window_bytes, MAX_FRAME_BYTES)
        if size == len(part):
            stream.queue.popleft()
            piece = part
        else:
            view = memoryview(part)
            piece, stream.queue[0] = view[:size], view[size:]
        is_last = stream.is_ending and not stream.queue
        flags = END_STREAM if is_last and stream.trailers is None else 0
        self._ready += (_pack(size << 8 | _DATA, flags, stream.id), piece)
        self._window_bytes -= size
        stream.window_bytes -= size
        stream.sent_bytes += size
        if not stream.is_whole:
            stream.queued_bytes -= size
            self._fed_bytes -= size
        if is_last and stream.trailers is not None:
            self._append_head(stream.id, stream.trailers, is_end=True)
        return size

    # -- streams -------------------------------------------------------------------------------------------------------

    def _is_answerable(self, stream_id: int) -> bool:
        if stream_id in self._asked:
            return not self._leaving or stream_id not in self._leaving
        stream = self._streams.get(stream_id)
        return stream is not None and stream.state is not StreamState.HALF_CLOSED_LOCAL and not stream.is_ending

    def _stream(self, stream_id: int) -> Stream | None:
        """The stream with all that belongs to one, None when it is over."""
        fields = self._asked.pop(stream_id, None)
        if fields is None:
            return self._streams.get(stream_id)
        stream = Stream(stream_id, StreamState.HALF_CLOSED_REMOTE, fields, self._stream_window_bytes)
        self._streams[stream_id] = stream
        return stream

    def _queue(self, stream: Stream, part: bytes | memoryview) -> None:
        stream.queue.append(part)
        if stream.window_bytes > 0:
            self._turns.add(stream)

    def _append(self, frame: bytes) -> None:
        self._ready.append(frame)
        self._ready_bytes += len(frame)

    def _append_head(self, stream_id: int, block: bytes, *, is_end: bool) -> None:
        if self._block_prefix:
            block, self._block_prefix = self._block_prefix + block, b""
        self._append(encode_head(stream_id, block, is_end=is_end))

    def _end(self, stream_id: int) -> None:
        """Its last frame is ready. While much is, the stream counts on: so a client that reads nothing gets no more
        answers than it may have streams."""
        if self._ready_bytes > MAX_DIRECT_BYTES:
            self._leaving.append(stream_id)
        else:
            self._close(stream_id, Step.SENT_END)

    def _close(self, stream_id: int, step: Step) -> None:
        """Take a step that ends one side of the stream, or both."""
        if self._asked.pop(stream_id, None) is not None:
            return
        stream = self._streams.get(stream_id)
        if stream is not None and stream.step(step) in _ENDED:
            del self._streams[stream_id]
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        """Nothing more is sent of it."""
        self._turns.remove(stream)
        self._fed_bytes -= stream.queued_bytes
        stream.queue.clear()
        stream.queued_bytes = 0
        self._wanting.pop(stream.id, None)

    def _tell_writable(self) -> None:
        for stream_id in list(self._wanting):
            stream = self._streams.get(stream_id)
            if stream is None or not stream.queued_bytes or self._fed_bytes < self._limits.max_queued_bytes:
                del self._wanting[stream_id]
                self._events.append(Writable(stream_id))

    def _over_for(self, stream_id: int, code: ErrorCode, step: Step) -> None:
        """The stream is over for a reason of the client, and whoever works for it is told."""
        if stream_id in self._asked or stream_id in self._streams:
            is_answered = self.is_answered(stream_id)
            self._close(stream_id, step)
            self._events.append(StreamOver(stream_id, code, is_answered))

    # -- the end -------------------------------------------------------------------------------------------------------

    def go_away(self, code: ErrorCode, reason: str) -> None:
        """End the connection: GOAWAY is the last frame of `output`; `ConnectionOver` comes."""
        if not self._is_over:
            self._say_goodbye(code, reason)
            self._finish(code, reason)

    def _end_when_idle(self) -> None:
        if not self._asked and not self._streams and not self._is_over:
            self._say_goodbye(ErrorCode.NO_ERROR, "")
            self._finish(ErrorCode.NO_ERROR, "")

    def _say_goodbye(self, code: ErrorCode, reason: str) -> None:
        if not self._has_said_goodbye or code is not ErrorCode.NO_ERROR:
            self._has_said_goodbye = True
            self._append(encode_goaway(max(self._last_id, 0), code, reason))

    def _finish(self, code: ErrorCode, reason: str) -> None:
        self._is_over = True
        self._asked.clear()
        for stream in self._streams.values():
            self._forget(stream)
        self._streams.clear()
        self._leaving.clear()
        self._wanting.clear()
        self._events.append(ConnectionOver(code, reason))


def _stalled(
    stall: tuple[float, int] | None, sent_bytes: int, window_bytes: int, now: float, min_rate_bytes_per_s: int
) -> tuple[float, int] | None:
    """Since when less than the rate was sent, and what had been sent then; a window of octets is none."""
    if window_bytes >= MAX_FRAME_BYTES:  # what it waits for is not the client
        return None
    if stall is not None and sent_bytes - stall[1] < min_rate_bytes_per_s * (now - stall[0]):
        return stall
    return (now, sent_bytes) if window_bytes <= 0 else None
