from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdn.http.range import (
    MAX_OVERLAPPING,
    MAX_RANGES,
    MAX_UNORDERED,
    NEARLY_ADJACENT_BYTES,
    UNSATISFIABLE,
    ByteRange,
    ContentRange,
    Unsatisfiable,
    content_range,
    parse_content_range,
    select_ranges,
    unsatisfied_content_range,
)


@pytest.mark.parametrize(
    ("field", "length", "expected"),
    [
        ("bytes=0-99", 1000, ByteRange(0, 100)),
        ("bytes=0-0", 1000, ByteRange(0, 1)),
        ("bytes=500-", 1000, ByteRange(500, 1000)),
        ("bytes=999-", 1000, ByteRange(999, 1000)),
        ("bytes=900-5000", 1000, ByteRange(900, 1000)),
        ("bytes=-1", 1000, ByteRange(999, 1000)),
        ("bytes=-5000", 1000, ByteRange(0, 1000)),
        ("BYTES=0-1", 1000, ByteRange(0, 2)),
        ("bytes= 0-1\t,", 1000, ByteRange(0, 2)),
        ("bytes=000-0001", 1000, ByteRange(0, 2)),
        ("bytes=0-" + "9" * 5000, 1000, ByteRange(0, 1000)),
        ("bytes=-" + "9" * 5000, 1000, ByteRange(0, 1000)),
        ("bytes=" + "9" * 5000 + "-", 1000, UNSATISFIABLE),
        ("bytes=1000-", 1000, UNSATISFIABLE),
        ("bytes=1000-2000", 1000, UNSATISFIABLE),
        ("bytes=0-", 0, UNSATISFIABLE),
        ("bytes=-0", 1000, UNSATISFIABLE),
        ("bytes=-0", 0, UNSATISFIABLE),
        ("bytes=-1", 0, None),
        (None, 1000, None),
        ("", 1000, None),
        ("bytes", 1000, None),
        ("bytes=", 1000, None),
        ("bytes=-", 1000, None),
        ("bytes=,", 1000, None),
        ("bytes=2-1", 1000, None),
        ("bytes=2000-1500", 1000, None),
        ("bytes=a-b", 1000, None),
        ("bytes=0x0-1", 1000, None),
        ("bytes=+0-1", 1000, None),
        ("bytes=0 - 1", 1000, None),
        ("bytes=0--1", 1000, None),
        ("bytes=1", 1000, None),
        ("bytes=٠-1", 1000, None),
        ("bytes=0-1, bytes=3-4", 1000, None),
        ("items=0-1", 1000, None),
    ],
)
def test_one_range(field: str | None, length: int, expected: ByteRange | Unsatisfiable | None) -> None:
    assert select_ranges(field, length) == ((expected,) if isinstance(expected, ByteRange) else expected)


def spelled(*ranges: tuple[int, int]) -> str:
    return "bytes=" + ",".join(f"{start}-{stop - 1}" for start, stop in ranges)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("bytes=0-9,500-509", [(0, 10), (500, 510)]),
        ("bytes=500-509 ,\t0-9,,", [(500, 510), (0, 10)]),
        ("bytes=0-9,-10", [(0, 10), (990, 1000)]),
        ("bytes=0-9,2000-", [(0, 10)]),
        ("bytes=2000-,-0", None),
        ("bytes=0-9,5-20", [(0, 21)]),
        ("bytes=0-9,10-20", [(0, 21)]),
        (f"bytes=0-9,{10 + NEARLY_ADJACENT_BYTES}-300", [(0, 301)]),
        (f"bytes=0-9,{11 + NEARLY_ADJACENT_BYTES}-300", [(0, 10), (11 + NEARLY_ADJACENT_BYTES, 301)]),
        ("bytes=800-899,0-9,700-750", [(700, 900), (0, 10)]),
        ("bytes=700-750,0-9,760-800", [(700, 801), (0, 10)]),
        ("bytes=0-,-1", [(0, 1000)]),
        ("bytes=0-999,200-300", [(0, 1000)]),
    ],
)
def test_several_ranges(field: str, expected: list[tuple[int, int]] | None) -> None:
    wanted = UNSATISFIABLE if expected is None else tuple(ByteRange(*place) for place in expected)
    assert select_ranges(field, 1000) == wanted


@pytest.mark.parametrize("field", ["bytes=0-1,x", "bytes=0-1,3-2", "bytes=0-1 3-4", "bytes=0-1;3-4", "bytes=0-1,-"])
def test_one_malformed_range_spoils_the_set(field: str) -> None:
    assert select_ranges(field, 1000) is None


def test_empty_content_has_no_last_octet_to_send_with_others() -> None:
    assert select_ranges("bytes=0-1,-1", 0) is None
    assert select_ranges("bytes=0-1,5-", 0) is UNSATISFIABLE


def test_more_ranges_than_anyone_needs_are_answered_whole() -> None:
    places = [(at * 1000, at * 1000 + 10) for at in range(MAX_RANGES + 1)]
    assert select_ranges(spelled(*places[:-1]), 10**6) == tuple(ByteRange(*place) for place in places[:-1])
    assert select_ranges(spelled(*places), 10**6) is None
    assert select_ranges("bytes=0-1" + "," * (2 * MAX_RANGES + 1), 10**6) is None


def test_overlapping_ranges_are_answered_whole_when_there_are_many() -> None:
    several = [(0, 100), *[(at, 200) for at in range(MAX_OVERLAPPING)]]
    assert select_ranges(spelled(*several), 1000) == (ByteRange(0, 200),)
    assert select_ranges(spelled(*several, (5, 6)), 1000) is None
    assert select_ranges("bytes=" + ",".join(["0-"] * 60), 10**9) is None


def test_long_sets_must_be_listed_in_ascending_order() -> None:
    places = [(at * 1000, at * 1000 + 10) for at in range(MAX_UNORDERED + 1)]
    ranges = tuple(ByteRange(*place) for place in places)
    assert select_ranges(spelled(*places), 10**6) == ranges
    assert select_ranges(spelled(*reversed(places)), 10**6) is None
    assert select_ranges(spelled(*reversed(places[1:])), 10**6) == tuple(reversed(ranges[1:]))


# A plain reading of sections 14.1.1 and 14.1.2: which octets each part of the field asks for.
POSITION = st.integers(0, 40).map(lambda place: place * 13)
SPEC = st.one_of(
    st.builds(lambda first, last: f"{first}-{last}", POSITION, POSITION),
    POSITION.map(lambda first: f"{first}-"),
    POSITION.map(lambda suffix: f"-{suffix}"),
)


def octets_of(spec: str, length: int) -> set[int] | None:
    first, _, last = spec.partition("-")
    if not first:
        return {place for place in range(length) if place >= length - int(last)}
    if last and int(last) < int(first):
        return None
    return {place for place in range(length) if int(first) <= place and (not last or place <= int(last))}


@given(st.lists(SPEC, min_size=1, max_size=12), st.integers(0, 600))
@example(["0-", "-13"], 0)
@example(["0-0", "520-", "130-260"], 521)
def test_ranges_select_what_the_section_says(specs: list[str], length: int) -> None:
    asked = [octets_of(spec, length) for spec in specs]
    selected = select_ranges("bytes=" + ", ".join(specs), length)
    if None in asked:
        assert selected is None
    elif not any(asked):
        assert selected is UNSATISFIABLE or (length == 0 and selected is None)
    elif selected is None:
        assert len(specs) > MAX_OVERLAPPING + 1  # only sets of some size are refused
    else:
        assert isinstance(selected, tuple)
        wanted = set().union(*(octets for octets in asked if octets))
        sent = [set(range(one.start, one.stop)) for one in selected]
        assert wanted <= set().union(*sent) <= set(range(length))
        assert sum(map(len, sent)) == len(set().union(*sent))  # no octet twice
        assert all(octets & wanted for octets in sent)
        unasked = sum(map(len, sent)) - len(wanted)
        assert unasked <= NEARLY_ADJACENT_BYTES * (len(specs) - len(selected))
        firsts = [min(at for at, octets in enumerate(asked) if octets and octets & part) for part in sent]
        assert firsts == sorted(firsts)


@given(st.text(alphabet="bytes=0123456789-, \t;x", max_size=60), st.integers(0, 1000))
def test_any_field_has_an_answer(field: str, length: int) -> None:
    selected = select_ranges(field, length)
    if isinstance(selected, tuple):
        assert re.match("bytes=", field)
        assert all(0 <= one.start < one.stop <= length for one in selected)


@pytest.mark.parametrize(
    "field", ["bytes=" + "," * 100_000, "bytes=" + "0-," * 100_000, "bytes=" + "1" * 100_000, "bytes=" + " " * 100_000]
)
def test_hostile_fields_take_little_time(field: str) -> None:
    started = time.process_time()
    select_ranges(field, 1000)
    parse_content_range(field.replace("=", " "))
    assert time.process_time() - started < 0.5


def test_content_range() -> None:
    assert content_range(ByteRange(0, 100), 1234) == "bytes 0-99/1234"
    assert unsatisfied_content_range(1234) == "bytes */1234"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("bytes 0-99/1234", ContentRange(0, 100, 1234)),
        ("Bytes  5-5/6", ContentRange(5, 6, 6)),
        ("bytes 7-9/*", ContentRange(7, 10, None)),
        ("bytes 0-9/" + "9" * 5000, ContentRange(0, 10, 10**18)),
        (None, None),
        ("", None),
        ("bytes */1234", None),
        ("bytes 5-4/10", None),
        ("bytes 0-10/10", None),
        ("bytes 0-" + "9" * 30 + "/*", None),
        ("bytes=0-9/10", None),
        ("bytes 0-9", None),
        ("bytes 0-9/", None),
        ("bytes -9/10", None),
        ("bytes 0 - 9/10", None),
        ("items 0-9/10", None),
        ("bytes 0-9/10, bytes 0-9/10", None),
    ],
)
def test_parse_content_range(field: str | None, expected: ContentRange | None) -> None:
    assert parse_content_range(field) == expected


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.integers(0, 10**12))
def test_content_ranges_read_back(start: int, size_bytes: int, behind: int) -> None:
    length = start + size_bytes + behind
    one = ByteRange(start, start + size_bytes)
    assert one.size_bytes == size_bytes
    assert parse_content_range(content_range(one, length)) == ContentRange(start, start + size_bytes, length)
