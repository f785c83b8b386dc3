"""Whose content leaves next (RFC 9218): urgency first, and fairly among equals."""

from __future__ import annotations

from bisect import insort
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from cdn.edge.h2_events import HeaderList
from cdn.http.structured_field import Item, parse_dictionary

if TYPE_CHECKING:
    from cdn.edge.h2_streams import Stream

LEVELS: Final = 8

MAX_FIELD_CHARS: Final = 128
"""A longer priority field counts as absent: reading 32 KiB takes 45 ms, and a client repeats it with one octet of its
table. Browsers send a dozen different ones of ten characters."""


class Priority(NamedTuple):
    """RFC 9218 section 4: urgency 0 leaves before urgency 7; incremental answers take turns."""

    urgency: int = 3
    is_incremental: bool = False


DEFAULT: Final = Priority()


def priority_of(fields: HeaderList) -> Priority:
    """What a request asks for; the default where it says nothing that can be understood (section 5)."""
    values = [value for name, value in fields if name == "priority"]
    return read_priority(", ".join(values)) if values else DEFAULT


def read_priority(text: str) -> Priority:
    """The value of a priority field, also of PRIORITY_UPDATE. What is unknown or malformed in it counts as absent."""
    return _read(text) if len(text) <= MAX_FIELD_CHARS else DEFAULT


@lru_cache(maxsize=256)
def _read(text: str) -> Priority:
    members = parse_dictionary(text)
    if members is None:
        return DEFAULT
    urgency = is_incremental = None
    match members.get("u"):
        case Item(value) if type(value) is int and 0 <= value < LEVELS:
            urgency = value
    match members.get("i"):
        case Item(value) if type(value) is bool:
            is_incremental = value
    return Priority(DEFAULT.urgency if urgency is None else urgency, bool(is_incremental))


class _Level:
    """Streams of one urgency. Those that are not incremental are sent one after the other, in the order in which they
    were opened; the others take turns. When both are here, every second turn is of the first kind, so neither starves
    (section 10 leaves it open)."""

    __slots__ = ("_is_turn_of_oldest", "incremental", "sequential")

    def __init__(self) -> None:
        self.sequential: list[Stream] = []
        self.incremental: deque[Stream] = deque()
        self._is_turn_of_oldest = True

    def take(self) -> Stream | None:
        if self.sequential and (self._is_turn_of_oldest or not self.incremental):
            self._is_turn_of_oldest = False
            return self.sequential.pop(0)
        if not self.incremental:
            return None
        self._is_turn_of_oldest = True
        return self.incremental.popleft()


class Turns:
    """The streams that have content to send and a window for it. There are as many as streams at most."""

    __slots__ = ("_count", "_levels")

    def __init__(self) -> None:
        # Made when a stream comes to wait in one: all of them would be 7 KiB of each connection that idles.
        self._levels: list[_Level | None] = [None] * LEVELS
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, stream: Stream) -> None:
        """Its turn will come; does nothing when it is here already."""
        if stream.has_turn:
            return
        stream.has_turn = True
        self._count += 1
        priority = stream.priority
        level = self._levels[priority.urgency]
        if level is None:
            level = self._levels[priority.urgency] = _Level()
        if priority.is_incremental:
            level.incremental.append(stream)
        else:
            insort(level.sequential, stream, key=_stream_id)

    def take(self) -> Stream | None:
        """The stream whose turn it is; `add` it again when it has more."""
        if self._count:
            for level in self._levels:
                stream = None if level is None else level.take()
                if stream is not None:
                    stream.has_turn = False
                    self._count -= 1
                    return stream
        return None

    def remove(self, stream: Stream) -> None:
        """It has nothing more to send."""
        if stream.has_turn:
            stream.has_turn = False
            self._count -= 1
            priority = stream.priority
            level = self._levels[priority.urgency]
            assert level is not None
            (level.incremental if priority.is_incremental else level.sequential).remove(stream)

    def change(self, stream: Stream, priority: Priority) -> None:
        """The client thought better of it (section 7)."""
        had_turn = stream.has_turn
        self.remove(stream)
        stream.given_priority = priority
        if had_turn:
            self.add(stream)


def _stream_id(stream: Stream) -> int:
    return stream.id
