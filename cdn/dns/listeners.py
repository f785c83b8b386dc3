"""One process's ends of the open addresses: its sockets for UDP, and the connections that it accepted over TCP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from cdn.dns.settings import TcpSettings
from cdn.dns.tcp import TcpConnections, TcpServer
from cdn.dns.udp import UdpSocket

Answer = Callable[[bytes, str], bytes | None]
"""Given a message and the address it came from."""


class Listeners:
    """Make it with `start`. It answers until it is closed."""

    def __init__(self, settings: TcpSettings, answer_tcp: Answer) -> None:
        self.connections = TcpConnections(settings, answer_tcp)
        self._udp: list[UdpSocket] = []
        self._tcp: list[TcpServer] = []

    @classmethod
    async def start(
        cls,
        udp: Sequence[socket.socket],
        tcp: Sequence[socket.socket],
        settings: TcpSettings,
        *,
        answer_udp: Answer,
        answer_tcp: Answer,
    ) -> Listeners:
        """Takes over the sockets. Raises OSError."""
        listeners = cls(settings, answer_tcp)
        loop = asyncio.get_running_loop()
        for each in tcp:
            server = await loop.create_server(listeners.connections.made, sock=each)
            listeners._tcp.append(TcpServer(server, each.getsockname()[1]))
        for each in udp:
            listeners._udp.append(UdpSocket(each, answer_udp))
            listeners._udp[-1].start()
        return listeners

    def counted(self) -> dict[str, float]:
        """What was counted so far, by name; `tcp.open` is what is open now."""
        tcp = self.connections.counters
        return {
            "send_failed": sum(each.counters.send_failed for each in self._udp),
            "tcp.open": len(self.connections),
            "tcp.connections": tcp.connections,
            "tcp.timed_out": tcp.timed_out,
            "tcp.bad_lengths": tcp.bad_lengths,
            "tcp.crowded_out": tcp.crowded_out,
        }

    async def aclose(self, timeout_s: float) -> None:
        """Answer what has come, take nothing more; who has not taken its answers by then is cut off."""
        for udp in self._udp:
            udp.close()
        for tcp in self._tcp:
            tcp.close()
        await self.connections.aclose(timeout_s)
