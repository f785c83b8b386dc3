"""How much of something may still be asked for in a minute: it fills up evenly, to a minute's worth at the most."""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOW_S = 60.0


@dataclass(slots=True)
class Allowance:
    """What is left as of `seen_at`, on a clock that is never set."""

    left: float
    seen_at: float

    def fill(self, most: int, now: float) -> None:
        """What has come back since, of `most` in a minute."""
        self.left = min(float(most), self.left + (now - self.seen_at) * most / WINDOW_S)
        self.seen_at = now

    def wait_s(self, count: int, most: int) -> int:
        """Whole seconds, 1 or more, until `count` are left."""
        return max(1, math.ceil((count - self.left) * WINDOW_S / most))
