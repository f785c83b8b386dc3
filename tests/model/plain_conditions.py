"""What may be shown of a representation: conditions, ranges, codings, and the fields of its content (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.model.history import Visit
from tests.model.plain_coding import decoded
from tests.model.plain_message import (
    Lines,
    Tag,
    combined,
    date,
    directives,
    first_date,
    has,
    is_strongly_equal,
    is_weakly_equal,
    members,
    tag,
    tags,
    values,
)

Objections = list[str]

TOLD = (
    "etag",
    "last-modified",
    "vary",
    "cache-control",
    "cdn-cache-control",
    "expires",
    "content-type",
    "set-cookie",
    "x-secret",
)
"""Fields that have to be those of the representation, when its content is."""

CODINGS = ("gzip", "br", "zstd")


@dataclass(frozen=True)
class Shown:
    """A representation and who asks for it. `size_bytes` is its complete length; `is_part`: the cache got it in parts.

    `is_own`: the upstream was asked for the very request; then `own_content` is what it sent. `withheld` are fields
    that are not for others. `is_content` objects to octets that are shown as those from a place on.
    """

    status: int
    lines: Lines
    size_bytes: int
    is_part: bool
    is_own: bool
    withheld: set[str]
    own_content: bytes
    now: float
    is_content: Callable[[bytes, int], Objections]


def objections_to_form(visit: Visit, shown: Shown) -> Objections:
    """Whether status, fields and content are what this request may get of it."""
    said = _objections_to_fields(visit, shown)
    match visit.status:
        case shown.status if shown.is_own:
            return said + _objections_to_whole(visit, shown)
        case 304:
            return said + _objections_to_not_modified(visit, shown)
        case 412:
            return said + ([] if _is_refused(visit.lines, shown) else ["a 412 without a condition that failed"])
        case 416:
            return said + _objections_to_unsatisfied(visit, shown)
        case 206:
            return said + _objections_to_partial(visit, shown)
        case shown.status:
            return said + _objections_to_whole(visit, shown)
        case 200 if shown.is_part:
            return said + _objections_to_whole(visit, shown)
        case _:
            return [*said, f"a {shown.status} became a {visit.status}"]


# Fields


def _objections_to_fields(visit: Visit, shown: Shown) -> Objections:
    said = [f"{name} is not for others" for name in sorted(shown.withheld) if has(visit.answer, name)]
    is_whole = visit.status == shown.status
    for name in TOLD:
        expected, told = combined(shown.lines, name), combined(visit.answer, name)
        if name in shown.withheld or (told is None and not is_whole):
            continue
        if visit.status in {412, 416} and name not in {"etag", "last-modified"}:
            continue
        if visit.status == 206 and name == "content-type":
            continue
        if name == "etag" and told is not None and tag(told) in _forms(expected):
            continue
        if name == "vary" and _names(told) - {"accept-encoding"} == _names(expected) - {"accept-encoding"}:
            continue
        if told != expected:
            said.append(f"{name} is {told!r}, that of the representation is {expected!r}")
    return said


def _forms(etag: str | None) -> list[Tag]:
    """The entity tags of a representation and of what this cache makes of it by coding."""
    one = tag(etag)
    return [] if one is None else [one, *(Tag(f"{one.opaque}-{coding}", one.is_weak) for coding in CODINGS)]


def _names(vary: str | None) -> set[str]:
    return {name.lower() for name in members(vary or "")}


# The whole


def _objections_to_whole(visit: Visit, shown: Shown) -> Objections:
    if visit.method == "HEAD":
        return []
    content = visit.content
    if has(visit.answer, "content-encoding") and not has(shown.lines, "content-encoding"):
        coding = combined(visit.answer, "content-encoding") or ""
        plain = decoded(content, coding)
        if plain is None:
            return [f"content that is no {coding}"]
        if "no-transform" in directives(combined(shown.lines, "cache-control")):
            return ["coded in spite of no-transform (section 5.2.2.6)"]
        etag = tag(combined(shown.lines, "etag"))
        if etag is not None and tag(combined(visit.answer, "etag")) == etag:
            return ["a coded form with the validator of the identity form (RFC 9110 section 8.8.3.3)"]
        content = plain
    if shown.is_own and visit.status == shown.status:
        expected = shown.own_content if visit.is_whole else shown.own_content[: len(content)]
        return [] if content == expected else ["its content is not what the upstream sent for it"]
    if visit.is_whole and len(content) != shown.size_bytes:
        return [f"{len(content)} octets of {shown.size_bytes} as a {visit.status}"]
    return shown.is_content(content, 0)


# Conditions (RFC 9110 section 13)


def _objections_to_not_modified(visit: Visit, shown: Shown) -> Objections:
    if visit.method not in {"GET", "HEAD"} or not 200 <= shown.status < 300:
        return [f"a 304 to {visit.method}, of a {shown.status}"]
    named = combined(visit.lines, "if-none-match")
    if named is not None:
        forms = _forms(combined(shown.lines, "etag"))
        if named.strip() == "*" or any(is_weakly_equal(one, form) for one in tags(named) for form in forms):
            return []
        return [f"a 304 to If-None-Match: {named} for {combined(shown.lines, 'etag')}"]
    since = date(combined(visit.lines, "if-modified-since"))
    modified = first_date(shown.lines, "last-modified")
    if modified is None:
        modified = first_date(shown.lines, "date")
    if modified is None:
        modified = shown.now
    if since is None or modified > since:
        return [f"a 304 to If-Modified-Since: {combined(visit.lines, 'if-modified-since')}"]
    return []


def _is_refused(lines: Lines, shown: Shown) -> bool:
    matching = combined(lines, "if-match")
    if matching is not None:
        if matching.strip() == "*":
            return False
        # A client that holds a coded form holds no other.
        forms = _forms(combined(shown.lines, "etag"))
        held = [one for one in tags(matching) for form in forms[:1] if is_strongly_equal(one, form)]
        return not held
    unmodified, modified = date(combined(lines, "if-unmodified-since")), first_date(shown.lines, "last-modified")
    return unmodified is not None and modified is not None and modified > unmodified


def _does_range_count(lines: Lines, shown: Shown) -> bool:
    """If-Range (section 13.1.5)."""
    condition = combined(lines, "if-range")
    if condition is None:
        return True
    if tag(condition) is not None:
        return any(is_strongly_equal(tag(condition), form) for form in _forms(combined(shown.lines, "etag")))
    modified, dated = first_date(shown.lines, "last-modified"), first_date(shown.lines, "date")
    is_strong = modified is not None and modified + 1 <= (shown.now if dated is None else dated)
    return is_strong and date(condition) == modified


# Ranges (RFC 9110 section 14)


def _asked_ranges(lines: Lines, size_bytes: int) -> list[tuple[int, int]] | None:
    """First and last octet of those that can be satisfied; None: the field says nothing that can be obeyed."""
    match = re.fullmatch(r"bytes=(.*)", combined(lines, "range") or "")
    if match is None:
        return None
    found = []
    for text in match[1].split(","):
        spec = re.fullmatch(r"([0-9]*)-([0-9]*)", text.strip())
        if spec is None or spec[0] == "-":
            return None
        if not spec[1]:
            if int(spec[2]) > 0 and size_bytes > 0:
                found.append((max(0, size_bytes - int(spec[2])), size_bytes - 1))
        elif spec[2] and int(spec[2]) < int(spec[1]):
            return None
        elif int(spec[1]) < size_bytes:
            found.append((int(spec[1]), min(size_bytes - 1, int(spec[2]) if spec[2] else size_bytes - 1)))
    return found


def _objections_to_unsatisfied(visit: Visit, shown: Shown) -> Objections:
    told = combined(visit.answer, "content-range")
    if _asked_ranges(visit.lines, shown.size_bytes) != [] or not _does_range_count(visit.lines, shown):
        return [f"a 416 to Range: {combined(visit.lines, 'range')} of {shown.size_bytes} octets"]
    return [] if told == f"bytes */{shown.size_bytes}" else [f"a 416 with Content-Range: {told}"]


def _objections_to_partial(visit: Visit, shown: Shown) -> Objections:
    if visit.method != "GET" or shown.status not in {200, 206}:
        return [f"a 206 to {visit.method}, of a {shown.status}"]
    asked = _asked_ranges(visit.lines, shown.size_bytes)
    if not asked:
        return [f"a 206 to Range: {combined(visit.lines, 'range')} of {shown.size_bytes} octets"]
    if not _does_range_count(visit.lines, shown):
        return [f"a 206 to If-Range: {combined(visit.lines, 'if-range')}"]
    kind = combined(visit.answer, "content-type") or ""
    parts = [(values(visit.answer, "content-range"), visit.content)]
    if kind.startswith("multipart/byteranges"):
        parts = _parts_of(visit.content, kind.partition("boundary=")[2])
    elif len(asked) == 1 and parts[0][0] != [f"bytes {asked[0][0]}-{asked[0][1]}/{shown.size_bytes}"]:
        return [f"Content-Range {parts[0][0]} to Range: {combined(visit.lines, 'range')}"]
    said: Objections = [] if parts else ["no part in a 206"]
    for told, content in parts:
        said += _objections_to_part(told, content, asked, shown, is_whole=visit.is_whole)
    return said


def _objections_to_part(
    told: list[str], content: bytes, asked: list[tuple[int, int]], shown: Shown, *, is_whole: bool
) -> Objections:
    match = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)", told[0]) if len(told) == 1 else None
    if match is None or int(match[3]) != shown.size_bytes:
        return [f"Content-Range {told} of {shown.size_bytes} octets"]
    first, last = int(match[1]), int(match[2])
    if not any(one[0] <= last and first <= one[1] for one in asked):
        return [f"octets {first} to {last}, which nobody asked for"]
    if is_whole and len(content) != last - first + 1:
        return [f"{len(content)} octets as {told[0]}"]
    return shown.is_content(content, first)


def _parts_of(content: bytes, boundary: str) -> list[tuple[list[str], bytes]]:
    found = []
    for part in content.split(b"--" + boundary.strip('"').encode())[1:-1]:
        head, _, octets = part.partition(b"\r\n\r\n")
        told = [line[14:].strip() for line in head.decode().split("\r\n") if line.lower().startswith("content-range:")]
        found.append((told, octets.removesuffix(b"\r\n")))
    return found
