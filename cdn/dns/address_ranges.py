"""Sorted ranges of addresses, each with a number, found by one bisection."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from cdn.dns.client import AddressFamily
from cdn.dns.geography import Located

COMPARED_BITS = {AddressFamily.IPV4: 32, AddressFamily.IPV6: 64}
"""The leading bits by which addresses are told apart: a network of IPv6 that is smaller than /64 is one home's."""


@dataclass(frozen=True, slots=True)
class AddressRanges:
    """All addresses of a family: range n begins at `starts[n]`, ends before the next one, and has `numbers[n]`.

    `starts` begins with 0 and rises strictly; both are as long as one another, in COMPARED_BITS.
    """

    family: AddressFamily
    starts: Sequence[int]
    numbers: Sequence[int]

    def locate(self, address: int) -> Located:
        """The number of the range that the whole `address` is in, and the prefix of the largest network around it that
        lies in the same range."""
        bits = COMPARED_BITS[self.family]
        address >>= self.family.bits - bits
        starts = self.starts
        index = bisect_right(starts, address)
        beyond = 1 << bits
        end = starts[index] if index < len(starts) else beyond
        # The network must hold neither the address before the range nor the one behind it: it begins below the first
        # bit in which the address differs from both. Of the whole space both lie outside, above the highest bit.
        before = (starts[index - 1] - 1) & (2 * beyond - 1)
        differing = min((address ^ before).bit_length(), (address ^ end).bit_length())
        return Located(self.numbers[index - 1], bits + 1 - differing)
