"""What is read of a pattern is what is read of the whole message."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.dns import query_pattern as subject
from cdn.dns.client import Client
from cdn.dns.query import Query, read_query
from cdn.dns.query_pattern import MAX_PATTERN_BYTES, QueryPatterns
from cdn.dns.zone_answer import all_alike

ANSWER = (b"answer", 0, 0, 0)
QUESTION = b"\x03www\x07example\x03net\x00\x00\x01\x00\x01"


def message(*options: tuple[int, bytes], number: int = 7, after: bytes = b"", do: bool = False) -> bytes:
    content = b"".join(struct.pack("!HH", code, len(each)) + each for code, each in options)
    opt = b"\x00\x00\x29\x04\xd0\x00\x00" + (b"\x80\0" if do else b"\0\0") + struct.pack("!H", len(content)) + content
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 1 + bool(after)) + QUESTION + opt + after


def subnet(family: int, source: int, address: bytes) -> tuple[int, bytes]:
    return 8, struct.pack("!HBB", family, source, 0) + address


KNOWN = [
    message(subnet(1, 24, b"\xc0\x00\x02")),
    message(subnet(1, 32, b"\xc0\x00\x02\x01"), do=True),
    message(subnet(2, 48, b"\x20\x01\x0d\xb8\x00\x01")),
    message(subnet(2, 56, b"\x20\x01\x0d\xb8\x00\x01\x02")),
]
OTHERS = [
    message(),
    message(subnet(1, 0, b"")),
    message(subnet(1, 23, b"\xc0\x00\x02")),
    message(subnet(1, 16, b"\xc0\x00")),
    message(subnet(2, 128, bytes(16))),
    message((65001, b"\x00\x08\x00\x07\x00\x01\x18\x00abc"), subnet(1, 24, b"abc")),
    message(subnet(1, 24, b"abc"), (65001, b"\x00\x08\x00\x07\x00\x01\x18\x00abc")),
    message(subnet(1, 24, b"\xc0\x00\x02"), (3, b"")),
    message(subnet(1, 24, b"\xc0\x00\x02"), after=b"\x00\x00\x10\x00\x01\x00\x00\x00\x00\x00\x00"),
]


def kept(raw: bytes) -> QueryPatterns:
    patterns, query = QueryPatterns(), read_query(raw)
    assert isinstance(query, Query)
    patterns.keep(raw, query, all_alike, ANSWER)
    return patterns


@given(raw=st.sampled_from(KNOWN), number=st.integers(0, 65535), data=st.data())
def test_a_pattern_reads_like_the_message(raw: bytes, number: int, data: st.DataObject) -> None:
    length = raw[raw.index(b"\x00\x08", 40) + 3] - 4
    other = number.to_bytes(2, "big") + raw[2:-length] + data.draw(st.binary(min_size=length, max_size=length))
    assert kept(raw).query(other) == read_query(other)


@pytest.mark.parametrize("raw", OTHERS)
def test_what_has_more_than_an_address_at_its_end_is_no_pattern(raw: bytes) -> None:
    assert kept(raw).query(raw) is None


@given(raw=st.sampled_from(KNOWN), bit=st.integers(0, 70 * 8))
def test_a_changed_bit_is_read_as_it_is_or_not_at_all(raw: bytes, bit: int) -> None:
    changed = bytearray(raw)
    changed[bit // 8 % len(raw)] ^= 1 << bit % 8
    found = kept(raw).query(bytes(changed))
    assert found is None or found == read_query(bytes(changed))


def test_who_is_alike_is_answered_the_same() -> None:
    patterns, raw = QueryPatterns(), KNOWN[0]
    query = read_query(raw)
    assert isinstance(query, Query)

    def first_octet(client: Client) -> int:
        return client.address >> 24

    patterns.keep(raw, query, first_octet, ANSWER)
    assert patterns.remembered(raw[:-3] + b"\xc0\x09\x09") == ANSWER
    assert patterns.remembered(raw[:-3] + b"\xc1\x00\x02") is None
    patterns.clear()
    assert patterns.remembered(raw) is None


def test_answers_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_ANSWERS", 3)
    patterns = QueryPatterns()
    for octet in range(10):
        raw = KNOWN[0][:-3] + bytes((octet, 0, 2))
        query = read_query(raw)
        assert isinstance(query, Query)
        patterns.keep(raw, query, lambda client: client.address, ANSWER)
        assert patterns.remembered(raw) == ANSWER
        assert sum(len(each.answers) for each in patterns._patterns.values()) <= 3


def test_patterns_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_PATTERNS", 3)
    patterns, raw = QueryPatterns(), KNOWN[0]
    for rdtype in range(1, 10):
        one = raw.replace(b"\x03net\x00\x00\x01", b"\x03net\x00\x00" + bytes((rdtype,)))
        query = read_query(one)
        assert isinstance(query, Query)
        patterns.keep(one, query, all_alike, ANSWER)
        assert patterns.query(one) == query
        assert len(patterns._patterns) <= 3
    query = read_query(raw)
    assert isinstance(query, Query)
    patterns.keep(raw + bytes(MAX_PATTERN_BYTES), query, all_alike, ANSWER)
    assert patterns.query(raw + bytes(MAX_PATTERN_BYTES)) is None
