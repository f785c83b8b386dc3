"""A TLS listener on a real socket and uvloop, with clients of Python's ssl module in memory or on threads."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from cdn.edge.limits import HttpLimits
from cdn.edge.listener import Listener
from cdn.edge.ticket_keys import TICKET_KEY_BYTES, TicketKeys
from cdn.edge.tls_contexts import TlsContexts
from cdn.edge.tls_limits import TlsLimits
from tests.edge.engine_application import EchoApplication
from tests.edge.tls_material import SignedSource, root_pem

NAME = "a.example"
GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"
LAST_GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"


def get_of(host: str, *lines: str, method: str = "GET") -> bytes:
    """The head of a request of `/a` for `host`."""
    return "\r\n".join((f"{method} /a HTTP/1.1", f"Host: {host}", *lines, "", "")).encode()


class TlsStage:
    """A listener, the application and the source behind it."""

    def __init__(
        self, listener: Listener, application: EchoApplication, source: SignedSource, tls: TlsContexts
    ) -> None:
        self.listener = listener
        self.application = application
        self.source = source
        self.tls = tls
        self._clients: list[TlsClient] = []

    async def connect(
        self,
        name: str | None = NAME,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
        ahead: bytes = b"",
    ) -> TlsClient:
        """A client that has shaken hands. Raises ssl.SSLError and OSError."""
        client = await TlsClient.connect(self.port, name, context, session, ahead)
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        for client in self._clients:
            client.close()

    @property
    def port(self) -> int:
        return self.listener.port

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; the stage's own timeout ends it."""
        while not is_so():
            await asyncio.sleep(0.005)


def keys(name: int) -> TicketKeys:
    """Keys that tests can tell apart."""
    return TicketKeys(bytes((name,)) * TICKET_KEY_BYTES)


def serve(
    scene: Callable[[TlsStage], Awaitable[None]],
    *,
    source: SignedSource | None = None,
    application: EchoApplication | None = None,
    limits: TlsLimits | None = None,
    http_limits: HttpLimits | None = None,
    contexts: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Play `scene` against a listener on a free port."""

    async def play() -> None:
        served = application or EchoApplication()
        served.remember("/a", b"hello")
        chosen = source or SignedSource(NAME, "b.example", "*.wild.example", default=NAME)
        tls = TlsContexts(chosen, limits, **{"ticket_keys": keys(1), **(contexts or {})})
        listener = await Listener.start("127.0.0.1", 0, served, http_limits or HttpLimits(), tls=tls, **options)
        stage = TlsStage(listener, served, chosen, tls)
        try:
            async with asyncio.timeout(20):
                await scene(stage)
        finally:
            await listener.aclose()
            stage.close_clients()
        assert listener.open_connections == 0
        assert not tls.handshaking
        assert not tls.incoming.pending
        assert not tls.outgoing.pending

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())


def client_context(*protocols: str, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that trusts the tests' authority; `version`: it speaks no other."""
    context = ssl.create_default_context(cadata=root_pem().decode())
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class TlsClient:
    """A blocking client; its methods run on threads."""

    def __init__(self, connected: ssl.SSLSocket) -> None:
        self.socket = connected

    @classmethod
    async def connect(
        cls,
        port: int,
        name: str | None = NAME,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
        ahead: bytes = b"",
    ) -> TlsClient:
        """Connect and shake hands. Raises ssl.SSLError and OSError."""

        chosen = context or client_context()

        def shake() -> ssl.SSLSocket:
            plain = socket.create_connection(("127.0.0.1", port), timeout=30)
            try:
                plain.sendall(ahead)
                return chosen.wrap_socket(plain, server_hostname=name, session=session, suppress_ragged_eofs=False)
            except BaseException:
                plain.close()
                raise

        return cls(await asyncio.to_thread(shake))

    async def ask(self, data: bytes, until: bytes) -> bytes:
        """Send, and read until the answer ends with `until`."""

        def talk() -> bytes:
            self.socket.sendall(data)
            answer = b""
            while not answer.endswith(until):
                part = self.socket.recv(65536)
                if not part:
                    raise EOFError(answer)
                answer += part
            return answer

        return await asyncio.to_thread(talk)

    async def ask_last(self, data: bytes) -> bytes:
        """Send, and read until the server says that it ends. Raises ssl.SSLEOFError when it ends without a word."""

        def talk() -> bytes:
            self.socket.sendall(data)
            parts = []
            while part := self.socket.recv(65536):
                parts.append(part)
            return b"".join(parts)

        try:
            return await asyncio.to_thread(talk)
        finally:
            self.close()

    def close(self) -> None:
        self.socket.close()
