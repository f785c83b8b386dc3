"""Whether the nodes' addresses answer, as this process itself sees it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from zlib import crc32

from cdn.dns.settings import CheckScheme, CheckSettings

MAX_CHECKS = 256
"""Checks under way at one time: each holds a connection."""

MAX_STATUS_LINE_BYTES = 1024
"""What is read of an answer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """Of one address. While it is up `bad` are its bad checks since so many good ones in a row that they are forgiven;
    `good_in_a_row` are its last ones."""

    is_up: bool = True
    bad: int = 0
    good_in_a_row: int = 0

    def after(self, is_good: bool, settings: CheckSettings) -> Health:
        """After one more check. What was never checked counts as up: control has heard the node.

        An address that fails now and then is down after `down_after` bad checks, and stays so until it has been good
        for `up_after` in a row: one that flaps changes once.
        """
        if not is_good:
            bad = self.bad + 1
            return Health(bad=bad) if self.is_up and bad < settings.down_after else _DOWN
        good = self.good_in_a_row + 1
        if not self.is_up:
            return Health() if good >= settings.up_after else Health(is_up=False, good_in_a_row=good)
        if not self.bad or good >= settings.ok_after:
            return _UP
        return Health(bad=self.bad, good_in_a_row=good)

    def checks_to_change(self, settings: CheckSettings) -> int:
        """How many checks have to say the contrary, at the least, before it is up no more, or again."""
        return settings.down_after - self.bad if self.is_up else settings.up_after - self.good_in_a_row

    def ttl_s(self, settings: CheckSettings, least_s: int, most_s: int) -> int:
        """How long an answer that goes by this may be kept: until it could be another one at the earliest, within
        bounds."""
        return max(least_s, min(most_s, int(self.checks_to_change(settings) * settings.check_interval_s)))


_UP = Health()
_DOWN = Health(is_up=False)


class HealthChecks:
    """Asks every address for an HTTP status, each at a steady pace. A node that hangs takes connections and says
    nothing, so a connection alone is no sign of life."""

    def __init__(
        self,
        settings: CheckSettings,
        host: str,
        addresses: Callable[[], frozenset[str]],
        *,
        check: Callable[[str], Awaitable[bool]] | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`host` is asked for, `addresses` says which to ask. `check` replaces the asking, for tests. `on_change` is
        called at once when `health` of any address is another one."""
        self.counters = {"good": 0, "bad": 0}
        self.health: dict[str, Health] = {}
        """Of every address that was checked."""
        self._settings = settings
        self._request = (
            f"HEAD {settings.check_path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: cdn-dns\r\nConnection: close\r\n\r\n"
        ).encode()
        self._host = host
        self._tls = _unjudged() if settings.check_scheme is CheckScheme.HTTPS else None
        self._addresses = addresses
        self._check = check or self._ask
        self._on_change = on_change
        self._turns = asyncio.Semaphore(MAX_CHECKS)
        self._watched: dict[str, asyncio.Task[None]] = {}

    @property
    def down(self) -> frozenset[str]:
        """The addresses that do not answer."""
        return frozenset(address for address, health in self.health.items() if not health.is_up)

    async def run(self) -> None:
        """Until cancelled. An address that comes or goes is noticed within an interval."""
        try:
            while True:
                self._follow(self._addresses())
                await asyncio.sleep(self._settings.check_interval_s)
                for task in self._watched.values():
                    if task.done():
                        task.result()
        finally:
            self._follow(frozenset())

    def _follow(self, addresses: frozenset[str]) -> None:
        """Watch these and no others; of one that has gone nothing is remembered."""
        for gone in self._watched.keys() - addresses:
            self._watched.pop(gone).cancel()
            self.health.pop(gone, None)
        for address in addresses - self._watched.keys():
            self._watched[address] = asyncio.create_task(self._watch(address), name=f"check {address}")

    async def _watch(self, address: str) -> None:
        """Checks begin an interval apart however long they take, and those of many addresses not all at once."""
        loop, interval_s = asyncio.get_running_loop(), self._settings.check_interval_s
        due = loop.time() + crc32(address.encode()) / 2**32 * interval_s
        while True:
            await asyncio.sleep(due - loop.time())
            due = max(due + interval_s, loop.time())
            await self.look_at(address)

    async def look_at(self, address: str) -> None:
        """One check."""
        async with self._turns:
            is_good = await self._check(address)
        self.counters["good" if is_good else "bad"] += 1
        before = self.health.get(address, _UP)
        after = self.health[address] = before.after(is_good, self._settings)
        if after == before:
            return
        if after.is_up != before.is_up:
            _log.warning("%s is %s", address, "up again" if after.is_up else "down: it does not answer")
        self._on_change()

    async def _ask(self, address: str) -> bool:
        """Whether it gives any status but one of a failing server."""
        settings, name = self._settings, self._host if self._tls else None
        try:
            async with asyncio.timeout(settings.check_timeout_s):
                reader, writer = await asyncio.open_connection(
                    address, settings.check_port, limit=MAX_STATUS_LINE_BYTES, ssl=self._tls, server_hostname=name
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


def _unjudged() -> ssl.SSLContext:
    """Whose certificate it is does not matter: it is asked whether the node lives, and nothing is believed of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
