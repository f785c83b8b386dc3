"""How many messages one hook may be sent in a minute: each costs the store some writes."""

from __future__ import annotations

from collections.abc import Callable

from cachetools import LRUCache

from cdn.control.allowance import Allowance
from cdn.errors import TooMany

MAX_HOOKS = 20_000
"""Hooks that are counted at one time, some 3 MB; the one that was sent something longest ago has its minute back."""


class HookRate:
    """A minute's worth for each hook, which fills up evenly. Each replica counts by itself. `most` 0: any number."""

    def __init__(self, most: int, monotonic: Callable[[], float]) -> None:
        self._most = most
        self._monotonic = monotonic
        self._allowances: LRUCache[str, Allowance] = LRUCache(MAX_HOOKS)

    def take(self, hook_id: str) -> None:
        """Count one message. Raises TooMany with the time after which another is taken."""
        if not self._most:
            return
        now = self._monotonic()
        allowance = self._allowances.setdefault(hook_id, Allowance(self._most, now))
        allowance.fill(self._most, now)
        if allowance.left < 1:
            wait_s = allowance.wait_s(1, self._most)
            raise TooMany(
                f"A hook takes at most {self._most} messages in a minute: send this one again in {wait_s} s.",
                retry_after_s=wait_s,
            )
        allowance.left -= 1
