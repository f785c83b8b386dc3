"""Several ranges in one response: the multipart/byteranges content (RFC 9110 sections 14.6 and 15.3.7.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cdn.http.range import ByteRange, content_range

_BOUNDARY = re.compile(r"[0-9A-Za-z'_+-][0-9A-Za-z'_+.-]{0,69}")


@dataclass(frozen=True, slots=True)
class BodyPart:
    """One range with what stands before its bytes: delimiter and fields of the part."""

    head: bytes
    byte_range: ByteRange


@dataclass(frozen=True, slots=True)
class ByteRangesLayout:
    """How the content is laid out: the head of a part, its bytes, the next part, at the end `closing`.

    `content_type` is the Content-Type of the response, which has no Content-Range of its own. `size_bytes` is the
    length of the whole content.
    """

    content_type: str
    parts: tuple[BodyPart, ...]
    closing: bytes
    size_bytes: int

    def content_of(self, representation: bytes | memoryview) -> bytes:
        """The content, of a representation that is at hand."""
        pieces: list[bytes | memoryview] = []
        view = memoryview(representation)
        for part in self.parts:
            pieces += (part.head, view[part.byte_range.start : part.byte_range.stop])
        return b"".join((*pieces, self.closing))


def byteranges_layout(
    ranges: Sequence[ByteRange], complete_length: int, content_type: str | None, boundary: str
) -> ByteRangesLayout:
    """Lay out `ranges` of a representation of `complete_length` octets, in their order.

    `content_type` is that of the representation and stands in every part; None: it has none. Whoever chooses the
    boundary makes sure that the content does not contain it: random ones of 16 octets and more cannot be foreseen by
    whoever wrote the content. Raises ValueError for a boundary that could not stand in a field unquoted (RFC 2046
    section 5.1.1).
    """
    if not _BOUNDARY.fullmatch(boundary):
        raise ValueError(f"{boundary[:80]!r} cannot be a boundary: 1 to 70 letters, digits or any of '_+.-")
    type_line = "" if content_type is None else f"content-type: {content_type}\r\n"
    parts: list[BodyPart] = []
    delimiter = f"--{boundary}"
    for byte_range in ranges:
        place = content_range(byte_range, complete_length)
        head = f"{delimiter}\r\n{type_line}content-range: {place}\r\n\r\n".encode("latin-1")
        parts.append(BodyPart(head, byte_range))
        delimiter = f"\r\n--{boundary}"  # the line break before it belongs to the delimiter (RFC 2046 section 5.1.1)
    closing = f"\r\n--{boundary}--\r\n".encode("latin-1")
    size_bytes = sum(len(part.head) + part.byte_range.size_bytes for part in parts) + len(closing)
    return ByteRangesLayout(f"multipart/byteranges; boundary={boundary}", tuple(parts), closing, size_bytes)
