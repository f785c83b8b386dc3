"""Which part of a representation answers a request: all, a range, or nothing (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cdn.http.fields import FieldLines
from cdn.http.precondition import Precondition, evaluate, range_applies
from cdn.http.range import ByteRange, Unsatisfiable, content_range, select_range, unsatisfied_content_range
from cdn.http.request import Request
from cdn.sites.representation import Representation

NOT_IN_304 = frozenset({"content-type", "content-length", "content-range", "content-encoding", "content-language"})
"""Representation fields that a 304 leaves out (RFC 9110 15.4.5)."""


_NOT_TO_KEEP = ("cache-control", "no-store")


class Part(Enum):
    """What of the content is sent."""

    ALL = "all"
    RANGE = "range"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Selected:
    """The status, the bytes [start, stop) of the content, and the fields that go with them."""

    status: int
    part: Part
    start: int
    stop: int
    fields: FieldLines


def select(request: Request, representation: Representation, size_bytes: int, now: float) -> Selected:
    """Preconditions first, then the range. Statuses other than 200 are sent whole (RFC 9110 13.2.1)."""
    fields, entity_tag = representation.fields, representation.entity_tag
    if representation.status != 200:
        return Selected(representation.status, Part.ALL, 0, size_bytes, fields)
    match evaluate(request.method, request.fields, entity_tag, None, now):
        case Precondition.NOT_MODIFIED:
            kept = tuple(line for line in fields if line[0] not in NOT_IN_304)
            return Selected(304, Part.NOTHING, 0, 0, kept)
        case Precondition.FAILED:
            return Selected(412, Part.NOTHING, 0, 0, _not_to_keep(fields))
        case Precondition.PROCEED:
            pass
    if request.method != "GET" or not range_applies(request.fields, entity_tag, None, now):
        return Selected(200, Part.ALL, 0, size_bytes, fields)
    match select_range(request.fields.get("range"), size_bytes):
        case ByteRange(start, stop) as selected:
            lines = (*fields, ("content-range", content_range(selected, size_bytes)))
            return Selected(206, Part.RANGE, start, stop, lines)
        case Unsatisfiable.UNSATISFIABLE:
            lines = (*_not_to_keep(fields), ("content-range", unsatisfied_content_range(size_bytes)))
            return Selected(416, Part.NOTHING, 0, 0, lines)
        case None:
            return Selected(200, Part.ALL, 0, size_bytes, fields)


def _not_to_keep(fields: FieldLines) -> FieldLines:
    """The lifetime of the file is not the refusal's: a cache would give it to the next one who asks for the URL."""
    return (*(line for line in fields if line[0] not in {"cache-control", "expires"}), _NOT_TO_KEEP)
