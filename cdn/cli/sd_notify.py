"""What a service tells systemd: that it is ready, that it stops, that its event loop still turns, and which sockets to
keep for the process that comes after it (sd_notify(3), sd_listen_fds(3))."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, MutableMapping, Sequence

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_SOCKET_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")

FIRST_SOCKET = 3
"""The descriptor at which the sockets that a manager hands over begin (sd_listen_fds(3))."""

MAX_SOCKETS = 1024
"""More are never taken: it is what a manager keeps at most where nobody configured it."""

_log = logging.getLogger(__name__)


class ServiceManager:
    """The manager that started this process, if one did and wants to know.

    `notify_socket` is a path, or a name that begins with @; `watchdog_s` is how long it waits for a sign of life.
    """

    def __init__(
        self,
        notify_socket: str | None = None,
        watchdog_s: float | None = None,
        sockets: Sequence[socket.socket] | None = None,
    ) -> None:
        self.sockets = sockets
        """Handed over by the manager: kept from the process before this one, or opened by the manager itself. None when
        there is no manager that would keep any."""
        self._address = notify_socket
        self._watchdog_s = watchdog_s

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Takes its variables out of `environ`: processes that this one starts are none of its service's."""
        address, usec, pid = (environ.pop(name, None) for name in _VARIABLES)
        sockets = _handed_over(environ)
        if not address or address[0] not in "/@":
            return cls(sockets=sockets or None)
        is_meant = pid is None or pid == str(os.getpid())
        has_time = usec is not None and usec.isascii() and usec.isdigit() and int(usec) > 0
        watchdog_s = int(usec) / 1_000_000 if usec is not None and is_meant and has_time else None
        return cls(address, watchdog_s, sockets)

    def ready(self) -> None:
        """The service serves."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The service has begun to stop."""
        self._tell("STOPPING=1")

    def keep(self, name: str, sockets: Sequence[socket.socket]) -> None:
        """Have the manager hold these sockets, instead of what it held under the name, for the next process.

        What waits in them when this process ends is then answered by the next one, and not reset.
        """
        self._tell(f"FDSTOREREMOVE=1\nFDNAME={name}")
        self._tell(f"FDSTORE=1\nFDNAME={name}", sockets)

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

    def _tell(self, message: str, sockets: Sequence[socket.socket] = ()) -> None:
        """A manager that cannot be told costs a line in the log: the service itself goes on."""
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as end:
                end.connect(address)
                socket.send_fds(end, [message.encode()], [each.fileno() for each in sockets])
        except OSError as exc:
            _log.warning("the service manager was not told %s: %s", message, exc)


def _handed_over(environ: MutableMapping[str, str]) -> tuple[socket.socket, ...]:
    count, pid, _ = (environ.pop(name, None) for name in _SOCKET_VARIABLES)
    if pid != str(os.getpid()) or count is None or not (count.isascii() and count.isdigit()):
        return ()
    sockets = []
    for descriptor in range(FIRST_SOCKET, FIRST_SOCKET + min(int(count), MAX_SOCKETS)):
        try:
            handed = socket.socket(fileno=descriptor)
        except OSError as exc:
            _log.warning("descriptor %d, which the service manager handed over, is no socket: %s", descriptor, exc)
            continue
        handed.set_inheritable(False)
        handed.setblocking(False)
        sockets.append(handed)
    return tuple(sockets)
