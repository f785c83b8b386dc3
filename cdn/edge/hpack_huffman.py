"""The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B), decoded at the speed of zlib.

The code is canonical: its lengths alone give it, as in DEFLATE (RFC 1951 section 3.2.2). And those codes that have at
most 15 bits are, together with 15 ones, a complete code of DEFLATE: 15 ones, with which all longer codes begin, are its
end of block. So zlib decodes every string of the usual characters, 78 octets in 1.3 us where a loop takes 4 us per
table look-up of whole octets, and 8 MiB of table. What has a longer code in it, or a fault, goes through a loop.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Final, NamedTuple

CODE_LENGTHS: Final = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b08060606050505060606"
    "0606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e060f0506050605060606050707"
    "0606060506070605050607070707070f0b0e0d1c14161414161616171617171717171817181816171817171717151617161717181615"
    "1416161717151716161815161717151516151716171714161616171616171a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b18"
    "15151a1a1c1b1b1b14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
"""Bits of the code of each octet, then of EOS (appendix B)."""

_EOS: Final = 256
_MAX_DEFLATE_BITS: Final = 15
_REVERSED: Final = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
_END: Final = b"\xff\x7f"
"""15 ones and a zero, first bit lowest. Padding that is no more than ones leaves at least 15 ones in a row: the end of
block. Any other rest takes some of the ones into a code, and no end of block comes."""


def decode_huffman(data: bytes) -> str | None:
    """The octets that `data` stands for, as Latin-1; None when it is not well coded: padding of more than seven bits or
    of others than ones, or EOS (section 5.2)."""
    inflater = _AFTER_HEADER.copy()
    decoded = inflater.decompress(data.translate(_REVERSED) + _END, 2 * len(data) + 1)
    if inflater.eof:
        # One octet is left by seven bits of padding; by eight or more, too, when the last octet is all ones.
        rest = len(inflater.unused_data)
        if rest == 0 or (rest == 1 and data[-1] != 0xFF):
            return decoded.decode("latin-1")
    return decode_any_huffman(data)


def decode_any_huffman(data: bytes) -> str | None:
    """The same by a loop, for what zlib has no code for or does not judge."""
    steps = _steps()
    parts: list[str] = []
    state = 0
    for octet in data:
        step = steps.of[state | octet >> 4]
        if step is None:
            return None
        text, state = step
        parts.append(text)
        step = steps.of[state | octet & 15]
        if step is None:
            return None
        text, state = step
        parts.append(text)
    return "".join(parts) if state in steps.padded else None


def codes() -> tuple[int, ...]:
    """The code of each octet, then of EOS; CODE_LENGTHS has how many bits of it count."""
    of_symbol = [0] * len(CODE_LENGTHS)
    code = length = 0
    for symbol in sorted(range(len(CODE_LENGTHS)), key=lambda symbol: (CODE_LENGTHS[symbol], symbol)):
        code <<= CODE_LENGTHS[symbol] - length
        length = CODE_LENGTHS[symbol]
        of_symbol[symbol] = code
        code += 1
    return tuple(of_symbol)


class _Steps(NamedTuple):
    """What four bits do. `of`: by state and bits, the octets that end there and the state after, None for EOS. A state
    is a multiple of 16, and 0 between codes. `padded`: states that padding leaves."""

    of: list[tuple[str, int] | None]
    padded: frozenset[int]


@lru_cache(maxsize=1)
def _steps() -> _Steps:
    """Made when it is first needed, in 10 ms: half a megabyte."""
    nexts = _tree()
    of: list[tuple[str, int] | None] = []
    for start in range(len(nexts)):
        for bits in range(16):
            of.append(_step(nexts, start, bits))
    padded, node = [0], 0
    for _ in range(7):
        node = nexts[node][1]
        padded.append(node * 16)
    return _Steps(of, frozenset(padded))


def _step(nexts: list[list[int]], node: int, bits: int) -> tuple[str, int] | None:
    text = ""
    for place in (3, 2, 1, 0):
        node = nexts[node][bits >> place & 1]
        if node < 0:
            symbol = -1 - node
            if symbol == _EOS:
                return None
            text += chr(symbol)
            node = 0
    return text, node * 16


def _tree() -> list[list[int]]:
    """The code as a tree: for each node those after a zero and a one; below zero is a symbol, as -1 less itself."""
    nexts = [[0, 0]]
    for symbol, code in enumerate(codes()):
        node = 0
        for place in range(CODE_LENGTHS[symbol] - 1, 0, -1):
            bit = code >> place & 1
            if nexts[node][bit] == 0:
                nexts.append([0, 0])
                nexts[node][bit] = len(nexts) - 1
            node = nexts[node][bit]
        nexts[node][code & 1] = -1 - symbol
    return nexts


class _Bits:
    """Bits in the order of DEFLATE (RFC 1951 section 3.1.1): numbers begin with the lowest, codes with the highest."""

    def __init__(self) -> None:
        self._text = ""

    def number(self, value: int, bits: int) -> None:
        self._text += f"{value:0{bits}b}"[::-1]

    def code(self, value: int, bits: int) -> None:
        self._text += f"{value:0{bits}b}"

    def octets(self) -> bytes:
        assert len(self._text) % 8 == 0
        return bytes(int(self._text[at : at + 8][::-1], 2) for at in range(0, len(self._text), 8))


def _header() -> bytes:
    """What stands before a block that has HPACK's code (RFC 1951 section 3.2.7)."""
    bits = _Bits()
    for _ in range(3):  # empty blocks, so that the header ends with an octet
        bits.number(0, 1)
        bits.number(1, 2)
        bits.code(0, 7)
    bits.number(1, 1)
    bits.number(2, 2)
    bits.number(0, 5)  # 257 codes of literals and the end
    bits.number(0, 5)  # one of distances, unused
    bits.number(15, 4)
    for _ in range(3):  # no repetitions of lengths
        bits.number(0, 3)
    for _ in range(16):  # each length is said in four bits
        bits.number(4, 3)
    for length in CODE_LENGTHS[:_EOS]:
        bits.code(length if length <= _MAX_DEFLATE_BITS else 0, 4)
    bits.code(_MAX_DEFLATE_BITS, 4)
    bits.code(0, 4)
    return bits.octets()


def _after_header() -> zlib._Decompress:
    inflater = zlib.decompressobj(-9)  # the smallest window: there are no distances
    inflater.decompress(_header())
    return inflater


_AFTER_HEADER: Final = _after_header()
