"""The keys of session tickets from one process of a node to the next, which a service manager's kept sockets carry.

They wait as a datagram in a socket that leads nowhere: in the kernel's memory, on no disk, and gone with the machine.
Whoever may take descriptors out of the manager may read the process's memory as well.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from cdn.edge.ticket_keys import MAX_KEPT_BYTES


class KeptTickets:
    """Holds what the node's TicketKeyRota says. `socket` is to be kept for the next process. Raises OSError."""

    def __init__(self) -> None:
        self._sender, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        self.socket.setblocking(False)
        self._is_full = False

    def put(self, kept: bytes) -> None:
        """In place of what was there."""
        if self._is_full:
            self.socket.recv(MAX_KEPT_BYTES)
        self._sender.send(kept)
        self._is_full = True

    def close(self) -> None:
        """The manager's copy stays. May be called twice."""
        self._sender.close()
        self.socket.close()


def found_in(sockets: Sequence[socket.socket]) -> bytes | None:
    """What a process before this one left among the sockets that the manager kept; it stays there."""
    for each in sockets:
        if each.family == socket.AF_UNIX and each.type == socket.SOCK_DGRAM:
            try:
                return each.recv(MAX_KEPT_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except OSError:  # it was made, and its process ended before it was filled
                continue
    return None
