"""When to try again, and how long to wait before it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double, with jitter so that many uploads do not come back at the same moment."""

    attempts: int = 6
    """Tries in all, the first included: with these waits about ten seconds, longer than a restart of control."""
    first_s: float = 0.25
    longest_s: float = 8.0

    def wait_s(self, failures: int, jitter: float) -> float:
        """Seconds to wait after so many failures (1 or more); `jitter` in [0, 1) spreads it over half to whole."""
        whole = min(self.longest_s, self.first_s * float(1 << min(failures - 1, 30)))
        return whole * (0.5 + jitter / 2)
