"""Which part of a representation answers a request: all, a range, several, or nothing (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import Enum

from cdn.http.date import parse_date
from cdn.http.entity_tag import EntityTag, parse_entity_tag
from cdn.http.fields import FieldLines, Fields
from cdn.http.multipart import ByteRangesLayout, byteranges_layout
from cdn.http.precondition import Precondition, evaluate, range_applies
from cdn.http.range import ByteRange, Unsatisfiable, content_range, select_ranges, unsatisfied_content_range
from cdn.http.request import Request
from cdn.http.response_head import ResponseHead
from cdn.sites.representation import Representation

BOUNDARY_BYTES = 16
"""Random octets in a boundary: whoever wrote the content cannot have foreseen it."""

_OF_CONTENT = frozenset({"content-length", "content-digest", "content-md5"})
"""Of the content as a 200 would send it: wrong beside any other (RFC 9530 section 2)."""

_OF_WHOLE = _OF_CONTENT | {"content-type", "content-range", "content-encoding", "content-language"}

NOT_IN_304 = _OF_WHOLE | {"accept-ranges"}
"""Fields of the whole answer that a 304 leaves out (RFC 9110 15.4.5)."""

NOT_IN_REFUSAL = _OF_WHOLE | {"cache-control", "cdn-cache-control", "surrogate-control", "expires"}
"""Fields that a 412 and a 416 leave out."""

_NOT_TO_KEEP = ("cache-control", "no-store")


class Part(Enum):
    """What of the content is sent."""

    ALL = "all"
    RANGE = "range"
    RANGES = "ranges"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Selected:
    """The status, the bytes of the content, and the fields that go with them; no Content-Length among those.

    ALL and RANGE send the bytes [start, stop); RANGES sends what `layout` says. Of ALL of a content whose size is
    unknown `stop` is 0 and means nothing.
    """

    status: int
    part: Part
    start: int
    stop: int
    fields: FieldLines
    ranges: tuple[ByteRange, ...] = ()
    layout: ByteRangesLayout | None = None

    def content_of(self, representation: bytes) -> bytes:
        """What is sent of a representation that is at hand whole; empty for NOTHING."""
        if self.layout is not None:
            return self.layout.content_of(representation)
        return representation[self.start : self.stop]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What selection reads of a representation. Times are seconds since 1970.

    `dated` is the Date of a stored response; `judged_at` is when Last-Modified was true.
    """

    head: ResponseHead
    entity_tag: EntityTag | None
    last_modified: float | None
    dated: float | None
    judged_at: float


def select(request: Request, representation: Representation, size_bytes: int, now: float) -> Selected:
    """For a file of a bundle. Statuses other than 200 are sent whole (RFC 9110 13.2.1)."""
    head = ResponseHead(representation.status, Fields(representation.fields))
    return _select(request, _Facts(head, representation.entity_tag, None, None, now), size_bytes, now)


def select_by_tag(request: Request, head: ResponseHead, size_bytes: int, now: float) -> Selected:
    """Like `select`, for what was prepared of a file: its head says its entity tag, and dates in it mean nothing."""
    tag = parse_entity_tag(head.fields.get("etag") or "")
    return _select(request, _Facts(head, tag, None, None, now), size_bytes, now)


def select_from(request: Request, head: ResponseHead, size_bytes: int | None, now: float) -> Selected:
    """For a response as an upstream gave it, whole: preconditions first, then the ranges.

    Entity tag and Last-Modified come from the head, which is that of the selected representation: of the coded form
    when that is sent. Without Last-Modified If-Modified-Since is compared with Date (RFC 9111 section 4.3.2). `now` is
    seconds since 1970. A 412 is what an upstream would answer if its representation is still this one; a cache may
    also ask it (RFC 9110 section 13.1.1). `size_bytes` None: not known yet, then ranges are not looked at.
    """
    fields = head.fields
    date = parse_date(fields.get("date") or "", now)
    facts = _Facts(
        head=head,
        entity_tag=parse_entity_tag(fields.get("etag") or ""),
        last_modified=parse_date(fields.get("last-modified") or "", now),
        dated=date,
        judged_at=now if date is None else date,
    )
    return _select(request, facts, size_bytes, now)


def _select(request: Request, facts: _Facts, size_bytes: int | None, now: float) -> Selected:
    status, lines = facts.head.status, _without(facts.head.fields.lines, {"content-length"})
    if not 200 <= status < 300:  # the preconditions of such an answer do not count (RFC 9110 section 13.2.1)
        return Selected(status, Part.ALL, 0, size_bytes or 0, lines)
    outcome = evaluate(request.method, request.fields, facts.entity_tag, facts.last_modified, now, dated=facts.dated)
    match outcome:
        case Precondition.NOT_MODIFIED:
            return Selected(304, Part.NOTHING, 0, 0, _without(lines, NOT_IN_304))
        case Precondition.FAILED:
            return Selected(412, Part.NOTHING, 0, 0, _refusal(lines))
        case Precondition.PROCEED:
            pass
    may_cut = (
        request.method == "GET"
        and status == 200
        and range_applies(request.fields, facts.entity_tag, facts.last_modified, facts.judged_at)
    )
    if size_bytes is None or not may_cut:
        return Selected(status, Part.ALL, 0, size_bytes or 0, lines)
    return _select_ranges(request.fields.get("range"), facts.head.fields, lines, size_bytes)


def _select_ranges(field: str | None, fields: Fields, lines: FieldLines, size_bytes: int) -> Selected:
    match select_ranges(field, size_bytes):
        case (ByteRange() as one,):
            named = (*_without(lines, _OF_CONTENT), ("content-range", content_range(one, size_bytes)))
            return Selected(206, Part.RANGE, one.start, one.stop, named, (one,))
        case Unsatisfiable.UNSATISFIABLE:
            named = (*_refusal(lines), ("content-range", unsatisfied_content_range(size_bytes)))
            return Selected(416, Part.NOTHING, 0, 0, named)
        case tuple() as several if "content-encoding" not in fields:
            layout = byteranges_layout(
                several, size_bytes, fields.get("content-type"), secrets.token_hex(BOUNDARY_BYTES)
            )
            described = (*_without(lines, _OF_CONTENT | {"content-type"}), ("content-type", layout.content_type))
            return Selected(206, Part.RANGES, several[0].start, several[-1].stop, described, several, layout)
        case _:
            # Beside multipart content a Content-Encoding reads as the coding of all of it: such ranges are not cut.
            return Selected(200, Part.ALL, 0, size_bytes, lines)


def _without(lines: FieldLines, names: frozenset[str] | set[str]) -> FieldLines:
    return tuple(line for line in lines if line[0] not in names)


def _refusal(lines: FieldLines) -> FieldLines:
    """The lifetime of the file is not the refusal's: a cache would give it to the next one who asks for the URL."""
    return (*_without(lines, NOT_IN_REFUSAL), _NOT_TO_KEEP)
