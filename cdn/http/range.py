"""Single byte ranges (RFC 9110 section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

_UNIT = re.compile(r"bytes=(.*)", re.IGNORECASE | re.DOTALL)
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_MAX_DIGITS = 18  # more name a place beyond any content; Python also refuses to read very long numbers


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes [start, stop) of a representation; never empty."""

    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start


class Unsatisfiable(Enum):
    """The range lies outside the representation: answer 416."""

    UNSATISFIABLE = "unsatisfiable"


UNSATISFIABLE: Final = Unsatisfiable.UNSATISFIABLE


def select_range(field: str | None, length: int) -> ByteRange | Unsatisfiable | None:
    """The one range that the Range field asks of a representation of `length` octets.

    None means: send the whole. That is so without the field, with another unit, with a malformed value, and with
    several ranges, all of which section 14.2 lets a server ignore.
    """
    if field is None:
        return None
    unit = _UNIT.fullmatch(field)
    if unit is None:
        return None
    specs = [spec for part in unit[1].split(",") if (spec := part.strip(" \t"))]
    if len(specs) != 1:
        return None
    spec = _SPEC.fullmatch(specs[0])
    if spec is None:
        return None
    first, last = spec.groups()
    if first:
        return _select(_number(first), _number(last) if last else None, length)
    return _select_suffix(_number(last), length) if last else None


def content_range(byte_range: ByteRange, length: int) -> str:
    """The Content-Range field of a 206 (section 14.4)."""
    return f"bytes {byte_range.start}-{byte_range.stop - 1}/{length}"


def unsatisfied_content_range(length: int) -> str:
    """The Content-Range field of a 416 (section 14.4)."""
    return f"bytes */{length}"


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


def _number(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MAX_DIGITS else 10**_MAX_DIGITS
