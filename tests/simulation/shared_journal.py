"""A journal on servers that several controls share, by the seams that JetStream stands behind, and the ways to it."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from math import inf

from cdn.fleet.position import Position
from cdn.journal.jetstream_node_feed import Told
from cdn.journal.journal import AppendUncertain, Conflicted, JournalUnavailable, Trimmed
from cdn.journal.record import RECORD_VERSION, Draft, Record, validate_draft
from cdn.journal.tenure import MARGIN, Tenure
from tests.simulation.virtual_time import VirtualLoop

PATIENCE_S = 1.0
"""How long a call waits for the servers."""


class Servers:
    """What a majority of them has. One epoch."""

    def __init__(self, epoch: str, after: int = 0) -> None:
        self.epoch = epoch
        self.records: list[Record] = []
        self.begins_after = after
        self.trimmed_through = after
        self.subjects: dict[str, int] = {}
        self.table: dict[str, tuple[Told, int]] = {}
        self.revision = 0
        self.offices: dict[str, tuple[str, int, float]] = {}
        self.links: list[Link] = []

    @property
    def last(self) -> int:
        """The sequence of the last record."""
        return self.begins_after + len(self.records)

    def append(self, draft: Draft, expected_sequence: int | None, at: float) -> Record | Conflicted:
        """See `Journal.append`."""
        found = self.subjects.get(draft.subject, 0)
        if expected_sequence is not None and found != expected_sequence:
            return Conflicted(found)
        record = Record(
            RECORD_VERSION, self.epoch, self.last + 1, draft.subject, at, draft.actor, draft.audience, draft.change
        )
        self.records.append(record)
        self.subjects[draft.subject] = record.sequence
        for link in self.links:
            link.tell(("record", record.sequence))
        return record

    def put(self, told: Told, expected_revision: int) -> int | None:
        """The entry's revision; None: it was another one."""
        found = self.table.get(told.name)
        if (0 if found is None else found[1]) != expected_revision:
            return None
        self.revision += 1
        self.table[told.name] = (told, self.revision)
        for link in self.links:
            link.tell((told, self.revision))
        return self.revision


class Link:
    """One control's way to the servers. What they push comes in order; nothing passes while it is cut."""

    def __init__(self, servers: Servers, loop: VirtualLoop, rng: random.Random, slowest_s: float) -> None:
        self.servers = servers
        self.loop = loop
        self.is_cut = False
        self.slowest_s = slowest_s
        self.take: list[Callable[[object], None]] = []
        self._rng = rng
        self._coming: deque[object] = deque()
        self._due = 0.0
        servers.links.append(self)

    async def pass_through(self, failure: type[JournalUnavailable] = JournalUnavailable) -> None:
        """One way. Raises JournalUnavailable."""
        await asyncio.sleep(self._rng.uniform(0.0002, self.slowest_s))
        left_s = PATIENCE_S
        while self.is_cut:
            if left_s <= 0:
                raise failure("the servers of the journal do not answer")
            await asyncio.sleep(0.25)
            left_s -= 0.25

    def tell(self, news: object) -> None:
        """The servers say something."""
        self._coming.append(news)
        self._due = max(self._due, self.loop.now + self._rng.uniform(0.0002, self.slowest_s))
        self.loop.after(self._due - self.loop.now, self._arrive)

    def heal(self) -> None:
        """It is whole again."""
        self.is_cut = False
        self.loop.after(self._rng.uniform(0.0, 0.3), self._arrive)

    def close(self) -> None:
        """The control is gone."""
        self.servers.links.remove(self)
        self.take.clear()

    def _arrive(self) -> None:
        while self._coming and not self.is_cut:
            news = self._coming.popleft()
            for take in self.take:
                take(news)


class SharedJournal:
    """A `Journal` for one of several controls."""

    def __init__(self, link: Link, clock: Callable[[], float]) -> None:
        self._link = link
        self._clock = clock
        self._seen = link.servers.last
        self._moved = asyncio.Event()
        link.take.append(self._take)

    @property
    def epoch(self) -> str:
        return self._link.servers.epoch

    async def append(self, draft: Draft, *, expected_sequence: int | None) -> Record | Conflicted:
        draft, _ = validate_draft(draft)
        await self._link.pass_through()
        outcome = self._link.servers.append(draft, expected_sequence, self._clock())
        await self._link.pass_through(AppendUncertain)
        return outcome

    async def read(self, after: int, *, limit: int) -> tuple[Record, ...] | Trimmed:
        await self._link.pass_through()
        servers = self._link.servers
        if after < servers.trimmed_through:
            return Trimmed(servers.trimmed_through + 1)
        start = after - servers.begins_after
        return tuple(servers.records[start : start + limit])

    async def wait_beyond(self, sequence: int) -> None:
        while self._seen <= sequence:
            await self._moved.wait()

    async def position(self) -> Position:
        await self._link.pass_through()
        return Position(self.epoch, self._link.servers.last)

    async def trim(self, through: int) -> None:
        await self._link.pass_through()
        servers = self._link.servers
        servers.trimmed_through = max(servers.trimmed_through, min(through, servers.last))

    async def aclose(self) -> None:
        if self._take in self._link.take:
            self._link.take.remove(self._take)

    def _take(self, news: object) -> None:
        match news:
            case ("record", int(sequence)):
                self._seen = max(self._seen, sequence)
                self._moved.set()
                self._moved = asyncio.Event()


class SharedNodes:
    """A `NodeFeed`."""

    def __init__(self, link: Link, teller: str) -> None:
        self.teller = teller
        self._link = link
        self._taken: Callable[[Told, int], None] | None = None
        self._last = 0
        self._moved = asyncio.Event()

    def start(self, take: Callable[[Told, int], None]) -> None:
        self._taken = take
        self._link.take.append(self._take)
        for found in sorted(self._link.servers.table.values(), key=lambda one: one[1]):
            self._take(found)

    async def put(self, name: str, facts: bytes, *, expected_revision: int) -> int | None:
        await self._link.pass_through()
        revision = self._link.servers.put(Told(name, self.teller, facts), expected_revision)
        await self._link.pass_through()
        return revision

    async def get(self, name: str) -> tuple[Told | None, int]:
        await self._link.pass_through()
        return self._link.servers.table.get(name, (None, 0))

    async def barrier(self) -> None:
        name = f"={self.teller}"
        _, known = await self.get(name)
        revision = await self.put(name, b"", expected_revision=known)
        if revision is None:
            raise JournalUnavailable("two barriers met: try again")
        while self._last < revision:
            await self._moved.wait()

    async def aclose(self) -> None:
        if self._take in self._link.take:
            self._link.take.remove(self._take)

    def _take(self, news: object) -> None:
        match news:
            case (Told() as told, int(revision)):
                if self._taken is not None and not told.name.startswith("="):
                    self._taken(told, revision)
                self._last = revision
                self._moved.set()
                self._moved = asyncio.Event()


class SharedOffices:
    """`Offices`, which the servers forget `duration_s` after they were renewed."""

    def __init__(self, link: Link, duration_s: float) -> None:
        self._link = link
        self._duration_s = duration_s

    async def acquire(self, office: str, holder: str, *, now: float) -> Tenure | None:
        await self._link.pass_through()
        offices, at = self._link.servers.offices, self._link.loop.now
        held, revision, renewed_at = offices.get(office, ("", 0, -inf))
        if held not in {"", holder} and at < renewed_at + self._duration_s:
            return None
        offices[office] = (holder, revision + 1, at)
        await self._link.pass_through()
        return Tenure(office, holder, revision + 1, now + self._duration_s * (1 - MARGIN))

    async def release(self, tenure: Tenure) -> None:
        await self._link.pass_through()
        held = self._link.servers.offices.get(tenure.office)
        if held is not None and held[1] == tenure.token:
            self._link.servers.offices[tenure.office] = ("", tenure.token + 1, self._link.loop.now)
