"""One connection to NATS at a time, replaced when it is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from cdn.journal.journal import JournalUnavailable
from cdn.journal.nats_settings import NatsSettings

RECONNECT_PAUSE_S = 0.2
"""Between two attempts to connect: servers that are gone are not hammered."""

CLOSE_TIMEOUT_S = 1.0
"""A lost connection is given this long to end politely; after that it is cut."""

_log = logging.getLogger(__name__)


class NatsSilent(JournalUnavailable):
    """The message may have left this program, and no answer came: whether it took effect is not known."""


class _Connection:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.lost = asyncio.Event()
        self.in_flight: set[asyncio.Task[Msg]] = set()

    def lose(self) -> None:
        """Wake everyone who waits for an answer that can no longer come."""
        self.lost.set()
        for task in self.in_flight:
            task.cancel()


class NatsLink:
    """Requests over whichever connection there is.

    The library's own reconnection is not used: it keeps unsent bytes for the next connection, and it waits for the old
    one to drain, which to a server that hangs is for ever.
    """

    def __init__(self, settings: NatsSettings, name: str) -> None:
        self.settings = settings
        self._name = name
        self._connection: _Connection | None = None
        self._connected = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._last_error = ""
        self._is_closed = False
        self.connections = 0
        """Connections made so far."""

    @classmethod
    async def open(cls, settings: NatsSettings, *, name: str) -> NatsLink:
        """A link that is connected. `name` is shown in the servers' monitoring.

        Raises JournalUnavailable when no server lets us in within `patience_s`, InvalidInput for files that cannot be
        used.
        """
        settings.check_files()
        link = cls(settings, name)
        link._keeping = asyncio.create_task(link._keep_connected(), name="nats-link")
        try:
            await link.client()
        except BaseException:
            await link.aclose()
            raise
        return link

    @property
    def is_connected(self) -> bool:
        """Whether the last that was heard of the connection is good."""
        return self._connected.is_set()

    async def client(self) -> Client:
        """The connected client, waited for up to `patience_s`. Raises JournalUnavailable."""
        return (await self._current(self.settings.patience_s)).client

    async def request(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, *, timeout_s: float
    ) -> Msg:
        """The answer.

        Raises NatsSilent when none came in time, JournalUnavailable when nothing was sent or nobody is there to answer.
        """
        began = time.monotonic()
        connection = await self._current(timeout_s)
        remaining_s = max(0.001, timeout_s - (time.monotonic() - began))
        asked = asyncio.create_task(
            connection.client.request(
                subject, payload, timeout=remaining_s, headers=None if headers is None else dict(headers)
            )
        )
        connection.in_flight.add(asked)
        cancelled_before = _cancellations()
        try:
            answer = await asked
            if _cancellations() > cancelled_before:
                raise asyncio.CancelledError  # `wait_for` prefers an answer of the same moment to being cancelled
            return answer
        except asyncio.CancelledError:
            if not connection.lost.is_set() or _cancellations() > cancelled_before:
                raise
            raise NatsSilent(self._sentence(f"the connection broke before {subject} was answered")) from None
        except nats.errors.TimeoutError as exc:
            raise NatsSilent(self._sentence(f"no answer to {subject} within {timeout_s:g} s")) from exc
        except nats.errors.NoRespondersError as exc:
            raise JournalUnavailable(self._sentence(f"nobody there answers {subject}")) from exc
        except (nats.errors.ConnectionClosedError, nats.errors.OutboundBufferLimitError) as exc:
            raise JournalUnavailable(self._sentence(f"{subject} was not sent")) from exc
        except (nats.errors.Error, OSError) as exc:
            raise NatsSilent(self._sentence(f"{subject}: {exc!r}")) from exc
        finally:
            connection.in_flight.discard(asked)

    async def aclose(self) -> None:
        """End the connection. May be called twice."""
        self._is_closed = True
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            await end_task(keeping)

    async def _current(self, timeout_s: float) -> _Connection:
        if self._is_closed:
            raise JournalUnavailable(self._sentence("the link is closed"))
        if self._connection is None:
            try:
                async with asyncio.timeout(timeout_s):
                    while self._connection is None:
                        await self._connected.wait()
            except TimeoutError as exc:
                raise JournalUnavailable(self._sentence(f"not connected for {timeout_s:g} s")) from exc
        return self._connection

    async def _keep_connected(self) -> None:
        while True:
            client = Client()
            try:
                connection = await self._connect(client)
                if connection is not None:
                    await self._watch(connection)
            finally:
                self._connection = None
                self._connected.clear()
                await _discard(client)
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _connect(self, client: Client) -> _Connection | None:
        settings, connection = self.settings, _Connection(client)

        async def lost() -> None:
            connection.lose()

        try:
            async with asyncio.timeout(settings.connect_timeout_s * (len(settings.servers) + 1)):
                await client.connect(**self._options(), closed_cb=lost)
        except (nats.errors.Error, OSError, TimeoutError, ValueError, ImportError) as exc:
            # a server that refuses a login may end the connection before its reason has been read
            self._note(_told(exc), overwrites=not isinstance(exc, OSError))
            return None
        _log.info("connected to NATS at %s", client.connected_url.netloc if client.connected_url else "?")
        self._last_error = ""
        self.connections += 1
        self._connection = connection
        self._connected.set()
        return connection

    async def _watch(self, connection: _Connection) -> None:
        """Return once the connection is gone or does not answer."""
        try:
            while not connection.lost.is_set() and not connection.client.is_closed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.settings.ping_interval_s):
                        await connection.lost.wait()
                        self._note("the server ended the connection")
                        return
                await self._ping(connection)
        finally:
            connection.lose()

    async def _ping(self, connection: _Connection) -> None:
        try:
            async with asyncio.timeout(self.settings.ping_interval_s):
                await connection.client.flush(timeout=self.settings.ping_interval_s)  # type: ignore[arg-type]
        except (nats.errors.Error, OSError, TimeoutError) as exc:
            self._note(f"a ping was not answered within {self.settings.ping_interval_s:g} s ({exc!r})")
            connection.lose()

    def _options(self) -> dict[str, Any]:
        settings = self.settings

        async def on_error(exc: Exception) -> None:
            self._note(_told(exc), overwrites=not isinstance(exc, OSError))

        options: dict[str, Any] = {
            "servers": list(settings.servers),
            "name": self._name,
            "error_cb": on_error,
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": RECONNECT_PAUSE_S,
            "connect_timeout": settings.connect_timeout_s,
            "ping_interval": 3600,  # pings are sent here, where their end is noticed
            "pending_size": 0,
        }
        if (context := settings.tls_context()) is not None:
            options["tls"] = context
            if settings.tls_hostname is not None:
                options["tls_hostname"] = settings.tls_hostname
        if settings.credentials_file is not None:
            options["user_credentials"] = str(settings.credentials_file)
        if settings.nkey_seed_file is not None:
            options["nkeys_seed"] = str(settings.nkey_seed_file)
        if settings.user is not None:
            options["user"], options["password"] = settings.user, settings.password
        if settings.token is not None:
            options["token"] = settings.token
        return options

    def _note(self, error: str, *, overwrites: bool = True) -> None:
        """Remember why NATS cannot be used, for the errors to come; say it once in the log."""
        if error != self._last_error and (overwrites or not self._last_error):
            _log.warning("NATS at %s: %s", ", ".join(self.settings.servers), error)
            self._last_error = error

    def _sentence(self, what: str) -> str:
        because = f" (last heard: {self._last_error})" if self._last_error else ""
        return (
            f"NATS at {', '.join(self.settings.servers)} cannot be used now: {what}{because}; "
            "see that a majority of its servers run and can be reached"
        )


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel the task until it has ended: the library swallows a cancellation that meets an answer.

    Raises what the task raised.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_S)
    if not task.cancelled():
        task.result()


def _told(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def _discard(client: Client) -> None:
    """Close it; if its peer takes nothing more, cut it: its unsent bytes must not keep anything waiting."""
    transport = getattr(client, "_transport", None)
    if transport is None:
        return  # it never got as far as a server
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await client.close()
    except (nats.errors.Error, OSError, TimeoutError) as exc:
        _log.info("a connection to NATS was cut: %r", exc)
    finally:
        writer = getattr(transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
