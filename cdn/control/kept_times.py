"""When nodes applied records, kept on disk now and then: receipts show it after a restart of control too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from cdn.control.node_memory import DirectoryUnavailable, NodeMemory
from cdn.fleet.applied_times import AppliedTimes

TIMES_KEPT_PER_NODE = 4096
"""Acknowledgements of a node remembered with their time, in a small fleet."""

TIMES_KEPT = 1_000_000
"""Those of all nodes together: 17 MB. The larger the fleet, the fewer of each node."""

TIMES_ON_DISK_PER_NODE = 128
"""The newest of them outlive control, in a small fleet."""

TIMES_ON_DISK = 64_000
"""Those of all nodes together: about 1 MB is written at a time."""

KEEP_EVERY_S = 5.0
"""How often new times are written: those of the last seconds before a kill are not known afterwards."""

_log = logging.getLogger(__name__)


class KeptTimes:
    """`times` gives those of a node that is known, None of one that is not."""

    def __init__(self, memory: NodeMemory, times: Callable[[str], AppliedTimes | None]) -> None:
        self._memory = memory
        self._times = times
        self._former: dict[str, AppliedTimes] = {}  # of nodes not heard of since this process began
        self._untold: set[str] = set()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what was kept, and keep what comes. Raises DirectoryUnavailable."""
        self._former = await self._memory.times()
        self._keeping = asyncio.create_task(self._keep(), name="applied-times")

    async def aclose(self) -> None:
        """Write what is not written yet."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            await self._write()

    def of(self, node_id: str) -> AppliedTimes:
        """What an earlier process knew of a node that is met for the first time in this one."""
        return self._former.pop(node_id, AppliedTimes())

    def moved(self, node_id: str) -> None:
        """The node's times are other ones now."""
        self._untold.add(node_id)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            await self._write()

    async def _write(self) -> None:
        untold, self._untold = self._untold, set()
        known: Mapping[str, AppliedTimes] = {
            node_id: times for node_id in untold if (times := self._times(node_id)) is not None
        }
        if not known:
            return
        most = max(1, min(TIMES_ON_DISK_PER_NODE, TIMES_ON_DISK // len(known)))
        try:
            await self._memory.keep_times({each: (times.epoch, times.packed(most)) for each, times in known.items()})
        except DirectoryUnavailable as exc:
            _log.warning("when nodes applied what would not be known after a restart: %s", exc)
            self._untold |= untold


def most_times(nodes: int) -> int:
    """How many times are remembered of each of so many nodes."""
    return max(1, min(TIMES_KEPT_PER_NODE, TIMES_KEPT // max(1, nodes)))
