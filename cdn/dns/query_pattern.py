"""Queries that differ in nothing but the address of their client subnet: read once, and answered once for all who are
answered the same."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from cdn.dns.answer_memo import Remembered
from cdn.dns.client import AddressFamily, Client
from cdn.dns.client_subnet import ClientSubnet
from cdn.dns.query import HEADER_BYTES, Edns, Query
from cdn.dns.zone_answer import Likeness

MAX_PATTERNS = 4_096
"""Questions kept, each with its sizes of address: 4 MiB. A new one empties the table when it is full."""

MAX_PATTERN_BYTES = 400
"""A question with the longest name, and its OPT record."""

MAX_ANSWERS = 65_536
"""Different answers kept of all patterns, up to 500 bytes each: every slot of 64 places. The next one
after these empties the table."""

_ADDRESS_BYTES = (3, 7, 6, 4)
"""Of /24, /56, /48 and /32, which is what resolvers send; no bit of the last octet is beyond the prefix there."""

_OPT_BYTES = 11 + 4 + 4
"""An OPT record with one client subnet, up to its address."""


@dataclass(slots=True)
class QueryPattern:
    """One question, whatever the address. `answers` are by likeness."""

    query: Query
    family: AddressFamily
    source_prefix: int
    likeness: Likeness
    answers: dict[Hashable, Remembered] = field(default_factory=dict)

    def client(self, address: bytes) -> Client:
        """Whom a query is for that ends with this address."""
        return Client(
            self.family, int.from_bytes(address, "big") << self.family.bits - self.source_prefix, self.source_prefix
        )


class QueryPatterns:
    """Resolvers ask the same for one network after the other."""

    def __init__(self) -> None:
        self._patterns: dict[bytes, QueryPattern] = {}
        self._answers = 0

    def clear(self) -> None:
        """Forget everything: another generation answers from now on."""
        self._patterns.clear()
        self._answers = 0

    def remembered(self, message: bytes) -> Remembered | None:
        """What others were answered to the same question who are answered the same."""
        found = self._find(message)
        if found is None:
            return None
        pattern, address_bytes = found
        return pattern.answers.get(pattern.likeness(pattern.client(message[-address_bytes:])))

    def query(self, message: bytes) -> Query | None:
        """What `read_query` would say of a message, if one like it was kept."""
        found = self._find(message)
        return None if found is None else _with_address(found[0].query, message, found[1])

    def keep(self, message: bytes, query: Query, likeness: Likeness, answer: Remembered) -> None:
        """A query and its answer from now on; others are passed over where their address is not all that comes after a
        head."""
        edns = query.edns
        if edns is None or edns.subnet is None or len(message) > MAX_PATTERN_BYTES:
            return
        subnet, before_bytes = edns.subnet, HEADER_BYTES + len(query.question) + _OPT_BYTES
        address_bytes = len(subnet.address)
        if (
            address_bytes not in _ADDRESS_BYTES
            or subnet.source_prefix != 8 * address_bytes
            or before_bytes + address_bytes != len(message)
        ):
            return
        if len(self._patterns) >= MAX_PATTERNS or self._answers >= MAX_ANSWERS:
            self.clear()
        key = message[2:-address_bytes]
        pattern = self._patterns.get(key)
        if pattern is None:
            family = AddressFamily(subnet.family)
            pattern = QueryPattern(query, family, subnet.source_prefix, likeness)
            self._patterns[key] = pattern
        pattern.answers[pattern.likeness(subnet.client())] = answer
        self._answers += 1

    def _find(self, message: bytes) -> tuple[QueryPattern, int] | None:
        for address_bytes in _ADDRESS_BYTES:
            pattern = self._patterns.get(message[2:-address_bytes])
            if pattern is not None and pattern.source_prefix == 8 * address_bytes:  # else it was cut, or has a tail
                return pattern, address_bytes
        return None


def _with_address(known: Query, message: bytes, address_bytes: int) -> Query:
    edns, number = known.edns, int.from_bytes(message[:2], "big")
    assert edns is not None
    assert edns.subnet is not None
    subnet = ClientSubnet(edns.subnet.family, edns.subnet.source_prefix, message[-address_bytes:])
    with_subnet = Edns(edns.payload_bytes, 0, edns.is_dnssec_ok, subnet)
    is_recursion_desired, question, labels = known.is_recursion_desired, known.question, known.labels
    return Query(number, is_recursion_desired, question, labels, known.qtype, known.qclass, with_subnet)
