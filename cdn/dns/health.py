"""Whether the nodes' addresses answer, as this process itself sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cdn.dns.settings import CheckSettings

MAX_CHECKS = 256
"""Checks under way at one time: each holds a connection."""

MAX_STATUS_LINE_BYTES = 1024
"""What is read of an answer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """Of one address: whether it counts as up, and how many checks in a row say otherwise."""

    is_up: bool = True
    contrary: int = 0

    def after(self, is_good: bool, settings: CheckSettings) -> Health:
        """After one more check. What was never checked counts as up: control has heard the node."""
        if is_good == self.is_up:
            return Health(self.is_up)
        contrary = self.contrary + 1
        needed = settings.down_after if self.is_up else settings.up_after
        return Health(not self.is_up) if contrary >= needed else Health(self.is_up, contrary)


class HealthChecks:
    """Asks every address for an HTTP status, again and again. A node that hangs takes connections and says nothing."""

    def __init__(
        self,
        settings: CheckSettings,
        host: str,
        addresses: Callable[[], frozenset[str]],
        *,
        check: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        """`host` is asked for, `addresses` says which to ask. `check` replaces the asking, for tests."""
        self.counters = {"good": 0, "bad": 0}
        self._settings = settings
        self._request = f"HEAD / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: cdn-dns\r\nConnection: close\r\n\r\n".encode()
        self._addresses = addresses
        self._check = check or self._ask
        self._health: dict[str, Health] = {}
        self._turns = asyncio.Semaphore(MAX_CHECKS)

    @property
    def down(self) -> frozenset[str]:
        """The addresses that do not answer."""
        return frozenset(address for address, health in self._health.items() if not health.is_up)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.gather(self.look(), asyncio.sleep(self._settings.check_interval_s))

    async def look(self) -> None:
        """One check of every address."""
        addresses = self._addresses()
        for gone in self._health.keys() - addresses:
            del self._health[gone]
        await asyncio.gather(*(self._look_at(address) for address in addresses))

    async def _look_at(self, address: str) -> None:
        async with self._turns:
            is_good = await self._check(address)
        self.counters["good" if is_good else "bad"] += 1
        before = self._health.get(address, Health())
        after = self._health[address] = before.after(is_good, self._settings)
        if after.is_up != before.is_up:
            _log.warning("%s is %s", address, "up again" if after.is_up else "down: it does not answer")

    async def _ask(self, address: str) -> bool:
        """Whether it gives any status but one of a failing server."""
        try:
            async with asyncio.timeout(self._settings.check_timeout_s):
                reader, writer = await asyncio.open_connection(
                    address, self._settings.check_port, limit=MAX_STATUS_LINE_BYTES
                )
                try:
                    writer.write(self._request)
                    line = await reader.readline()
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError, ValueError) as exc:
            _log.debug("%s does not answer: %r", address, exc)
            return False
        return line.startswith(b"HTTP/1.1 ") and line[9:10] in {b"2", b"3", b"4"}
