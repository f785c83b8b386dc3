"""What takes visitors' connections: one listener in this process, or several workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cdn.edge.service import ListenerCounters


class Front(Protocol):
    """The node's side of it."""

    @property
    def port(self) -> int:
        """Where visitors connect."""
        ...

    @property
    def https_port(self) -> int | None:
        """Where they connect by https; None: nowhere."""
        ...

    @property
    def counters(self) -> ListenerCounters:
        """What happened on every connection so far."""
        ...

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        ...

    def counted(self) -> Mapping[str, int]:
        """What there is to count beside the connections, by name."""
        ...

    def withdraw(self) -> None:
        """Go on serving, and say with every answer that its connection closes."""
        ...

    async def drain(self, timeout_s: float) -> None:
        """Accept nothing more, answer what was asked for, close; after `timeout_s` reset what is left."""
        ...

    async def aclose(self) -> None:
        """Stop at once."""
        ...
