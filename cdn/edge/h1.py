"""The HTTP/1.1 engine (RFC 9112): bytes in, events out. No socket, no clock, no task.

Events of one message come in this order: MessageHead, content parts (bytes), MessageEnd; then the engine holds
whatever was sent behind it until `start_next`. A Refused ends it: nothing can be said about the bytes that follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from cdn.edge.content_framing import Chunked, FixedLength
from cdn.edge.head_parser import HeadParser, MessageHead, RequestLine, read_request_line
from cdn.edge.limits import HttpLimits
from cdn.edge.refusal import Refusal, Refused

PART_BYTES = 64 * 1024
"""Largest content part that is handed out at once."""

_CR = 0x0D


class EngineState(Enum):
    """What the next bytes are part of."""

    HEAD = auto()
    CONTENT = auto()
    DONE = auto()  # a message has ended; `start_next` goes on
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """The message is whole."""


Event = MessageHead | bytes | MessageEnd | Refused


class H1Engine:
    """Reads the requests of one connection. Any way of cutting the input gives the same events but for part sizes.

    The head is bounded before anything parses it. `buffer` holds what was received and not consumed: whoever feeds the
    engine watches its length and stops reading from the client. `has_refused_head` tells after a Refused head that its
    method was HEAD: the answer then has no content.
    """

    __slots__ = (
        "_clean",
        "_framing",
        "_has_skipped_line",
        "_limits",
        "_line",
        "_line_end",
        "_parser",
        "_quick_bytes",
        "_scheme",
        "_searched",
        "buffer",
        "has_refused_head",
        "state",
    )

    def __init__(self, parser: HeadParser, limits: HttpLimits, scheme: str = "http") -> None:
        self._parser = parser
        self._limits = limits
        self._scheme = scheme
        self._quick_bytes = min(limits.max_request_line_bytes, limits.max_fields_bytes)
        self.buffer = bytearray()
        self.state = EngineState.HEAD
        self.has_refused_head = False
        self._framing: FixedLength | Chunked | None = None
        self._line: RequestLine | None = None
        self._line_end = 0
        self._clean = 0
        self._searched = 0
        self._has_skipped_line = False

    @property
    def is_between(self) -> bool:
        """Whether nothing of the next message is here, but for an empty line, which says nothing."""
        return not self.buffer or self.buffer == b"\r\n"

    def receive(self, data: bytes) -> None:
        """Take bytes in; then ask for events."""
        if self.state is not EngineState.REFUSED:
            self.buffer += data

    def next_event(self) -> Event | None:
        """The next event; None when more bytes, or `start_next`, are needed."""
        match self.state:
            case EngineState.HEAD:
                head = self.take_head()
                return self.open(head) if isinstance(head, bytes) else head
            case EngineState.CONTENT:
                return self._next_part()
            case EngineState.DONE | EngineState.REFUSED:
                return None

    def start_next(self) -> None:
        """Go on with the message after the one that ended, or after a head without content."""
        assert self.state is EngineState.DONE or (self.state is EngineState.CONTENT and self._framing is None)
        self.state = EngineState.HEAD

    def end_of_input(self) -> Refused | None:
        """The client sends nothing more: a message that is not whole is refused."""
        if self.state is EngineState.CONTENT:
            return self._refuse(Refused(Refusal.INCOMPLETE), b"")
        if self.state is EngineState.HEAD and not self.is_between:
            return self._refuse(Refused(Refusal.INCOMPLETE), self.buffer)
        return None

    def take_head(self) -> bytes | Refused | None:
        """The raw bytes of the next head, not judged yet: `open` does that, unless the same bytes were judged before.

        None when it is not whole; Refused as soon as it can never become acceptable.
        """
        buffer = self.buffer
        if not buffer:
            return None
        if buffer[0] == _CR and not self._skip_empty_line():
            return None
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            fault = self._judge_partial()
            return None if fault is None else self._refuse(fault, buffer)
        head = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._reset_head()
        return head

    def open(self, head: bytes) -> MessageHead | Refused:
        """Judge a whole head, such as `take_head` gave; the content that follows it comes from `next_event`."""
        if len(head) <= self._quick_bytes:
            plain = self._parser.parse_plain(head, self._scheme)
            if plain is not None:
                self._framing = None
                self.state = EngineState.CONTENT
                return plain
        line = self._judge_quickly(head) or self._judge_slowly(head)
        message = line if isinstance(line, Refused) else self._parser.parse(line, head, self._scheme)
        if isinstance(message, Refused):
            return self._refuse(message, head)
        self._framing = message.framing
        self.state = EngineState.CONTENT
        return message

    def _judge_quickly(self, head: bytes) -> RequestLine | None:
        """The request line of a head that cannot exceed any limit and has no fault; else None."""
        pairs = head.count(b"\r\n")
        if (
            len(head) > self._quick_bytes
            or pairs - 2 > self._limits.max_fields
            or head.count(b"\n") != pairs
            or head.count(b"\r") != pairs
        ):
            return None
        line = read_request_line(head[: head.find(b"\r\n")])
        return line if isinstance(line, RequestLine) else None

    def _judge_slowly(self, head: bytes) -> RequestLine | Refused:
        """Judge in the order in which bytes may have come, so that the refusal is the same however they came."""
        line = self._judge_line(head)
        if not isinstance(line, RequestLine):
            return line or Refused(Refusal.TARGET_TOO_LONG)
        fault = self._judge_fields(head)
        if fault is not None:
            return fault
        self._reset_head()
        if head.count(b"\r\n") - 2 > self._limits.max_fields:
            return Refused(Refusal.TOO_MANY_FIELDS)
        return line

    def _next_part(self) -> bytes | MessageEnd | Refused | None:
        framing = self._framing
        part = None if framing is None else framing.take(self.buffer, PART_BYTES)
        if isinstance(part, Refused):
            return self._refuse(part, b"")
        if part is None and (framing is None or framing.is_done):
            self.state = EngineState.DONE
            return MessageEnd()
        return part

    def _skip_empty_line(self) -> bool:
        """Skip one empty line before a request line (RFC 9112 section 2.2); whether there is more to look at.

        It stays in the buffer until something follows, so an empty buffer always means that nothing came.
        """
        buffer = self.buffer
        if len(buffer) == 1:
            return False
        if not self._has_skipped_line and buffer.startswith(b"\r\n"):
            if len(buffer) == 2:
                return False
            del buffer[:2]
            self._has_skipped_line = True
            return buffer != b"\r"
        return True

    def _judge_partial(self) -> Refused | None:
        """Refuse what no further bytes can mend."""
        if self._line is None:
            judged = self._judge_line(self.buffer)
            if not isinstance(judged, RequestLine):
                return judged
            self._line = judged
        return self._judge_fields(self.buffer)

    def _judge_line(self, data: bytes | bytearray) -> RequestLine | Refused | None:
        """Like `_judge_fields`, looks only at what the limits allow: the verdict is the same however much came."""
        bound = self._limits.max_request_line_bytes + 2
        end = data.find(b"\r\n", 0, bound)
        if _has_bare_line_end(data, 0, min(len(data), bound) if end < 0 else end + 2):
            return Refused(Refusal.BARE_LINE_END)
        if end < 0:
            return Refused(Refusal.TARGET_TOO_LONG) if len(data) >= bound else None
        line = read_request_line(bytes(data[:end]))
        if isinstance(line, Refused):
            return line
        self._line_end = self._clean = end
        return line

    def _judge_fields(self, data: bytes | bytearray) -> Refused | None:
        bound = self._line_end + 4 + self._limits.max_fields_bytes
        seen = min(len(data), bound)
        if _has_bare_line_end(data, self._clean, seen):
            return Refused(Refusal.BARE_LINE_END)
        self._clean = seen - 1 if data[seen - 1] == _CR else seen
        if len(data) > bound or (len(data) == bound and not data.endswith(b"\r\n\r\n")):
            return Refused(Refusal.FIELDS_TOO_LARGE)
        return None

    def _reset_head(self) -> None:
        self._line = None
        self._line_end = 0
        self._clean = 0
        self._searched = 0
        self._has_skipped_line = False

    def _refuse(self, refused: Refused, head: bytes | bytearray) -> Refused:
        self.has_refused_head = head.startswith(b"HEAD ")
        self.state = EngineState.REFUSED
        self.buffer.clear()
        return refused


def _has_bare_line_end(data: bytes | bytearray, start: int, stop: int) -> bool:
    """Whether a CR or LF in [start, stop) stands alone; a CR at its end may still get its LF."""
    if stop > start and data[stop - 1] == _CR:
        stop -= 1
    pairs = data.count(b"\r\n", start, stop)
    return data.count(b"\n", start, stop) != pairs or data.count(b"\r", start, stop) != pairs
