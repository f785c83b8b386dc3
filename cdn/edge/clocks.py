"""The node's two clocks, handed in so that tests can own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux has it; elsewhere the monotonic clock itself goes on while the machine sleeps."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Both in seconds: monotonic for residence, wall for what is said to people and kept across restarts."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]


def machine_clocks() -> Clocks:
    """The clocks of this machine. The monotonic one goes on while it is suspended.

    Lease, ages and what was prepared under a lease count on the same one: none of them outlives a sleep (DESIGN I9).
    """
    return Clocks(partial(time.clock_gettime, BOOT_CLOCK), time.time)
