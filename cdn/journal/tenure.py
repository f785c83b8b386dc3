"""What several control processes share beside the journal: who holds which office, and what nodes last said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

MARGIN = 0.1
"""The part of its time by which a holder stops early: the servers' clocks run at slightly different speeds."""


@dataclass(frozen=True, slots=True)
class Tenure:
    """`holder` has the office until `until` (monotonic seconds of the holder), counted from before it asked.

    `token` grows with every grant of the office: what is done under it can be refused once a higher one was seen.
    """

    office: str
    holder: str
    token: int
    until: float

    def holds(self, now: float) -> bool:
        """Whether the holder may still act as one. `now` is in monotonic seconds."""
        return now < self.until


class Offices(Protocol):
    """Offices that one process at a time holds, each for a while. All methods may raise JournalUnavailable."""

    async def acquire(self, office: str, holder: str, *, now: float) -> Tenure | None:
        """The office, or more time in it; None while another holds it.

        `holder` names one process and is never used again; `now` is its monotonic time before the call.
        """
        ...

    async def release(self, tenure: Tenure) -> None:
        """Give the office back before its time, if it is still held under this tenure."""
        ...


class NodeTable(Protocol):
    """What each node last said, forgotten when it says nothing more. All methods may raise JournalUnavailable."""

    async def put(self, node_id: str, facts: bytes) -> None:
        """Replace what is known of the node; when it returns a majority of the servers has it."""
        ...

    async def remove(self, node_id: str) -> None:
        """Forget the node."""
        ...

    async def all(self) -> dict[str, bytes]:
        """What is known, by node id."""
        ...


class MemoryOffices:
    """Offices for the processes of which there is only one: they hold what they ask for."""

    def __init__(self, duration_s: float) -> None:
        self._duration_s = duration_s
        self._held: dict[str, Tenure] = {}
        self._last_token = 0

    async def acquire(self, office: str, holder: str, *, now: float) -> Tenure | None:
        """See `Offices.acquire`."""
        held = self._held.get(office)
        if held is not None and held.holder != holder and held.until > now:
            return None
        self._last_token += 1
        self._held[office] = Tenure(office, holder, self._last_token, now + self._duration_s)
        return self._held[office]

    async def release(self, tenure: Tenure) -> None:
        """See `Offices.release`."""
        if self._held.get(tenure.office) == tenure:
            del self._held[tenure.office]


class MemoryNodeTable:
    """Nodes in this process's memory. `clock` gives monotonic seconds."""

    def __init__(self, expires_after_s: float, clock: Callable[[], float]) -> None:
        self._expires_after_s = expires_after_s
        self._clock = clock
        self._facts: dict[str, tuple[float, bytes]] = {}

    async def put(self, node_id: str, facts: bytes) -> None:
        """See `NodeTable.put`."""
        self._facts[node_id] = (self._clock(), facts)

    async def remove(self, node_id: str) -> None:
        """See `NodeTable.remove`."""
        self._facts.pop(node_id, None)

    async def all(self) -> dict[str, bytes]:
        """See `NodeTable.all`."""
        now = self._clock()
        self._facts = {one: told for one, told in self._facts.items() if now - told[0] < self._expires_after_s}
        return {node_id: facts for node_id, (_, facts) in self._facts.items()}
