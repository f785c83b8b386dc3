"""Ports for servers that are killed and started again at the same address."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

LOWEST, HIGHEST = 10_000, 22_000
"""Below the ports that Linux gives to whoever connects (32768 and more): none of those sits on one meanwhile."""

ATTEMPTS = 2_000


class NoFreePort(RuntimeError):
    """All ports that were tried are taken."""


def free_ports(count: int, *, and_above: int = 0) -> tuple[int, ...]:
    """`count` ports of 127.0.0.1 that are free now, each with the one `and_above` higher. Raises NoFreePort."""
    found: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(LOWEST, HIGHEST), k=ATTEMPTS):
            wanted = {port, port + and_above}
            with ExitStack() as tried:
                try:
                    for each in wanted:
                        end = tried.enter_context(socket.socket())
                        end.bind(("127.0.0.1", each))
                except OSError:
                    continue
                held.enter_context(tried.pop_all())
            found.append(port)
            if len(found) == count:
                return tuple(found)
    raise NoFreePort(f"No {count} free ports were found on 127.0.0.1 between {LOWEST} and {HIGHEST}.")
