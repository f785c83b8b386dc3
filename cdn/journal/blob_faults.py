"""Blobs that this node could not have from the store as they should be, on their way to control."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

MAX_FAULTS = 256
"""Faults remembered, and so the most that are told within REPEAT_AFTER_S; what is asked for again is noted again."""

REPEAT_AFTER_S = 5.0
"""A fault that is met again is told again only after so long: control may not have been able to look."""


class BlobFaults:
    """Each fault once within REPEAT_AFTER_S, however many visitors meet it; kept until a connection has taken it."""

    def __init__(self) -> None:
        self._noted: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._untold: dict[tuple[str, str], None] = {}
        self._has_untold = asyncio.Event()

    def note(self, site_id: str, digest: str, now: float) -> None:
        """The store's copy is damaged or gone. `now` is in monotonic seconds."""
        while self._noted and now - next(iter(self._noted.values())) >= REPEAT_AFTER_S:
            self._noted.popitem(last=False)
        fault = (site_id, digest)
        if fault in self._noted or fault in self._untold or len(self._noted) >= MAX_FAULTS:
            return
        if len(self._untold) >= MAX_FAULTS:
            del self._untold[next(iter(self._untold))]
        self._noted[fault] = now
        self._untold[fault] = None
        self._has_untold.set()

    async def first(self) -> tuple[str, str]:
        """Site and digest of the oldest that was not told yet, waited for."""
        await self._has_untold.wait()
        return next(iter(self._untold))

    def told(self, fault: tuple[str, str]) -> None:
        """Control has been sent it."""
        self._untold.pop(fault, None)
        if not self._untold:
            self._has_untold.clear()
