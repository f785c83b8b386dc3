"""Heads from the disk index: what many responses say alike is in memory once."""

from __future__ import annotations

from cdn.edge import disk_pulled_head
from cdn.edge.disk_pulled_head import MAX_SHARED_BYTES, MAX_SHARED_LINES, pack_head, unpack_head
from cdn.edge.stored import PulledHead
from cdn.http.fields import FieldLines, Fields
from cdn.http.response_head import ResponseHead


def read_again(*lines: tuple[str, str]) -> FieldLines:
    head = PulledHead(ResponseHead(200, Fields(lines)), (), 1.0, 2.0, None, 0, None, 0)
    packed = pack_head(head)
    assert packed is not None
    read = unpack_head(packed)
    assert read == head
    return read.head.fields.lines


def test_lines_that_responses_have_alike_are_shared() -> None:
    one = read_again(("cache-control", "max-age=60"), ("etag", '"1"'))
    other = read_again(("cache-control", "max-age=60"), ("etag", '"2"'))
    assert one[0] is other[0]
    assert one[1][0] is other[1][0]


def test_what_is_kept_for_that_is_bounded() -> None:
    for number in range(MAX_SHARED_LINES + 10):
        read_again(("x-request", str(number)), ("x-long", f"{number}".ljust(MAX_SHARED_BYTES, "x")))
    assert len(disk_pulled_head._shared) <= MAX_SHARED_LINES
    assert not any(len(value) >= MAX_SHARED_BYTES for _, value in disk_pulled_head._shared)
