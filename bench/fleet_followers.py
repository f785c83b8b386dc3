"""A process of many followers: each keeps its own copy of the journal, catalog and floors, as an edge does.

What is left out of an edge is its listener and its content: several edges fit into one process that way.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from bench.worker_process import serve
from cdn.cli.service import SWITCH_INTERVAL_S
from cdn.edge.site_view import News, SiteView, ToPrepare
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.follower import Follower
from cdn.journal.record import Record
from cdn.journal.replica import Replica
from cdn.purge.floors import Floors

TIMES_KEPT = 100_000
"""Positions whose time one follower remembers."""


class Node:
    """One follower and when it came where."""

    def __init__(self, node_id: str, replica: Replica, view: SiteView, facts: NodeFacts) -> None:
        self.node_id = node_id
        self.facts = facts
        self.replica = replica
        self.view = view
        self.times: deque[tuple[int, float]] = deque(maxlen=TIMES_KEPT)
        self.follower: Follower | None = None
        self.leased_below = 0
        """Records applied while a lease let the node answer from its cache, since it connected."""
        self.task: asyncio.Task[None] | None = None

    # FollowerSink

    def on_records(self, records: Sequence[Record], position: Position) -> None:
        if self.follower is not None and self.follower.has_lease():
            self.leased_below += len(records)
        self.view.on_records(records, position)
        self.times.append((position.sequence, time.monotonic()))

    def on_snapshot(self, position: Position, epoch_changed: bool) -> None:
        self.view.on_snapshot(position, epoch_changed)
        self.times.append((position.sequence, time.monotonic()))

    def act_on(self, news: News) -> None:
        """Every manifest is there at once: what is measured is the journal."""
        if isinstance(news, ToPrepare) and self.follower is not None:
            self.follower.report_prepared(news.site_id, news.deploy_id)


class Followers:
    """What the process is told to do."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._settings: dict[str, Any] = {}

    async def answer(self, question: dict[str, Any]) -> Any:
        match question["do"]:
            case "start":
                self._settings = question
                places = question.get("places") or [None] * question["count"]
                for number, place in enumerate(places):
                    await self._make(f"{question['name']}{number}", _facts(place))
                await self._connect()
                return True
            case "times":
                after = question["after"]
                return [[time for time in node.times if time[0] > after] for node in self._nodes]
            case "standing":
                return [node.replica.position.sequence if node.replica.position else 0 for node in self._nodes]
            case "active":
                return [self._active(node, question["site"], question["alias"]) for node in self._nodes]
            case "disconnect":
                await self._disconnect()
                return True
            case "connect":
                began = time.monotonic()
                await self._connect()
                took_s = time.monotonic() - began
                return {"took_s": took_s, "leased_below": sum(node.leased_below for node in self._nodes)}
            case "cpu":
                used = resource.getrusage(resource.RUSAGE_SELF)
                return used.ru_utime + used.ru_stime
            case unknown:
                raise ValueError(unknown)

    async def _make(self, node_id: str, facts: NodeFacts) -> None:
        replica = await Replica.open(Path(self._settings["folder"]) / f"{node_id}.db")
        view = SiteView(CatalogFold(self._settings["zone"]), Floors())
        node = Node(node_id, replica, view, facts)
        view.listen(node.act_on)
        await replica.load((view.catalog_fold, view.floors))
        self._nodes.append(node)

    async def _connect(self) -> None:
        """Return when every one has caught up."""
        for node in self._nodes:
            node.leased_below = 0
            node.follower = Follower(
                self._settings["control_url"],
                self._settings["token"],
                node.node_id,
                node.replica,
                (node.view.catalog_fold, node.view.floors),
                node,
                facts=node.facts,
            )
            node.task = asyncio.create_task(node.follower.run())
        await asyncio.gather(*(node.follower.wait_caught_up() for node in self._nodes if node.follower is not None))

    async def _disconnect(self) -> None:
        tasks = [node.task for node in self._nodes if node.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _active(self, node: Node, site: str, alias: str) -> str | None:
        found = node.view.catalog.site_named(site)
        state = None if found is None else node.view.catalog.alias(found.id, alias)
        return None if state is None or state.active is None else state.active.id


def _facts(place: list[Any] | None) -> NodeFacts:
    """Of a node that stands somewhere (latitude, longitude, public address), or nowhere in particular."""
    if place is None:
        return NodeFacts("bench", "", ())
    latitude, longitude, address = place
    return NodeFacts("bench", public_addresses=(address,), location=(latitude, longitude))


async def main() -> None:
    """`python -m bench.fleet_followers`, told by the bench."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    await serve(Followers().answer)


if __name__ == "__main__":
    uvloop.run(main())
