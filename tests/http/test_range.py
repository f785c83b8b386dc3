from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.range import (
    UNSATISFIABLE,
    ByteRange,
    Unsatisfiable,
    content_range,
    select_range,
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
        ("bytes=0-1,3-4", 1000, None),
        ("bytes=0-1, bytes=3-4", 1000, None),
        ("items=0-1", 1000, None),
    ],
)
def test_select_range(field: str | None, length: int, expected: ByteRange | Unsatisfiable | None) -> None:
    assert select_range(field, length) == expected


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_a_range_selects_what_the_section_says(first: int, last: int, length: int) -> None:
    content = bytes(range(length))
    asked = bytes(octet for octet in content if first <= octet <= last)
    selected = select_range(f"bytes={first}-{last}", length)
    if last < first:
        assert selected is None
    elif not asked:
        assert selected is UNSATISFIABLE
    else:
        assert isinstance(selected, ByteRange)
        assert content[selected.start : selected.stop] == asked
        assert selected.size_bytes == len(asked)


def test_content_range() -> None:
    assert content_range(ByteRange(0, 100), 1234) == "bytes 0-99/1234"
    assert unsatisfied_content_range(1234) == "bytes */1234"
