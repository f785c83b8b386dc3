"""A connection until its TLS handshake is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import assert_never, cast

from cdn.edge.certificate_cover import CertificateCover
from cdn.edge.client_hello import ClientHello, ClientHelloReader, HelloFault, read_at_once
from cdn.edge.connection import H1Connection
from cdn.edge.h2_connection import H2Connection
from cdn.edge.openssl import Secured, Step
from cdn.edge.peer_address import peer_address
from cdn.edge.service import Service
from cdn.edge.tls_contexts import HTTP_1_1, HTTP_2, TlsContexts
from cdn.edge.tls_counters import TlsRefusal
from cdn.edge.tls_transport import TlsTransport

ProtocolFactory = Callable[[Service, str | None], asyncio.Protocol]
"""Makes what speaks an application protocol, given the client's address where a proxy said it."""

PROTOCOLS: Mapping[str, ProtocolFactory] = {HTTP_2: H2Connection, HTTP_1_1: H1Connection}
"""What is spoken above TLS, by the name that ALPN has for it (RFC 7301). A client that names none speaks
HTTP/1.1. Only what `TlsContexts` offers is ever chosen."""


def _fatal_alert(description: int) -> bytes:
    """An alert of a connection that has no keys yet (RFC 8446 section 6)."""
    return bytes((21, 3, 3, 0, 2, 2, description))


_DECODE_ERROR = _fatal_alert(50)
_INTERNAL_ERROR = _fatal_alert(80)
_ALERTS = {TlsRefusal.UNKNOWN_NAME: _fatal_alert(112), TlsRefusal.NO_PROTOCOL: _fatal_alert(120)}
"""unrecognized_name (RFC 6066 section 3), no_application_protocol (RFC 7301 section 3.2)."""


class TlsHandshake(asyncio.Protocol):
    """Reads the ClientHello, chooses the certificate, and makes room for what speaks above TLS.

    A name that nobody here has is answered with an alert and closed, without OpenSSL. A handshake has
    `handshake_timeout_s`, and only as long as there are fewer than `max_handshakes` that came after it.
    """

    __slots__ = (
        "_client_address",
        "_cover",
        "_is_challenge",
        "_protocols",
        "_reader",
        "_secured",
        "_service",
        "_since",
        "_tls",
        "_transport",
    )

    def __init__(
        self,
        service: Service,
        tls: TlsContexts,
        client_address: str | None = None,
        protocols: Mapping[str, ProtocolFactory] = PROTOCOLS,
    ) -> None:
        self._service = service
        self._tls = tls
        self._client_address = client_address
        self._protocols = protocols
        self._reader: ClientHelloReader | None = None
        self._secured: Secured | None = None
        self._cover: CertificateCover | None = None
        self._is_challenge = False
        self._since = 0.0

    # -- what the transport calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast("asyncio.Transport", transport)
        service, handshaking = self._service, self._tls.handshaking
        if len(handshaking) >= self._tls.limits.max_handshakes or (
            handshaking and len(service.connections) >= service.limits.max_connections
        ):
            next(iter(handshaking)).displace()
        handshaking[self] = None
        service.connections.add(self)
        self._since = service.monotonic()
        if len(service.connections) > service.limits.max_connections:
            self._refuse(TlsRefusal.TOO_MANY_CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        """Bytes came: of the ClientHello, or of what OpenSSL waits for."""
        if self._transport.is_closing():
            return
        tls = self._tls
        if self._secured is not None:
            tls.incoming.write(data)
            self._proceed(self._secured, tls.shake(self._secured))
            return
        hello: ClientHello | HelloFault | None
        if self._reader is None:
            hello = read_at_once(data, tls.limits.max_client_hello_bytes)
            if hello is not None:
                self._answer(hello, data)
                return
            self._reader = ClientHelloReader(tls.limits.max_client_hello_bytes)
        hello = self._reader.receive(data)
        match hello:
            case None:
                return
            case ClientHello():
                self._answer(hello, self._reader.received)
            case HelloFault.NOT_TLS:
                self._refuse(TlsRefusal.NOT_TLS)
            case HelloFault.MALFORMED:
                self._refuse(TlsRefusal.NOT_TLS, _DECODE_ERROR)
            case HelloFault.TOO_LARGE:
                self._refuse(TlsRefusal.HELLO_TOO_LARGE, _DECODE_ERROR)
            case _:
                assert_never(hello)

    def eof_received(self) -> bool:
        """The client gave up."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone before the end."""
        if self in self._tls.handshaking:
            self._tls.counters.refuse(TlsRefusal.ABANDONED)
        self._leave()

    # -- what the listener calls -----------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Enforce the time for the handshake at `now` (monotonic)."""
        if now >= self._since + self._tls.limits.handshake_timeout_s:
            self._refuse(TlsRefusal.TIMEOUT)
            self._transport.abort()

    def withdraw(self) -> None:
        """What speaks above TLS is made by a service that knows it."""

    def drain(self) -> None:
        """Nothing was asked for yet, but it is about to be: the handshake ends in its time, and what follows knows."""

    def displace(self) -> None:
        """Make room for another handshake."""
        self._refuse(TlsRefusal.DISPLACED)
        self._transport.abort()

    def abort(self) -> None:
        """Reset the connection."""
        self._leave()
        self._transport.abort()

    # -- the handshake ---------------------------------------------------------------------------------------------

    def _answer(self, hello: ClientHello, received: bytes) -> None:
        tls = self._tls
        chosen = tls.choose(hello)
        if isinstance(chosen, TlsRefusal):
            self._refuse(chosen, _ALERTS.get(chosen, _INTERNAL_ERROR))
            return
        self._cover, self._is_challenge = chosen.cover, chosen.is_challenge
        self._reader = None
        secured = self._secured = tls.connection(chosen)
        tls.incoming.write(received)
        self._proceed(secured, tls.begin(secured, hello))

    def _proceed(self, secured: Secured, step: Step) -> None:
        tls = self._tls
        rest = tls.incoming.read()  # of a handshake that waits: nothing, OpenSSL took all of it
        said = tls.outgoing.read()  # its last message, tickets
        match step:
            case Step.WAITS:
                self._transport.write(said)
            case Step.DONE:
                if said:
                    self._transport.write(said)
                self._hand_over(secured, rest)
            case Step.FAILED:
                self._refuse(TlsRefusal.FAILED, said)
            case _:
                assert_never(step)

    def _hand_over(self, secured: Secured, rest: bytes) -> None:
        counters, forwarders = self._tls.counters, self._service.forwarders
        is_judged = bool(forwarders) and forwarders.is_trusted(peer_address(self._transport))
        above = TlsTransport(self._transport, secured, self._tls, None if is_judged else self._cover)
        self._transport.set_protocol(above)
        self._leave(is_over=self._is_challenge)
        if self._is_challenge:
            counters.challenges += 1
            above.close()
            return
        counters.handshakes += 1
        counters.resumed += bool(secured.session_reused)
        factory = self._protocols[secured.selected_alpn_protocol() or HTTP_1_1]
        above.start(factory(self._service, self._client_address), rest)

    def _refuse(self, refusal: TlsRefusal, alert: bytes = b"") -> None:
        self._tls.counters.refuse(refusal)
        self._leave()
        if alert:
            self._transport.write(alert)
        self._transport.close()

    def _leave(self, *, is_over: bool = True) -> None:
        self._tls.handshaking.pop(self, None)
        self._service.connections.discard(self)
        if is_over:
            self._service.on_connection_gone()
