"""Questions over UDP: read until there is none left, each answered from the address it was asked at."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cdn.dns.query import MAX_QUERY_BYTES

MAX_AT_ONCE = 256
"""Questions answered before everything else on the loop has its turn: some 20 ms."""

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
"""Asked of the system, which may give less: what comes in while the loop does something else waits there."""

MAX_WAITING = 65_536
"""More than the receive buffer holds of the shortest datagrams: where stopping stops reading in any case."""

_IP_PKTINFO = 8
"""Of Linux; the standard library names it from 3.12 on."""

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - with what this machine reaches them by
_ANCILLARY_BYTES = 64
_TOO_MANY_BYTES = MAX_QUERY_BYTES + 1
_IN_PKTINFO = struct.Struct("=I4s4s")

_log = logging.getLogger(__name__)

Answer = Callable[[bytes, str], bytes | None]
"""Given a message and the address it came from."""


@dataclass(slots=True)
class UdpCounters:
    """`send_failed`: answers that the system did not take."""

    send_failed: int = 0


class UdpSocket:
    """One bound socket. On a wildcard address each answer says from which of the machine's addresses it goes."""

    def __init__(self, bound: socket.socket, answer: Answer) -> None:
        """`bound` is a datagram socket that does not block; `UdpSocket` closes it."""
        self.counters = UdpCounters()
        self._socket = bound
        self._answer = answer
        self._is_wildcard = bound.getsockname()[0] in _WILDCARDS
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def bind(cls, host: str, port: int, answer: Answer) -> UdpSocket:
        """Raises OSError."""
        return cls(bound_udp(host, port), answer)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Answer from now on."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read_some)

    def close(self) -> None:
        """Take no more questions, answer those that the system has taken already, and close.

        A socket that is connected takes datagrams of its peer only: to itself, and whoever asks from now on hears at
        once that nobody is there, and nothing can come between the last question and the closing.
        """
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
        with contextlib.closing(self._socket):
            host, port = self._socket.getsockname()[:2]
            try:
                self._socket.connect((_WILDCARDS.get(host, host), port))
            except OSError as exc:
                _log.warning("questions that come while the server stops may be lost: %s", exc)
            self._read(MAX_WAITING)

    def _read_some(self) -> None:
        self._read(MAX_AT_ONCE)

    def _read(self, most: int) -> None:
        """Answer what there is, up to so many questions."""
        if self._is_wildcard:
            self._read_with_destination(most)
            return
        receive, send, answer = self._socket.recvfrom, self._socket.sendto, self._answer
        for _ in range(most):
            try:
                message, peer = receive(_TOO_MANY_BYTES)
            except BlockingIOError:
                return
            except OSError as exc:
                _note_fault(exc)
                continue
            if not peer[1] or (response := answer(message, peer[0])) is None:  # nobody can be answered at port 0
                continue
            try:
                send(response, peer)
            except OSError as exc:
                self._note_unsent(exc, peer)

    def _read_with_destination(self, most: int) -> None:
        """The same, with the address that each question was sent to."""
        receive, send, answer = self._socket.recvmsg, self._socket.sendmsg, self._answer
        for _ in range(most):
            try:
                message, ancillary, _, peer = receive(_TOO_MANY_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError as exc:
                _note_fault(exc)
                continue
            if not peer[1] or (response := answer(message, peer[0])) is None:
                continue
            try:
                send((response,), _from_where_it_came(ancillary), 0, peer)
            except OSError as exc:
                self._note_unsent(exc, peer)

    def _note_unsent(self, exc: OSError, peer: Any) -> None:
        """A full buffer among others: the client asks again."""
        self.counters.send_failed += 1
        _log.debug("an answer to %s was not taken: %s", peer[0], exc)


def _note_fault(exc: OSError) -> None:
    """What became of an earlier answer: nothing that concerns the next question."""
    _log.debug("a socket told of a fault: %s", exc)


def bound_udp(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """A datagram socket that does not block; `is_shared`: others of this user may have the same address, and the system
    spreads askers among them. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if is_shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if host == "::":
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif host == "0.0.0.0":  # noqa: S104 - what it is bound to
            made.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


def _from_where_it_came(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, Any]]:
    """What makes an answer leave from the address that the question came to."""
    found: list[tuple[int, int, Any]] = []
    for level, kind, content in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, local, _ = _IN_PKTINFO.unpack(content[: _IN_PKTINFO.size])
            found.append((level, kind, _IN_PKTINFO.pack(0, local, bytes(4))))
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            found.append((level, kind, content))
    return found
