"""Sockets of dnspython that take no more of an answer than was agreed on: what is read is read on the event loop."""

from __future__ import annotations

from typing import Any

import dns.exception


class TooLong(dns.exception.FormError):
    """A message has more octets than are taken."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)  # that of dnspython wants words of its own class
        self.message = message

    def __str__(self) -> str:
        return self.message


class ShortDatagrams:
    """A DatagramSocket of dnspython. Of a datagram beyond `most_octets`, which nobody was asked for, the rest is cut
    off, and it cannot be read."""

    def __init__(self, inner: Any, most_octets: int) -> None:
        self.family: int = inner.family
        self.type: int = inner.type
        self._inner = inner
        self._most_octets = most_octets

    async def sendto(self, what: bytes, destination: Any, timeout: float | None) -> Any:
        return await self._inner.sendto(what, destination, timeout)

    async def recvfrom(self, size: int, timeout: float | None) -> tuple[bytes, Any]:
        what, source = await self._inner.recvfrom(size, timeout)
        return what[: self._most_octets], source


class ShortStream:
    """A StreamSocket of dnspython. Messages beyond `most_octets` are not read: see `recv`."""

    def __init__(self, inner: Any, most_octets: int) -> None:
        self.family: int = inner.family
        self.type: int = inner.type
        self._inner = inner
        self._most_octets = most_octets

    async def getpeername(self) -> Any:
        return await self._inner.getpeername()

    async def sendall(self, what: bytes, timeout: float | None) -> Any:
        return await self._inner.sendall(what, timeout)

    async def recv(self, size: int, timeout: float | None) -> bytes:
        """Raises TooLong when so much is wanted at once: a message is, as long as it says it is."""
        if size > self._most_octets:
            raise TooLong(f"it has {size} octets, at most {self._most_octets} are taken")
        received: bytes = await self._inner.recv(size, timeout)
        return received
