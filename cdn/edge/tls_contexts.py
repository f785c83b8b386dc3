"""Which certificate answers a ClientHello, ready for a handshake."""

from __future__ import annotations

import ssl

from cdn.edge.client_hello import ClientHello
from cdn.edge.ticket_keys import TicketKeys
from cdn.edge.tls_counters import TlsCounters, TlsRefusal
from cdn.edge.tls_limits import TlsLimits
from cdn.edge.tls_source import TlsSource


class TlsContexts:
    """One per process, shared by its TLS listeners.

    `protocols` are what we speak, the best first (ALPN, RFC 7301). Without `ticket_keys` sessions resume within one
    process only.
    """

    def __init__(
        self,
        source: TlsSource,
        limits: TlsLimits | None = None,
        *,
        ticket_keys: TicketKeys | None = None,
        protocols: tuple[str, ...] = ("http/1.1",),
    ) -> None:
        self.source = source
        self.limits = limits or TlsLimits()
        self.protocols = protocols
        self.counters = TlsCounters()
        self._ticket_keys = ticket_keys

    def set_ticket_keys(self, keys: TicketKeys) -> None:
        """From now on tickets are encrypted with these."""
        self._ticket_keys = keys

    def choose(self, hello: ClientHello) -> ssl.SSLContext | TlsRefusal:
        """The context for a handshake that begins with `hello`."""
        raise NotImplementedError
