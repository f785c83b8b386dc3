"""Who is at the other end of a connection."""

from __future__ import annotations

import asyncio

from cdn.edge.trusted_proxies import parse_address

UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing listens on it
"""Of a client that was gone before the kernel was asked who it is."""


def peer_address(transport: asyncio.BaseTransport) -> str:
    """The IP address of whoever is connected, in its plain form."""
    peer = transport.get_extra_info("peername")
    address = parse_address(peer[0]) if peer else None
    return UNKNOWN_ADDRESS if address is None else str(address)
