"""Queries that differ in nothing but the address of their client subnet: read once."""

from __future__ import annotations

from cdn.dns.client_subnet import ClientSubnet
from cdn.dns.query import HEADER_BYTES, Edns, Query

MAX_PATTERNS = 4_096
"""Questions kept, each with its sizes of address: 4 MiB. A new one empties the table when it is full."""

MAX_PATTERN_BYTES = 400
"""A question with the longest name, and its OPT record."""

_ADDRESS_BYTES = (3, 7, 6, 4)
"""Of /24, /56, /48 and /32, which is what resolvers send; no bit of the last octet is beyond the prefix there."""

_OPT_BYTES = 11 + 4 + 4
"""An OPT record with one client subnet, up to its address."""


class QueryPatterns:
    """Resolvers ask the same for one network after the other."""

    def __init__(self) -> None:
        self._queries: dict[bytes, Query] = {}

    def query(self, message: bytes) -> Query | None:
        """What `read_query` would say of a message, if one like it was kept."""
        for address_bytes in _ADDRESS_BYTES:
            known = self._queries.get(message[2:-address_bytes])
            if known is not None:
                return _with_address(known, message, address_bytes)
        return None

    def keep(self, message: bytes, query: Query) -> None:
        """A query from now on; others are passed over where their address is not all that comes after a head."""
        edns = query.edns
        if edns is None or edns.subnet is None or len(message) > MAX_PATTERN_BYTES:
            return
        subnet, before_bytes = edns.subnet, HEADER_BYTES + len(query.question) + _OPT_BYTES
        address_bytes = len(subnet.address)
        if (
            address_bytes in _ADDRESS_BYTES
            and subnet.source_prefix == 8 * address_bytes
            and before_bytes + address_bytes == len(message)
        ):
            if len(self._queries) >= MAX_PATTERNS:
                self._queries.clear()
            self._queries[message[2:-address_bytes]] = query


def _with_address(known: Query, message: bytes, address_bytes: int) -> Query:
    edns, number = known.edns, int.from_bytes(message[:2], "big")
    assert edns is not None
    assert edns.subnet is not None
    subnet = ClientSubnet(edns.subnet.family, edns.subnet.source_prefix, message[-address_bytes:])
    with_subnet = Edns(edns.payload_bytes, 0, edns.is_dnssec_ok, subnet)
    is_recursion_desired, question, labels = known.is_recursion_desired, known.question, known.labels
    return Query(number, is_recursion_desired, question, labels, known.qtype, known.qclass, with_subnet)
