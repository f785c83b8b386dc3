"""The sockets that visitors connect to, kept open by the process that outlives those who accept from them.

Several listen on one port (SO_REUSEPORT), one for each worker; the kernel spreads connections among them. Closing one
resets what waits in it, so none is closed while the node runs: who replaces a worker takes its socket over.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from cdn.edge.listener import BACKLOG
from cdn.errors import InvalidInput


def listening_sockets(host: str, port: int, count: int, adopted: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """`count` sockets on one port; 0 is a free one. Raises OSError when the address cannot be listened on, InvalidInput
    for a name of several addresses.

    `adopted` come from a service manager that kept them over a restart. Those on another address are closed, and those
    that are more than `count`: what waits in these is reset, because somebody wanted fewer workers.
    """
    _refuse_several(host, port)
    kept = [each for each in adopted if _is_at(each, host, port)][:count]
    for each in adopted:
        if each not in kept:
            each.close()
    try:
        if not kept:
            _refuse_taken(host, port)
        while len(kept) < count:
            at = kept[0].getsockname()[1] if kept else port
            kept.append(_listening(host, at))
    except OSError:
        for each in kept:
            each.close()
        raise
    return kept


def shared_out(
    adopted: Sequence[socket.socket], secure: tuple[str, int]
) -> tuple[tuple[socket.socket, ...], tuple[socket.socket, ...]]:
    """Which of the sockets that a service manager kept are for http, and which for https, at `secure`."""
    for_https = tuple(each for each in adopted if secure[1] and _is_at(each, *secure))
    return tuple(each for each in adopted if each not in for_https), for_https


def _refuse_several(host: str, port: int) -> None:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = sorted({address[0] for *_, address in found})
    if len(addresses) > 1:
        raise InvalidInput(
            f"{host} is a name of several addresses ({', '.join(map(str, addresses))}): give the one to listen on, or "
            "0.0.0.0 or [::] for all of a family",
            field="listen",
        )


def _refuse_taken(host: str, port: int) -> None:
    """Raises OSError when somebody else listens there: with SO_REUSEPORT the kernel would share visitors with them."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)


def _listening(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def _is_at(adopted: socket.socket, host: str, port: int) -> bool:
    if not adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    if adopted.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    wanted = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    at_host, at_port = adopted.getsockname()[:2]
    return any(address[0] == at_host and port in {0, at_port} for *_, address in wanted)
