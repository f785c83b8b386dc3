"""Names just before and just after others, against the canonical order of dnspython."""

from __future__ import annotations

import dns.name
import dns.rdata
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdn.dns.name import MAX_NAME_OCTETS, Labels, wire_of
from cdn.dns.nsec import after, around, nsec_rdata

APEX: Labels = (b"example", b"com")
LONG = b"l" * 63
OCTETS = st.sampled_from([0, 1, 0x29, 0x2A, 0x2D, 0x30, 0x40, 0x5B, 0x60, 0x61, 0x7A, 0x7B, 0xFE, 0xFF])
LABELS = st.one_of(
    st.lists(OCTETS, min_size=1, max_size=3).map(bytes),
    st.builds(lambda size, last: bytes((last,)).rjust(size, b"l"), st.integers(60, 63), OCTETS),
    st.just(b"\xff" * 63),
)  # fmt: skip
NAMES = (
    st.lists(LABELS, min_size=1, max_size=5)
    .map(lambda own: (*own, *APEX))
    .filter(lambda name: len(wire_of(name)) <= MAX_NAME_OCTETS)
)


def name_of(labels: Labels) -> dns.name.Name:
    return dns.name.Name((*labels, b""))


def is_covered(name: Labels, owner: Labels, next_name: Labels) -> bool:
    if next_name == APEX:
        return bool(name_of(owner) < name_of(name))
    return bool(name_of(owner) < name_of(name) < name_of(next_name))


@given(name=NAMES, other=NAMES)
@example(name=(b"[", *APEX), other=(b"zz", *APEX))
@example(name=(b"@" * 63, *APEX), other=(b"@" * 62 + b"[", *APEX))
@example(name=(b"ab", *APEX), other=(b"z", b"aa", *APEX))
@example(name=(b"ab\0", *APEX), other=(b"z", b"ab", *APEX))
@example(name=(LONG[:-1] + b"m", *APEX), other=(b"z", LONG, *APEX))
def test_a_denial_covers_the_name_and_those_below_it_alone(name: Labels, other: Labels) -> None:
    span = around(name, APEX)
    if span is None:
        return
    assert is_covered(name, *span)
    assert span[0][-len(name) + 1 :] == name[1:]  # so resolvers see that the parent exists
    assert all(len(wire_of(each)) <= MAX_NAME_OCTETS and max(map(len, each)) <= 63 for each in span)
    if other[-len(name) :] == name:
        assert is_covered(other, *span)
    elif all(b"\xff" not in label for label in other):
        assert not is_covered(other, *span)


@given(name=NAMES, other=NAMES)
@example(name=(b"\xff" * 63, *APEX), other=(b"a", b"\xff" * 63, *APEX))
def test_nothing_lies_between_a_name_and_the_next(name: Labels, other: Labels) -> None:
    next_name = after(name, APEX)
    assert len(wire_of(next_name)) <= MAX_NAME_OCTETS
    assert next_name == APEX or name_of(name) < name_of(next_name)
    assert not is_covered(other, name, next_name)
    assert after(APEX, APEX) == (b"\0", *APEX)


@pytest.mark.parametrize("first", [b"\0", b"a", b"*"])
def test_only_names_at_the_limits_cannot_be_covered(first: bytes) -> None:
    assert (around((first, *APEX), APEX) is None) == (first == b"\0")
    longest = (first, LONG, LONG, LONG, b"l" * 47, *APEX)
    assert len(wire_of(longest)) == MAX_NAME_OCTETS
    assert around(longest, APEX) is None


@given(types=st.frozensets(st.sampled_from([1, 2, 5, 6, 15, 28, 46, 47, 48, 65, 255, 256, 257, 1234, 32769, 65401])))
def test_bitmaps_are_those_of_dnspython(types: frozenset[int]) -> None:
    rdata = nsec_rdata((b"a", *APEX), types)
    text = " ".join(
        ["a.example.com.", *(dns.rdatatype.to_text(dns.rdatatype.RdataType.make(each)) for each in sorted(types))]
    )
    assert rdata == dns.rdata.from_text("IN", "NSEC", text).to_wire()
