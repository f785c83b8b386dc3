"""Ports for servers that are killed and started again at the same address."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path

LOWEST, HIGHEST = 10_000, 22_000
"""Below the ports that Linux gives to whoever connects (32768 and more): none of those sits on one meanwhile."""

ATTEMPTS = 2_000


class NoFreePort(RuntimeError):
    """All ports that were tried are taken."""


def free_ports(count: int, *, and_above: int = 0) -> tuple[int, ...]:
    """`count` ports of 127.0.0.1 that are free now, each with the one `and_above` higher. Raises NoFreePort.

    They stay this process's until it ends: a server may take seconds until it listens, and tests run side by side.
    """
    found: list[int] = []
    for port in random.sample(range(LOWEST, HIGHEST), k=ATTEMPTS):
        wanted = {port, port + and_above}
        if all(_reserved.take(each) for each in wanted) and all(_is_free(each) for each in wanted):
            found.append(port)
        if len(found) == count:
            return tuple(found)
    raise NoFreePort(f"No {count} free ports were found on 127.0.0.1 between {LOWEST} and {HIGHEST}.")


def _is_free(port: int) -> bool:
    with ExitStack() as held:
        end = held.enter_context(socket.socket())
        try:
            end.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class _Reserved:
    """Ports that processes of this user promised to their servers: locked bytes of one file, gone with the process."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._mine: set[int] = set()

    def take(self, port: int) -> bool:
        """Whether the port is now this process's, and was nobody's."""
        if port in self._mine:
            return False
        if self._file is None:
            path = Path(tempfile.gettempdir()) / f"cdn-test-ports-{os.getuid()}"
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        self._mine.add(port)
        return True


_reserved = _Reserved()
