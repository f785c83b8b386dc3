"""DNS processes that follow the journal: shown, and neither listed in receipts nor waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position


class Followers(Protocol):
    """What a connection tells of its follower: the node directory for edges, `DnsFollowers` for DNS."""

    async def connected(
        self, node_id: str, facts: NodeFacts, position: Position | None, *, lease_s: float, record_version: int
    ) -> None: ...

    def applied(self, node_id: str, position: Position) -> None: ...

    async def renew(self, node_id: str) -> None: ...

    def heard_clock(self, node_id: str, offset_s: float) -> None: ...

    def heard_load(self, node_id: str, load: float) -> None: ...

    def heartbeat_answered(self, node_id: str, counters: Mapping[str, int], *, is_draining: bool = False) -> None: ...

    def prepared(self, node_id: str, site_id: str, deploy_id: str, failure: str | None = None) -> None: ...

    def stopped(self, node_id: str, reason: str) -> None: ...

    def disconnected(self, node_id: str) -> None: ...

    def left(self, node_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class DnsFollower:
    """A DNS process that is connected. `stopped`: why it goes no further in the journal."""

    dns_id: str
    program: str
    position: Position | None
    stopped: str | None = None
    record_version: int = 1


class DnsFollowers:
    """Those that are connected to this control, and as many at the most as it has connections.

    Nothing that they say counts for a receipt, a deploy or a state: what a DNS process serves is stale by its TTLs in
    any case, and one that is cut off freezes what it knew (DESIGN I16).
    """

    def __init__(self) -> None:
        self._followers: dict[str, DnsFollower] = {}
        self._moved = asyncio.Event()

    def all(self) -> tuple[DnsFollower, ...]:
        """By id."""
        return tuple(self._followers[dns_id] for dns_id in sorted(self._followers))

    def behind(self, position: Position) -> tuple[str, ...]:
        """Those that do not answer by the record at `position` yet, by id."""
        return tuple(
            each.dns_id
            for each in self.all()
            if each.position is None
            or each.position.epoch != position.epoch
            or each.position.sequence < position.sequence
        )

    async def wait_past(self, position: Position, timeout_s: float) -> tuple[str, ...]:
        """Return when none is behind `position`; else, after `timeout_s`, those that are."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.behind(position):
                    await self._moved.wait()
        except TimeoutError:
            pass  # whoever is behind now is told
        return self.behind(position)

    async def connected(
        self, node_id: str, facts: NodeFacts, position: Position | None, *, lease_s: float, record_version: int
    ) -> None:
        """It said hello and stands at `position`."""
        self._followers[node_id] = DnsFollower(node_id, facts.program, position, record_version=record_version)

    def applied(self, node_id: str, position: Position) -> None:
        """It answers at or above `position`."""
        self._followers[node_id] = replace(self._followers[node_id], position=position)
        self._tell()

    def stopped(self, node_id: str, reason: str) -> None:
        """It met a record that it does not understand."""
        self._followers[node_id] = replace(self._followers[node_id], stopped=reason)

    def disconnected(self, node_id: str) -> None:
        """Its connection is gone."""
        self._followers.pop(node_id, None)
        self._tell()

    def left(self, node_id: str) -> None:
        """It has ended."""
        self._followers.pop(node_id, None)
        self._tell()

    async def renew(self, node_id: str) -> None:
        """It has no lease that others would have to know of."""

    def heard_clock(self, node_id: str, offset_s: float) -> None:
        """Nobody goes by its clock."""

    def heard_load(self, node_id: str, load: float) -> None:
        """Nobody is sent to it."""

    def heartbeat_answered(self, node_id: str, counters: Mapping[str, int], *, is_draining: bool = False) -> None:
        """It is there; what it counted it shows on its own admin address."""

    def prepared(self, node_id: str, site_id: str, deploy_id: str, failure: str | None = None) -> None:
        """It has no manifests."""

    def _tell(self) -> None:
        """Wake those who wait, each once."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
