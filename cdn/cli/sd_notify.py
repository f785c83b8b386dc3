"""What a service tells systemd: that it is ready, that it stops, and that its event loop still turns (sd_notify(3))."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, MutableMapping

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

_log = logging.getLogger(__name__)


class ServiceManager:
    """The manager that started this process, if one did and wants to know.

    `notify_socket` is a path, or a name that begins with @; `watchdog_s` is how long it waits for a sign of life.
    """

    def __init__(self, notify_socket: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = notify_socket
        self._watchdog_s = watchdog_s

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Takes its variables out of `environ`: processes that this one starts are none of its service's."""
        address, usec, pid = (environ.pop(name, None) for name in _VARIABLES)
        if not address or address[0] not in "/@":
            return cls()
        is_meant = pid is None or pid == str(os.getpid())
        has_time = usec is not None and usec.isascii() and usec.isdigit() and int(usec) > 0
        return cls(address, int(usec) / 1_000_000 if usec is not None and is_meant and has_time else None)

    def ready(self) -> None:
        """The service serves."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The service has begun to stop."""
        self._tell("STOPPING=1")

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Inside, a sign of life goes out at half of the time that the manager waits.

        It is sent from the event loop: a loop that hangs sends none, and the manager replaces the process.
        """
        if self._watchdog_s is None:
            yield
            return
        task = asyncio.create_task(self._show_life(self._watchdog_s / 2), name="watchdog")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _show_life(self, every_s: float) -> None:
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(every_s)

    def _tell(self, message: str) -> None:
        """A manager that cannot be told costs a line in the log: the service itself goes on."""
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as end:
                end.connect(address)
                end.send(message.encode())
        except OSError as exc:
            _log.warning("the service manager was not told %s: %s", message, exc)
