"""Several ranges in one response: laid out as section 15.3.7.2 of RFC 9110 says, read back by another parser."""

from __future__ import annotations

import email.parser
import email.policy
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.http.multipart import byteranges_layout
from cdn.http.range import ByteRange, parse_content_range, select_ranges

BOUNDARY = "5d41402abc4b2a76b9719d911017c592"


def parts_of(content_type: str, content: bytes) -> list[tuple[dict[str, str], bytes]]:
    """Fields and bytes of each part, as Python's own MIME parser reads them."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + content)
    assert message.is_multipart()
    assert not message.defects
    found = []
    for part in message.iter_parts():
        assert not part.defects
        octets = part.get_payload(decode=True)
        assert isinstance(octets, bytes)
        found.append(({name.lower(): value for name, value in part.items()}, octets))
    return found


def test_the_example_of_the_section() -> None:
    layout = byteranges_layout((ByteRange(500, 1000), ByteRange(7000, 8000)), 8000, "application/pdf", "THIS_STRING")
    assert layout.content_type == "multipart/byteranges; boundary=THIS_STRING"
    content = layout.content_of(bytes(8000))
    assert content == (
        b"--THIS_STRING\r\ncontent-type: application/pdf\r\ncontent-range: bytes 500-999/8000\r\n\r\n"
        + bytes(500)
        + b"\r\n--THIS_STRING\r\ncontent-type: application/pdf\r\ncontent-range: bytes 7000-7999/8000\r\n\r\n"
        + bytes(1000)
        + b"\r\n--THIS_STRING--\r\n"
    )
    assert layout.size_bytes == len(content)
    assert [part.byte_range.start for part in layout.parts] == [500, 7000]


def test_content_without_a_type_has_parts_without_a_type() -> None:
    layout = byteranges_layout((ByteRange(0, 1),), 2, None, BOUNDARY)
    assert (
        layout.content_of(b"ab")
        == f"--{BOUNDARY}\r\ncontent-range: bytes 0-0/2\r\n\r\na\r\n--{BOUNDARY}--\r\n".encode()
    )


def test_types_keep_the_octets_they_came_with() -> None:
    layout = byteranges_layout((ByteRange(0, 1),), 2, 'text/plain; x="\xe9"', BOUNDARY)
    assert b'content-type: text/plain; x="\xe9"\r\n' in layout.parts[0].head


@pytest.mark.parametrize("boundary", ["", "a" * 71, "a b", 'a"b', "a;b", "a\r\nb", "é", "a/b", ".a"])
def test_boundaries_that_need_quotes_are_refused(boundary: str) -> None:
    with pytest.raises(ValueError, match="boundary"):
        byteranges_layout((ByteRange(0, 1),), 2, None, boundary)


# Octets that make MIME parsers stumble are frequent: line breaks, dashes, delimiters of other boundaries.
AWKWARD = (b"\r\n", b"\n", b"\r", b"--", b"\r\n--", b"\r\n--other--\r\n", b": ", b"\x00\xff\xe9", b"octets" * 30)
CONTENT = st.lists(st.sampled_from(AWKWARD), min_size=20, max_size=40).map(b"".join)


@settings(max_examples=60)
@given(CONTENT, st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 200)), min_size=1, max_size=8), st.booleans())
def test_another_parser_reads_back_what_was_asked(content: bytes, asked: list[tuple[int, int]], has_type: bool) -> None:
    starts = [(place % len(content), size_bytes) for place, size_bytes in asked]
    field = "bytes=" + ",".join(f"{start}-{start + size_bytes - 1}" for start, size_bytes in starts)
    ranges = select_ranges(field, len(content))
    if not isinstance(ranges, tuple):
        return
    boundary = f"{random.Random(len(content)).getrandbits(128):032x}"
    layout = byteranges_layout(ranges, len(content), "image/png" if has_type else None, boundary)
    whole = layout.content_of(memoryview(content))
    assert len(whole) == layout.size_bytes
    received = bytearray(len(content))
    is_received = bytearray(len(content))
    for fields, octets in parts_of(layout.content_type, whole):
        assert fields.get("content-type", "none") == ("image/png" if has_type else "none")
        place = parse_content_range(fields["content-range"])
        assert place is not None
        assert place.complete_length == len(content)
        assert len(octets) == place.stop - place.start
        received[place.start : place.stop] = octets
        is_received[place.start : place.stop] = b"\x01" * len(octets)
    for start, size_bytes in starts:
        stop = min(start + size_bytes, len(content))
        assert all(is_received[start:stop])
        assert received[start:stop] == content[start:stop]


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 400)), min_size=1, max_size=20))
def test_parts_never_take_much_more_than_the_whole(asked: list[tuple[int, int]]) -> None:
    length = 5400
    ranges = select_ranges("bytes=" + ",".join(f"{a}-{a + n - 1}" for a, n in sorted(asked)), length)
    if isinstance(ranges, tuple):
        layout = byteranges_layout(ranges, length, "text/html", BOUNDARY)
        assert layout.size_bytes <= length + 64 * len(ranges) + 200
