"""The node's two clocks, handed in so that tests can own time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clocks:
    """Both in seconds: monotonic for residence, wall for what is said to people and kept across restarts."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]
