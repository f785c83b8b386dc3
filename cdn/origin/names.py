"""From names to addresses, with bounds on how many, how long, and for how long they are believed."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address

from cachetools import TTLCache

from cdn.origin.outbound import Address
from cdn.origin.upstream import UpstreamBroken, UpstreamFault
from cdn.origin.upstream_limits import UpstreamLimits


class Names:
    """Looks names up with the system's resolver. Lookups of one name at the same time are one lookup.

    A lookup cannot be stopped: one that hangs is left to itself, and later questions for its name join it. It hangs in
    a thread of this object's own: the loop's few threads are for others, and users name the upstreams.
    """

    def __init__(self, limits: UpstreamLimits) -> None:
        self._limits = limits
        self._known: TTLCache[str, tuple[Address, ...]] = TTLCache(limits.max_names, limits.name_lifetime_s)
        lifetime_s = limits.name_lifetime_s + limits.stale_name_lifetime_s
        self._last: TTLCache[str, tuple[Address, ...]] = TTLCache(limits.max_names, lifetime_s)
        self._threads = ThreadPoolExecutor(limits.max_lookups, thread_name_prefix="upstream-names")
        self._running: dict[str, asyncio.Task[tuple[Address, ...]]] = {}

    async def addresses(self, host: str, timeout_s: float) -> tuple[Address, ...]:
        """The addresses of a name, at least one, in the resolver's order; those of an address: itself.

        Raises UpstreamBroken (NAME_UNKNOWN, NAME_TIMEOUT).
        """
        literal = _literal(host)
        if literal is not None:
            return (literal,)
        known = self._known.get(host)
        if known is not None:
            return known
        task = self._running.get(host)
        if task is None:
            if len(self._running) >= self._limits.max_lookups:
                return self._last_known(host, f"{self._limits.max_lookups} other names are being looked up")
            task = self._running[host] = asyncio.create_task(self._look_up(host))
            task.add_done_callback(partial(self._looked_up, host))
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
        if not done:
            return self._last_known(host, f"there was no answer within {timeout_s:g} s")
        if task.cancelled():
            raise UpstreamBroken(UpstreamFault.CLOSED, "The node is shutting down.")
        return task.result()

    def prefer(self, host: str, address: Address) -> None:
        """Name this address first from now on: it answered, while one before it did not."""
        known = self._known.get(host)
        if known is not None and address in known and known[0] != address:
            self._known[host] = (address, *(other for other in known if other != address))

    async def aclose(self) -> None:
        """End the lookups; a thread of the resolver that hangs is left to itself."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _last_known(self, host: str, why: str) -> tuple[Address, ...]:
        """What the resolver said before it became slow."""
        last = self._last.get(host)
        if last is None:
            raise _slow(host, why)
        return last

    def _looked_up(self, host: str, task: asyncio.Task[tuple[Address, ...]]) -> None:
        del self._running[host]
        if not task.cancelled():
            task.exception()  # those who wait see it; when all have left, nobody has to

    async def _look_up(self, host: str) -> tuple[Address, ...]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._threads, partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
            )
        except (OSError, UnicodeError) as exc:
            self._last.pop(host, None)
            raise UpstreamBroken(
                UpstreamFault.NAME_UNKNOWN, f"The upstream's name {host} has no address: {exc}."
            ) from exc
        addresses = tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))
        if not addresses:
            raise UpstreamBroken(UpstreamFault.NAME_UNKNOWN, f"The upstream's name {host} has no address.")
        self._known[host] = self._last[host] = addresses
        return addresses


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _slow(host: str, why: str) -> UpstreamBroken:
    return UpstreamBroken(UpstreamFault.NAME_TIMEOUT, f"The upstream's name {host} was not looked up: {why}.")
