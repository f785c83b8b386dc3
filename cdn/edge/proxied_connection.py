"""A connection of a listener that stands behind proxies which speak the PROXY protocol."""

from __future__ import annotations

import asyncio
from typing import cast

from cdn.edge.connection import H1Connection
from cdn.edge.peer_address import peer_address
from cdn.edge.proxy_protocol import ProxyFault, read_proxy_header
from cdn.edge.service import Service
from cdn.edge.tls_handshake import TlsHandshake
from cdn.edge.trusted_proxies import TrustedProxies


class ProxiedConnection(asyncio.Protocol):
    """Reads the header and makes room for an H1Connection, or the handshake before it, which then serves the client as
    if nothing had been there.

    Only a trusted proxy sends one, and must; every other peer is a client of its own and is served as such from the
    first byte: a header from it is a malformed request. A header that is malformed, too large or late closes the
    connection without a word, because nobody who asked for anything would hear it.
    """

    __slots__ = ("_buffer", "_proxies", "_service", "_since", "_transport")

    def __init__(self, service: Service, proxies: TrustedProxies) -> None:
        self._service = service
        self._proxies = proxies
        self._buffer = bytearray()
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        self._transport = cast("asyncio.Transport", transport)
        service = self._service
        is_full = len(service.connections) >= service.limits.max_connections
        if is_full or not self._proxies.is_trusted(peer_address(transport)):
            self._hand_over(None)
            return
        self._since = service.monotonic()
        service.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came: once the header is whole, what follows it is the client's."""
        self._buffer += data
        header = read_proxy_header(self._buffer, self._service.limits.max_proxy_header_bytes)
        if isinstance(header, ProxyFault):
            self._refuse(header)
        elif header is not None:
            rest = bytes(self._buffer[header.size_bytes :])
            connection = self._hand_over(header.client_address)
            if rest:
                connection.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy is gone before it said anything."""
        self._service.connections.discard(self)
        self._service.on_connection_gone()

    def check(self, now: float) -> None:
        """Enforce the time for the header at `now` (monotonic)."""
        if now >= self._since + self._service.limits.proxy_header_timeout_s:
            self._refuse(ProxyFault.TIMEOUT)

    def withdraw(self) -> None:
        """What follows the header is served by a connection that knows it."""

    def drain(self) -> None:
        """Nothing was asked for yet."""
        self._transport.close()

    def abort(self) -> None:
        """Reset the connection."""
        self._transport.abort()

    def _refuse(self, fault: ProxyFault) -> None:
        refused = self._service.counters.refused
        refused[fault.value] = refused.get(fault.value, 0) + 1
        self._transport.abort()

    def _hand_over(self, client_address: str | None) -> H1Connection | TlsHandshake:
        service = self._service
        connection = (
            H1Connection(service, client_address)
            if service.tls is None
            else TlsHandshake(service, service.tls, client_address)
        )
        self._service.connections.discard(self)
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        return connection
