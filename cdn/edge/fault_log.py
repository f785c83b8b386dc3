"""Faults behind the edge, told to the operator: every kind once in a while, not once a request."""

from __future__ import annotations

import logging
from collections.abc import Callable

QUIET_S = 30.0
"""After a fault was logged, the same one is only counted for so long."""

MAX_KINDS = 1024
"""Faults remembered at one time; beyond it all are forgotten and may be logged anew."""

_log = logging.getLogger(__name__)


class FaultLog:
    """Warnings with a key that says when two are the same. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: dict[str, tuple[float, int]] = {}

    def tell(self, key: str, sentence: str) -> bool:
        """Log the sentence unless the same fault was logged a short while ago; whether it was."""
        now = self._clock()
        told_at, held_back = self._told.get(key, (float("-inf"), 0))
        if now < told_at + QUIET_S:
            self._told[key] = (told_at, held_back + 1)
            return False
        if len(self._told) >= MAX_KINDS:
            self._told.clear()
        self._told[key] = (now, 0)
        more = f" ({held_back} times more since it was last said)" if held_back else ""
        _log.warning("%s%s", sentence, more)
        return True
