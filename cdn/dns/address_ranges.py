"""Sorted ranges of addresses, each with a number, found by one bisection."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from cdn.dns.client import AddressFamily
from cdn.dns.geography import Located

COMPARED_BITS = {AddressFamily.IPV4: 32, AddressFamily.IPV6: 64}
"""The leading bits by which addresses are told apart: a network of IPv6 that is smaller than /64 is one home's."""

_LEADING_BITS = 12
"""Where the ranges of each of so many blocks lie is known, which makes a bisection half as long."""


class AddressRanges:
    """All addresses of a family: range n begins at `starts[n]`, ends before the next one, and has `numbers[n]`.

    `starts` begins with 0 and rises strictly; both are as long as one another, in COMPARED_BITS. Immutable.
    """

    __slots__ = ("_beyond", "_bits", "_count", "_index", "_rest", "_shift", "_wrap", "family", "numbers", "starts")

    def __init__(self, family: AddressFamily, starts: Sequence[int], numbers: Sequence[int]) -> None:
        self.family = family
        self.starts = starts
        self.numbers = numbers
        self._bits = COMPARED_BITS[family]
        self._shift = family.bits - self._bits
        self._beyond = 1 << self._bits
        self._wrap = 2 * self._beyond - 1
        self._count = len(starts)
        self._rest = self._bits - _LEADING_BITS
        self._index = [bisect_right(starts, block << self._rest) for block in range((1 << _LEADING_BITS) + 1)]

    def locate(self, address: int) -> Located:
        """The number of the range that the whole `address` is in, and the prefix of the largest network around it that
        lies in the same range."""
        address >>= self._shift
        starts = self.starts
        block = address >> self._rest
        index = bisect_right(starts, address, self._index[block], self._index[block + 1])
        end = starts[index] if index < self._count else self._beyond
        # The network must hold neither the address before the range nor the one behind it: it begins below the first
        # bit in which the address differs from both. Of the whole space both lie outside, above the highest bit.
        index -= 1
        before = (address ^ (starts[index] - 1 & self._wrap)).bit_length()
        behind = (address ^ end).bit_length()
        return Located(self.numbers[index], self._bits + 1 - (before if before < behind else behind))
