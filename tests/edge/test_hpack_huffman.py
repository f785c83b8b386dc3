"""Huffman strings: what zlib reads and what the loop reads is what `hpack` reads, and what RFC 7541 forbids is none."""

from __future__ import annotations

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman as oracle
from hypothesis import example, given
from hypothesis import strategies as st

from cdn.edge.hpack_huffman import CODE_LENGTHS, codes, decode_any_huffman, decode_huffman

ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
USUAL = st.binary(max_size=200).map(lambda octets: bytes(0x20 + octet % 0x5F for octet in octets))


def test_the_code_follows_from_its_lengths() -> None:
    assert list(CODE_LENGTHS) == list(REQUEST_CODES_LENGTH)
    assert list(codes()) == list(REQUEST_CODES)


@given(st.one_of(USUAL, st.binary(max_size=60)))
@example(b"")
@example(bytes(range(256)))
@example(b"\\" * 9)
@example(b"0" * 70_000)
def test_what_another_encoded_is_read(text: bytes) -> None:
    encoded = ENCODER.encode(text)
    assert decode_huffman(encoded) == text.decode("latin-1")
    assert decode_any_huffman(encoded) == text.decode("latin-1")


@pytest.mark.parametrize("octet", range(256))
def test_each_octet_is_read_at_the_end_and_before_another(octet: int) -> None:
    """With each the padding has another length."""
    for text in (bytes((octet,)), b"a" + bytes((octet,)), bytes((octet, octet)), bytes((octet,)) + b"0"):
        assert decode_huffman(ENCODER.encode(text)) == text.decode("latin-1")


NEARLY = st.tuples(USUAL, st.binary(max_size=3), st.integers(0, 3)).map(
    lambda parts: ENCODER.encode(parts[0])[: -parts[2] or None] + parts[1]
)
ONES = st.lists(st.sampled_from((0xFF, 0xFE, 0x7F, 0x3F, 0xF8)), max_size=8).map(bytes)


@given(st.one_of(st.binary(max_size=12), ONES, NEARLY))
@example(b"\xff")
@example(b"\x7f\xff")
@example(b"\xff\xff\xff\xfc")
@example(b"\x00")
def test_both_ways_judge_as_another_does(data: bytes) -> None:
    try:
        expected = oracle(data).decode("latin-1")
    except HPACKDecodingError:
        expected = None
    assert decode_huffman(data) == expected
    assert decode_any_huffman(data) == expected


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xff\xff\xff", "EOS"),
        (b"\x1c\x64\xff\xff\xff\xff\xff", "EOS behind text"),
        (b"\x1f\xff", "eight bits of padding and more"),
        (b"\x07\xff", "eleven bits of padding"),
        (b"\x18", "padding that is not ones"),
        (b"\x1e", "padding with a zero at its end"),
    ],
)
def test_what_the_rfc_forbids_is_not_read(data: bytes, why: str) -> None:
    assert decode_huffman(data) is None, why
    assert decode_any_huffman(data) is None, why
