"""A listening socket and the connections that came in by it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial

from cdn.edge.application import Application
from cdn.edge.connection import H1Connection
from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_service import H2Service
from cdn.edge.head_parser import HeadParser
from cdn.edge.known_heads import memo_of
from cdn.edge.limits import HttpLimits
from cdn.edge.proxied_connection import ProxiedConnection
from cdn.edge.service import ListenerCounters, Service
from cdn.edge.tls_contexts import TlsContexts
from cdn.edge.tls_handshake import TlsHandshake
from cdn.edge.traffic import Traffic
from cdn.edge.trusted_proxies import TrustedProxies

log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 1.0
"""How often connections are checked for timeouts: how much later than named a timeout may strike."""

BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted."""


class Listener:
    """Serves an Application over HTTP/1.1 and HTTP/2 on one address."""

    def __init__(self, server: asyncio.Server, service: Service) -> None:
        self._server = server
        self._service = service
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        service.on_connection_gone = self._note_gone
        self._checking = asyncio.get_running_loop().create_task(self._check_forever())

    @classmethod
    async def start(
        cls,
        host: str,
        port: int,
        application: Application,
        limits: HttpLimits,
        *,
        cache_name: str = "cdn",
        scheme: str = "http",
        trusted_proxies: TrustedProxies | None = None,
        proxy_protocol: bool = False,
        tls: TlsContexts | None = None,
        http2: H2Limits | None = None,
        traffic: Traffic | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> Listener:
        """Listen on `host` and `port` (0: a free one, see `port`). Raises OSError when that is not possible.

        `cache_name` stands in the Cache-Status of answers that the engine makes by itself. `trusted_proxies` say for
        whom they ask in X-Forwarded-For; with `proxy_protocol` at the start of their connections, and only there. With
        `tls` every connection begins with a handshake (behind the header of a proxy), and the scheme is https.
        `http2` are the limits of HTTP/2; None: the defaults. Above TLS it is spoken where `tls` offers it. `traffic`
        counts answers and keeps the access log.
        """
        service, connection = _service(
            application,
            limits,
            cache_name=cache_name,
            scheme=scheme,
            trusted_proxies=trusted_proxies or TrustedProxies(),
            proxy_protocol=proxy_protocol,
            tls=tls,
            http2=http2,
            traffic=traffic,
            monotonic=monotonic,
            wall=wall,
        )
        server = await asyncio.get_running_loop().create_server(connection, host, port, backlog=BACKLOG)
        return cls(server, service)

    @classmethod
    async def adopt(
        cls,
        listening: socket.socket,
        application: Application,
        limits: HttpLimits,
        *,
        cache_name: str = "cdn",
        scheme: str = "http",
        trusted_proxies: TrustedProxies | None = None,
        proxy_protocol: bool = False,
        tls: TlsContexts | None = None,
        http2: H2Limits | None = None,
        traffic: Traffic | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> Listener:
        """Like `start`, on a socket that listens already and that somebody else keeps open beyond this listener.

        Nothing that waits in it is lost when this listener ends: the next one takes it.
        """
        service, connection = _service(
            application,
            limits,
            cache_name=cache_name,
            scheme=scheme,
            trusted_proxies=trusted_proxies or TrustedProxies(),
            proxy_protocol=proxy_protocol,
            tls=tls,
            http2=http2,
            traffic=traffic,
            monotonic=monotonic,
            wall=wall,
        )
        server = await asyncio.get_running_loop().create_server(connection, sock=listening, backlog=BACKLOG)
        return cls(server, service)

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def https_port(self) -> int | None:
        """The same, where it speaks TLS."""
        return None if self._service.tls is None else self.port

    @property
    def counters(self) -> ListenerCounters:
        """What happened so far."""
        return self._service.counters

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._service.connections)

    @property
    def serves_until(self) -> float:
        """Until when (monotonic) what was prepared may be sent without asking the application."""
        return self._service.serves_until

    @serves_until.setter
    def serves_until(self, until: float) -> None:
        self._service.serves_until = until

    def counted(self) -> Mapping[str, int]:
        """Nothing that is not among `counters`."""
        return {}

    def withdraw(self) -> None:
        """Go on serving, and say with every answer that its connection closes: clients then go elsewhere in peace."""
        self._service.is_withdrawn = True
        for connection in tuple(self._service.connections):
            connection.withdraw()

    async def drain(self, timeout_s: float) -> None:
        """Accept nothing more, answer what was asked for, close; after `timeout_s` reset what is left."""
        self._server.close()
        self._service.is_draining = True
        for connection in tuple(self._service.connections):
            connection.drain()
        await self._wait_gone(timeout_s)
        await self.aclose()

    async def aclose(self) -> None:
        """Stop at once."""
        self._server.close()
        self._checking.cancel()
        for connection in tuple(self._service.connections):
            connection.abort()
        await self._wait_gone(CHECK_INTERVAL_S)

    async def _wait_gone(self, timeout_s: float) -> None:
        if not self._service.connections:
            return
        self._all_gone.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._all_gone.wait()
        except TimeoutError:
            return

    def _note_gone(self) -> None:
        if not self._service.connections:
            self._all_gone.set()

    async def _check_forever(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            now = self._service.monotonic()
            for connection in tuple(self._service.connections):
                try:
                    connection.check(now)
                except Exception:
                    log.exception("a connection could not be checked for timeouts; it is reset")
                    connection.abort()


def _service(
    application: Application,
    limits: HttpLimits,
    *,
    cache_name: str,
    scheme: str,
    trusted_proxies: TrustedProxies,
    proxy_protocol: bool,
    tls: TlsContexts | None,
    http2: H2Limits | None,
    traffic: Traffic | None,
    monotonic: Callable[[], float],
    wall: Callable[[], float],
) -> tuple[Service, Callable[[], asyncio.Protocol]]:
    """What the connections of a listener share, and how one is made."""
    traffic = traffic or Traffic()
    service = Service(
        application=application,
        limits=limits,
        parser=HeadParser(limits),
        memo=memo_of(limits),
        cache_name=cache_name,
        scheme=scheme if tls is None else "https",
        monotonic=monotonic,
        wall=wall,
        counters=ListenerCounters(),
        forwarders=TrustedProxies() if proxy_protocol else trusted_proxies,
        tls=tls,
        http2=H2Service.of(limits, http2, traffic.words) if http2 is None or http2.enabled else None,
        traffic=traffic,
    )
    if proxy_protocol:
        return service, partial(ProxiedConnection, service, trusted_proxies)
    if tls is not None:
        return service, partial(TlsHandshake, service, tls)
    return service, partial(H1Connection, service)
