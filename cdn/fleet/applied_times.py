"""When a node applied what, as far as is remembered: bounded, and small enough to be kept across a restart."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left

from cdn.fleet.position import Position

PACKED_FORMAT = 1
"""The first octet of what is packed; a later format has another."""

_HEAD = struct.Struct("<Bq")
_ENTRY = struct.Struct("<qd?")


class AppliedTimes:
    """Acknowledged sequences of one epoch, each with when the observer heard of it, in wall seconds.

    Where the observer was away in between, that time is only a bound: the node had applied the record *by* then.
    """

    __slots__ = ("_are_exact", "_sequences", "_times", "epoch", "since")

    def __init__(self, epoch: str = "", since: int = 0) -> None:
        """Nothing is known of records up to `since`."""
        self.epoch = epoch
        self.since = since
        self._sequences = array("q")
        self._times = array("d")
        self._are_exact = array("b")

    def __len__(self) -> int:
        return len(self._sequences)

    @property
    def last(self) -> int:
        """The last sequence of which anything is known."""
        return self._sequences[-1] if self._sequences else self.since

    def note(self, sequence: int, at: float, most: int, *, is_exact: bool = True) -> None:
        """The node acknowledged `sequence`, which is above `last`. The newest `most` are kept."""
        self._sequences.append(sequence)
        self._times.append(at)
        self._are_exact.append(is_exact)
        excess = len(self._sequences) - most
        if excess > 0:
            self.since = self._sequences[excess - 1]
            for each in (self._sequences, self._times, self._are_exact):
                del each[:excess]

    def retreat(self, sequence: int) -> None:
        """The node stands at `sequence` again: what it had acknowledged beyond is not true any more."""
        end = bisect_left(self._sequences, sequence + 1)
        for each in (self._sequences, self._times, self._are_exact):
            del each[end:]
        self.since = min(self.since, sequence)

    def at(self, position: Position) -> float | None:
        """When the node applied `position`; None: it has not, or that is not known (see `by`)."""
        return self.at_and_by(position)[0]

    def by(self, position: Position) -> float | None:
        """By when the node had applied `position`, at the latest; None: nothing is known of that."""
        return self.at_and_by(position)[1]

    def at_and_by(self, position: Position) -> tuple[float | None, float | None]:
        """Both, for one search."""
        if position.epoch != self.epoch:
            return None, None
        index = bisect_left(self._sequences, position.sequence)  # the first acknowledgement that covers the position
        if index == len(self._sequences):
            return None, None
        time = self._times[index]
        return time if position.sequence > self.since and self._are_exact[index] else None, time

    def packed(self, most: int) -> bytes:
        """The newest `most`, for `unpacked`."""
        start = max(0, len(self._sequences) - most)
        since = self._sequences[start - 1] if start else self.since
        entries = zip(self._sequences[start:], self._times[start:], self._are_exact[start:], strict=True)
        return _HEAD.pack(PACKED_FORMAT, since) + b"".join(_ENTRY.pack(*entry) for entry in entries)


def unpacked(epoch: str, raw: bytes) -> AppliedTimes | None:
    """What `packed` made; None where it is damaged or of another format: then nothing is known."""
    if len(raw) < _HEAD.size or raw[0] != PACKED_FORMAT or (len(raw) - _HEAD.size) % _ENTRY.size:
        return None
    times = AppliedTimes(epoch, _HEAD.unpack_from(raw)[1])
    for sequence, at, is_exact in _ENTRY.iter_unpack(raw[_HEAD.size :]):
        if sequence <= times.last:
            return None
        times.note(sequence, at, len(raw), is_exact=is_exact)
    return times
