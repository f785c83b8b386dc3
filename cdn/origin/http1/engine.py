"""The client's side of HTTP/1.1 (RFC 9112): bytes in, events out. No socket, no clock, no task.

Events of one exchange come in this order: interim heads, the final head, content parts (bytes), MessageEnd. A Broken
ends it: nothing that follows can be used, nor can the connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from cdn.http.fields import FieldLines
from cdn.origin.http1.framing import Broken, Framing, UntilClose
from cdn.origin.http1.response_head import MessageHead, read_response_head
from cdn.origin.upstream import UpstreamFault
from cdn.origin.upstream_limits import UpstreamLimits

PART_BYTES = 64 * 1024
"""Largest content part that is handed out at once."""

_START = b"HTTP/1."
_CR = 0x0D


class EngineState(Enum):
    """What the next bytes are part of."""

    IDLE = auto()  # of nothing that was asked for
    HEAD = auto()
    CONTENT = auto()
    BROKEN = auto()


class _Input(Enum):
    """What is known of the bytes to come."""

    OPEN = auto()
    ENDED = auto()  # the upstream said that it sends nothing more
    CUT = auto()


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """The response is whole."""

    trailers: FieldLines


Event = MessageHead | bytes | MessageEnd | Broken


class ResponseEngine:
    """Reads the responses of one connection, one exchange after the other.

    Any way of cutting the input gives the same events but for part sizes. Heads are bounded before anything parses
    them. `buffer` holds what was received and not consumed: whoever feeds the engine watches its length.
    """

    __slots__ = (
        "_broken",
        "_clean",
        "_framing",
        "_input",
        "_interims",
        "_is_persistent",
        "_limits",
        "_method",
        "buffer",
        "has_begun",
        "state",
    )

    def __init__(self, limits: UpstreamLimits) -> None:
        self._limits = limits
        self.buffer = bytearray()
        self.state = EngineState.IDLE
        self.has_begun = False
        """Whether any byte came since `start`."""
        self._broken: Broken | None = None
        self._clean = 0
        self._framing: Framing | None = None
        self._input = _Input.OPEN
        self._interims = 0
        self._is_persistent = True
        self._method = ""

    @property
    def may_start(self) -> bool:
        """Whether another request may be sent: the last response was whole, nothing came behind it, and it said so."""
        return self.state is EngineState.IDLE and self._is_persistent and not self.buffer and self._input is _Input.OPEN

    def start(self, method: str) -> None:
        """A request with this method is being sent: what comes now answers it. What came before breaks it."""
        assert self.state is EngineState.IDLE
        assert self._is_persistent
        self.state = EngineState.HEAD
        self.has_begun = bool(self.buffer)
        self._interims = 0
        self._method = method
        if self.buffer:
            self._break(Broken(UpstreamFault.MALFORMED_HEAD, "it spoke before it was asked"))

    def receive(self, data: bytes) -> None:
        """Take bytes in; then ask for events."""
        self.has_begun = True
        if self.state is not EngineState.BROKEN:
            self.buffer += data

    def end_of_input(self, *, is_clean: bool) -> None:
        """Nothing more comes. Clean: the upstream said so (FIN; over TLS: close_notify). The first word counts."""
        if self._input is _Input.OPEN:
            self._input = _Input.ENDED if is_clean else _Input.CUT

    def next_event(self) -> Event | None:
        """The next event; None when more bytes are needed, or when nothing was asked for."""
        match self.state:
            case EngineState.IDLE:
                return None
            case EngineState.BROKEN:
                return self._broken
            case EngineState.HEAD:
                event: Event | None = self._next_head()
            case EngineState.CONTENT:
                event = self._next_part()
        if event is None and self._input is not _Input.OPEN:
            event = self._end_of_connection()
        return self._break(event) if isinstance(event, Broken) else event

    def _next_head(self) -> MessageHead | Broken | None:
        buffer = self.buffer
        limits = self._limits
        if not buffer.startswith(_START[: len(buffer)]):
            return Broken(UpstreamFault.MALFORMED_HEAD, "what it sent is not HTTP/1")
        start = max(0, self._clean - 3)
        end = buffer.find(b"\r\n\r\n", start, limits.max_head_bytes)
        seen = min(len(buffer), limits.max_head_bytes) if end < 0 else end + 4
        if _has_bare_line_end(buffer, self._clean, seen):
            return Broken(UpstreamFault.MALFORMED_HEAD, "a line of its head ends without CR LF")
        if end < 0:
            self._clean = seen - 1 if seen and buffer[seen - 1] == _CR else seen
            if len(buffer) >= limits.max_head_bytes:
                return Broken(UpstreamFault.HEAD_TOO_LARGE, f"its head is larger than {limits.max_head_bytes} bytes")
            return None
        self._clean = 0
        message = read_response_head(bytes(buffer[:seen]), self._method, limits)
        del buffer[:seen]
        if isinstance(message, Broken):
            return message
        if message.is_interim:
            self._interims += 1
            if self._interims > limits.max_interim:
                return Broken(
                    UpstreamFault.TOO_MANY_INTERIM, f"it sent more than {limits.max_interim} interim responses"
                )
            return message
        self._framing = message.framing
        self._is_persistent = message.is_persistent
        self.state = EngineState.CONTENT
        return message

    def _next_part(self) -> bytes | MessageEnd | Broken | None:
        framing = self._framing
        part = None if framing is None else framing.take(self.buffer, PART_BYTES)
        if part is None and (framing is None or framing.is_done):
            return self._end(() if framing is None else framing.trailers)
        return part

    def _end_of_connection(self) -> MessageEnd | Broken:
        if isinstance(self._framing, UntilClose) and self.state is EngineState.CONTENT and self._input is _Input.ENDED:
            return self._end(())
        where = (
            "in the middle of its content"
            if self.state is EngineState.CONTENT
            else ("in the middle of its head" if self.has_begun else "without an answer")
        )
        return Broken(UpstreamFault.CLOSED_EARLY, f"it closed the connection {where}")

    def _end(self, trailers: FieldLines) -> MessageEnd:
        self._framing = None
        self.state = EngineState.IDLE
        return MessageEnd(trailers)

    def _break(self, broken: Broken) -> Broken:
        self._broken = broken
        self.state = EngineState.BROKEN
        self.buffer.clear()
        return broken


def _has_bare_line_end(data: bytearray, start: int, stop: int) -> bool:
    """Whether a CR or LF in [start, stop) stands alone; a CR at its end may still get its LF."""
    if stop > start and data[stop - 1] == _CR:
        stop -= 1
    pairs = data.count(b"\r\n", start, stop)
    return data.count(b"\n", start, stop) != pairs or data.count(b"\r", start, stop) != pairs
