"""The API on an address: aiohttp's server, with bounds on what strangers may hold and an answer for what is no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from http import HTTPStatus

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from cdn.control.problem import problem_response
from cdn.errors import InvalidInput

IDLE_TIMEOUT_S = 75.0
"""A connection that has no whole request head for so long is closed: also one that never sends a byte, or dribbles."""

MAX_CONNECTIONS = 4096
"""Open connections: as many followers as the hub takes, and as many callers. More are closed at once."""

MAX_LINE_BYTES = 16 * 1024
"""A request line, and a field line: an explanation of the longest URL, escaped, and its query fit in."""

HANDSHAKE_TIMEOUT_S = 10.0
"""How long a caller may take to agree on TLS."""

SHUTDOWN_TIMEOUT_S = 5.0
"""How long requests under way may take when control stops."""

log = logging.getLogger(__name__)


class Connection(web.RequestHandler):
    """One caller. What is no HTTP becomes a problem like every other fault, and one quiet line in the log."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status != 400:
            return super().handle_error(request, status, exc, message)
        log.debug("malformed request from %s: %s", request.remote, type(exc).__name__)
        sentence = (
            f"The request line and each field have at most {MAX_LINE_BYTES} octets."
            if isinstance(exc, LineTooLong)
            else "This is not a well-formed HTTP/1.1 request (RFC 9112)."
        )
        answer = problem_response(InvalidInput(sentence))
        answer.force_close()
        return answer


class Withdrawal:
    """Whether the listener is about to go: then every answer says that its connection closes."""

    def __init__(self) -> None:
        self.is_on = False

    async def mark(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Before the head of `response` is sent."""
        if self.is_on and response.status != HTTPStatus.SWITCHING_PROTOCOLS:
            response.headers["Connection"] = "close"
            response.force_close()


class _Refused(asyncio.Protocol):
    """A connection too many: it is closed before it costs anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@contextlib.asynccontextmanager
async def listening(
    application: web.Application,
    host: str,
    port: int,
    *,
    idle_timeout_s: float = IDLE_TIMEOUT_S,
    max_connections: int = MAX_CONNECTIONS,
    shutdown_timeout_s: float = SHUTDOWN_TIMEOUT_S,
    withdrawal: Withdrawal | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serve `application` on `host` and `port` (0: a free one); gives the port. Raises OSError.

    Content stays as it was sent: a Content-Encoding is not undone, so what counts against a limit is what travelled.
    At the end nothing more is accepted, and requests under way have `shutdown_timeout_s`; `withdrawal` announces it.
    """
    withdrawal = withdrawal or Withdrawal()
    application.on_response_prepare.append(withdrawal.mark)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=shutdown_timeout_s)
    await runner.setup()
    loop = asyncio.get_running_loop()
    server = runner.server
    assert server is not None, "the runner is set up"

    def connection() -> asyncio.Protocol:
        if len(server.connections) >= max_connections:
            return _Refused()
        return Connection(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None turns it off
            keepalive_timeout=idle_timeout_s,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            auto_decompress=False,
        )

    try:
        listener = await loop.create_server(
            connection, host, port, ssl=tls, ssl_handshake_timeout=None if tls is None else HANDSHAKE_TIMEOUT_S
        )
        try:
            bound: int = listener.sockets[0].getsockname()[1]
            yield bound
        finally:
            withdrawal.is_on = True
            listener.close()
    finally:
        await runner.cleanup()
