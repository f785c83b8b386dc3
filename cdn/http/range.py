"""Byte ranges: which of them a request is answered with, and how they are named (RFC 9110 section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

MAX_RANGES = 64
"""Ranges of one request. Each costs a part head and may touch a chunk of its own; readers of large documents ask for
a few dozen. More are answered with the whole representation (section 17.15)."""

MAX_OVERLAPPING = 2
"""Ranges that begin inside another one of the same request. More are a broken client or an attack (section 14.2)."""

MAX_UNORDERED = 8
"""Ranges of a request that does not list them in ascending order; more of those are what section 14.2 warns of."""

NEARLY_ADJACENT_BYTES = 80
"""A gap up to this size is sent along: a part of its own would cost more (section 15.3.7.2). So the parts of a
response are never much larger than the whole representation."""

_UNIT = re.compile(r"bytes=(.*)", re.IGNORECASE | re.DOTALL)
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_CONTENT_RANGE = re.compile(r"bytes[ \t]+([0-9]+)-([0-9]+)/([0-9]+|\*)", re.IGNORECASE)
_MAX_DIGITS = 18  # more name a place beyond any content; Python also refuses to read very long numbers
_BEYOND = 10**_MAX_DIGITS


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes [start, stop) of a representation; never empty."""

    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Which bytes [start, stop) a partial response holds, and of how many in all; None: its sender did not know."""

    start: int
    stop: int
    complete_length: int | None


class Unsatisfiable(Enum):
    """No range lies inside the representation: answer 416."""

    UNSATISFIABLE = "unsatisfiable"


UNSATISFIABLE: Final = Unsatisfiable.UNSATISFIABLE


def select_ranges(field: str | None, length: int) -> tuple[ByteRange, ...] | Unsatisfiable | None:
    """The ranges with which a Range field is answered, of a representation of `length` octets.

    Ranges outside the representation are left out; what overlaps or is nearly adjacent becomes one range, standing
    where the first of them was asked for (section 15.3.7.2). One range in the result: answer with it alone.

    None means: send the whole. That is so without the field, with another unit, with a malformed value and with sets
    that are only good for making a server work (sections 14.2 and 17.15).
    """
    if field is None:
        return None
    unit = _UNIT.fullmatch(field)
    if unit is None or unit[1].count(",") > 2 * MAX_RANGES:
        return None
    specs = [spec for part in unit[1].split(",") if (spec := part.strip(" \t"))]
    if not specs or len(specs) > MAX_RANGES:
        return None
    asked: list[ByteRange] = []
    for text in specs:
        byte_range = _read_spec(text, length)
        if byte_range is None:
            return None
        if byte_range is not UNSATISFIABLE:
            asked.append(byte_range)
    if not asked:
        return UNSATISFIABLE
    return None if _is_abusive(asked) else _coalesced(asked)


def content_range(byte_range: ByteRange, length: int) -> str:
    """The Content-Range field of a 206 (section 14.4)."""
    return f"bytes {byte_range.start}-{byte_range.stop - 1}/{length}"


def unsatisfied_content_range(length: int) -> str:
    """The Content-Range field of a 416 (section 14.4)."""
    return f"bytes */{length}"


def parse_content_range(field: str | None) -> ContentRange | None:
    """The Content-Range of a 206 that was received (section 14.4).

    None: absent, malformed, another unit, beyond the complete length it names, or that of a 416. Nothing can be
    said then about where the content belongs.
    """
    match = _CONTENT_RANGE.fullmatch(field) if field is not None else None
    if match is None:
        return None
    first, last = _number(match[1]), _number(match[2])
    complete_length = None if match[3] == "*" else _number(match[3])
    if last < first or last >= _BEYOND or (complete_length is not None and complete_length <= last):
        return None
    return ContentRange(first, last + 1, complete_length)


def _read_spec(text: str, length: int) -> ByteRange | Unsatisfiable | None:
    spec = _SPEC.fullmatch(text)
    if spec is None:
        return None
    first, last = spec.groups()
    if first:
        return _select(_number(first), _number(last) if last else None, length)
    return _select_suffix(_number(last), length) if last else None


def _select(first: int, last: int | None, length: int) -> ByteRange | Unsatisfiable | None:
    if last is not None and last < first:
        return None
    if first >= length:
        return UNSATISFIABLE
    return ByteRange(first, length if last is None else min(last + 1, length))


def _select_suffix(suffix_length: int, length: int) -> ByteRange | Unsatisfiable | None:
    if suffix_length == 0:
        return UNSATISFIABLE
    if length == 0:
        return None  # satisfiable by section 14.1.2, but a 206 cannot say "no octets"
    return ByteRange(max(0, length - suffix_length), length)


def _is_abusive(asked: list[ByteRange]) -> bool:
    if len(asked) > MAX_UNORDERED and any(one.start > after.start for one, after in pairwise(asked)):
        return True
    overlapping = 0
    reached = 0
    for byte_range in sorted(asked, key=lambda one: one.start):
        overlapping += byte_range.start < reached
        reached = max(reached, byte_range.stop)
    return overlapping > MAX_OVERLAPPING


def _coalesced(asked: list[ByteRange]) -> tuple[ByteRange, ...]:
    """In the order asked for; a range made of several stands at the place of the first of them."""
    order = sorted(range(len(asked)), key=lambda place: asked[place].start)
    groups: list[tuple[int, ByteRange]] = []
    for place in order:
        byte_range = asked[place]
        if groups and byte_range.start <= groups[-1][1].stop + NEARLY_ADJACENT_BYTES:
            first_place, before = groups[-1]
            joined = ByteRange(before.start, max(before.stop, byte_range.stop))
            groups[-1] = (min(first_place, place), joined)
        else:
            groups.append((place, byte_range))
    return tuple(byte_range for _, byte_range in sorted(groups, key=lambda group: group[0]))


def _number(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MAX_DIGITS else _BEYOND
