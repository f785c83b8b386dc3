"""Where questions come in: one socket for UDP for each process that answers, and one for TCP that all of them share.

Who opens them outlives those who answer: what waits in a socket when its process dies is read by the next one. With
several on one address (SO_REUSEPORT) the system gives each client's questions to one of them, so none is closed and
none comes while the server runs.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from cdn.dns.tcp import BACKLOG
from cdn.dns.udp import bound_udp

FREE_PORT_ATTEMPTS = 16
"""A port that is free for UDP may be taken for TCP; then another one is asked for."""


@dataclass(frozen=True, slots=True)
class OpenAddress:
    """One address, open. `udp` has one socket for each process."""

    host: str
    port: int
    udp: tuple[socket.socket, ...]
    tcp: socket.socket

    def close(self) -> None:
        """What waits in them is lost."""
        for each in (*self.udp, self.tcp):
            each.close()


def open_addresses(listen: Sequence[tuple[str, int]], processes: int) -> tuple[OpenAddress, ...]:
    """Every host and port; port 0 is a free one, the same for UDP and TCP. Raises OSError."""
    with contextlib.ExitStack() as undo:
        opened = []
        for host, port in listen:
            opened.append(_opened(host, port, processes))
            undo.callback(opened[-1].close)
        undo.pop_all()
    return tuple(opened)


def _opened(host: str, port: int, processes: int) -> OpenAddress:
    for attempt in range(1, FREE_PORT_ATTEMPTS + 1):
        with contextlib.ExitStack() as undo:
            try:
                udp = _udp(host, port, processes, undo)
                at = udp[0].getsockname()[1]
                tcp = _tcp(host, at)
            except OSError:
                if port or attempt == FREE_PORT_ATTEMPTS:
                    raise
                continue
            undo.pop_all()
            return OpenAddress(host, at, udp, tcp)
    raise AssertionError("the last attempt returns or raises")


def _udp(host: str, port: int, processes: int, undo: contextlib.ExitStack) -> tuple[socket.socket, ...]:
    if processes == 1:
        return (undo.enter_context(bound_udp(host, port)),)
    bound_udp(host, port).close()  # raises when somebody else answers there: the system would share questions with them
    first = undo.enter_context(bound_udp(host, port, is_shared=True))
    at = first.getsockname()[1]
    more = (undo.enter_context(bound_udp(host, at, is_shared=True)) for _ in range(processes - 1))
    return (first, *more)


def _tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made
