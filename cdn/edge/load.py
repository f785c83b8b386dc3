"""How busy a process is that answers visitors: what of one core its loop has used lately."""

from __future__ import annotations

from collections import deque

WINDOW_S = 10.0
"""Shorter bursts are no load: a purge, a deploy, somebody's benchmark."""

MAX_SAMPLES = 64
"""Kept of the window: several a second."""


class LoadMeter:
    """Told now and then how much processor time the loop's thread has used since it began. Times are monotonic."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=MAX_SAMPLES)

    def share(self, used_s: float, now: float) -> float:
        """What the thread used of the last WINDOW_S, or of the time since the first call: 1 is all of a core.

        A loop that uses all of one has visitors waiting, however many cores are idle.
        """
        samples = self._samples
        samples.append((now, used_s))
        while len(samples) > 2 and samples[1][0] <= now - WINDOW_S:
            samples.popleft()
        since, before_s = samples[0]
        return max(0.0, (used_s - before_s) / (now - since)) if now > since else 0.0
