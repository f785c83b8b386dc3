"""How much content on its way in a node holds in memory, over all its fetches (DESIGN I10)."""

from __future__ import annotations

MAX_ARRIVING_BYTES = 256 * 1024 * 1024
"""From here on content is kept in memory only where it has to be. With the most connections to upstreams and a slow
client behind each, about 1 MiB each comes on top: the chunk that is being filled."""


class ArrivalBudget:
    """Counts; whoever holds content looks at `is_tight` and then keeps less."""

    def __init__(self, max_bytes: int = MAX_ARRIVING_BYTES) -> None:
        self._max_bytes = max_bytes
        self.held_bytes = 0

    @property
    def is_tight(self) -> bool:
        """Whether nothing is to be kept for convenience."""
        return self.held_bytes > self._max_bytes

    def change(self, delta_bytes: int) -> None:
        """So much more, or less, is held."""
        self.held_bytes += delta_bytes
