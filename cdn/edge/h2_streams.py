"""Streams of HTTP/2 (RFC 9113 section 5.1): states, and what each frame of a client means in each, as data."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from cdn.edge.h2_events import ErrorCode, HeaderList
from cdn.edge.h2_frames import FrameType
from cdn.edge.h2_priorities import Priority, priority_of


class StreamState(Enum):
    """Of a stream that a client opens; nothing is ever pushed, so none is reserved."""

    IDLE = auto()
    OPEN = auto()
    HALF_CLOSED_REMOTE = auto()  # the request is whole
    HALF_CLOSED_LOCAL = auto()  # the response is whole, the request is not
    CLOSED = auto()
    RESET = auto()  # closed by us, while the client may not know it yet
    SKIPPED = auto()  # closed without having been open: the client went on to a higher number


class Step(Enum):
    """What moves a stream on."""

    RECEIVED_END = auto()
    SENT_END = auto()
    RECEIVED_RESET = auto()
    SENT_RESET = auto()


NEXT: Final[dict[tuple[StreamState, Step], StreamState]] = {
    (StreamState.OPEN, Step.RECEIVED_END): StreamState.HALF_CLOSED_REMOTE,
    (StreamState.OPEN, Step.SENT_END): StreamState.HALF_CLOSED_LOCAL,
    (StreamState.OPEN, Step.RECEIVED_RESET): StreamState.CLOSED,
    (StreamState.OPEN, Step.SENT_RESET): StreamState.RESET,
    (StreamState.HALF_CLOSED_REMOTE, Step.SENT_END): StreamState.CLOSED,
    (StreamState.HALF_CLOSED_REMOTE, Step.RECEIVED_RESET): StreamState.CLOSED,
    (StreamState.HALF_CLOSED_REMOTE, Step.SENT_RESET): StreamState.CLOSED,  # the client has nothing under way
    (StreamState.HALF_CLOSED_LOCAL, Step.RECEIVED_END): StreamState.CLOSED,
    (StreamState.HALF_CLOSED_LOCAL, Step.RECEIVED_RESET): StreamState.CLOSED,
    (StreamState.HALF_CLOSED_LOCAL, Step.SENT_RESET): StreamState.RESET,
}
"""Every legal step; a step that is not here is a fault of ours."""


class Verdict(Enum):
    """What a frame means in a state."""

    TAKE = auto()
    IGNORE = auto()  # it may have been under way: read as far as the connection needs, and dropped
    STREAM_CLOSED = auto()  # an error of the stream
    CONNECTION_CLOSED = auto()  # STREAM_CLOSED as an error of the connection
    PROTOCOL_ERROR = auto()  # an error of the connection


_DATA, _HEADERS, _RESET, _UPDATE = FrameType.DATA, FrameType.HEADERS, FrameType.RST_STREAM, FrameType.WINDOW_UPDATE

VERDICTS: Final[dict[tuple[StreamState, FrameType], Verdict]] = {
    (StreamState.IDLE, _DATA): Verdict.PROTOCOL_ERROR,
    (StreamState.IDLE, _HEADERS): Verdict.TAKE,
    (StreamState.IDLE, _RESET): Verdict.PROTOCOL_ERROR,
    (StreamState.IDLE, _UPDATE): Verdict.PROTOCOL_ERROR,
    (StreamState.OPEN, _DATA): Verdict.TAKE,
    (StreamState.OPEN, _HEADERS): Verdict.TAKE,
    (StreamState.OPEN, _RESET): Verdict.TAKE,
    (StreamState.OPEN, _UPDATE): Verdict.TAKE,
    (StreamState.HALF_CLOSED_REMOTE, _DATA): Verdict.STREAM_CLOSED,
    (StreamState.HALF_CLOSED_REMOTE, _HEADERS): Verdict.STREAM_CLOSED,
    (StreamState.HALF_CLOSED_REMOTE, _RESET): Verdict.TAKE,
    (StreamState.HALF_CLOSED_REMOTE, _UPDATE): Verdict.TAKE,
    (StreamState.HALF_CLOSED_LOCAL, _DATA): Verdict.TAKE,
    (StreamState.HALF_CLOSED_LOCAL, _HEADERS): Verdict.TAKE,
    (StreamState.HALF_CLOSED_LOCAL, _RESET): Verdict.TAKE,
    (StreamState.HALF_CLOSED_LOCAL, _UPDATE): Verdict.TAKE,
    (StreamState.CLOSED, _DATA): Verdict.CONNECTION_CLOSED,
    (StreamState.CLOSED, _HEADERS): Verdict.CONNECTION_CLOSED,
    (StreamState.CLOSED, _RESET): Verdict.IGNORE,
    (StreamState.CLOSED, _UPDATE): Verdict.IGNORE,
    (StreamState.RESET, _DATA): Verdict.IGNORE,
    (StreamState.RESET, _HEADERS): Verdict.IGNORE,
    (StreamState.RESET, _RESET): Verdict.IGNORE,
    (StreamState.RESET, _UPDATE): Verdict.IGNORE,
    (StreamState.SKIPPED, _DATA): Verdict.CONNECTION_CLOSED,
    (StreamState.SKIPPED, _HEADERS): Verdict.PROTOCOL_ERROR,  # an identifier that is not larger (section 5.1.1)
    (StreamState.SKIPPED, _RESET): Verdict.IGNORE,
    (StreamState.SKIPPED, _UPDATE): Verdict.IGNORE,
}
"""PRIORITY and PRIORITY_UPDATE are legal in every state and mean nothing to it."""

CODES: Final[dict[Verdict, ErrorCode]] = {
    Verdict.CONNECTION_CLOSED: ErrorCode.STREAM_CLOSED,
    Verdict.PROTOCOL_ERROR: ErrorCode.PROTOCOL_ERROR,
}
"""The error of the connection that a verdict means."""


@dataclass(slots=True, eq=False)
class Stream:
    """A stream whose answer does not leave at once.

    `window_bytes` is what the client still takes, `receivable_bytes` what it may still send. `unread_bytes` came and
    were not given back, `returned_bytes` were read and are not yet told. `fields` are the request's, for its priority.
    Queued parts of which `queued_bytes` counts are those that the application feeds; a whole response counts nothing,
    because it lives elsewhere anyhow.
    """

    id: int
    state: StreamState
    fields: HeaderList
    window_bytes: int
    receivable_bytes: int = 0
    unread_bytes: int = 0
    returned_bytes: int = 0
    queue: deque[bytes | memoryview] = field(default_factory=deque)
    queued_bytes: int = 0
    is_whole: bool = False
    is_ending: bool = False
    trailers: bytes | None = None
    has_turn: bool = False
    sent_bytes: int = 0
    stall: tuple[float, int] | None = None
    given_priority: Priority | None = None

    @property
    def priority(self) -> Priority:
        """What the client said last (RFC 9218 section 7)."""
        if self.given_priority is None:
            self.given_priority = priority_of(self.fields)
        return self.given_priority

    def step(self, step: Step) -> StreamState:
        """Go on to the next state."""
        self.state = NEXT[self.state, step]
        return self.state
