"""Controls begin a new epoch: from the object store alone, or from it and the journal that they leave (DESIGN I3)."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from cdn.control.node_directory import NodeDirectory
from cdn.control.restoration import Restored, restore
from cdn.control.restored_nodes import put_restored
from cdn.errors import Unavailable
from cdn.journal.sqlite import SqliteJournal
from tests.simulation.control import ARCHIVE_OFFICE_S, SimulatedControl
from tests.simulation.shared_journal import Link, Servers, SharedNodes
from tests.simulation.virtual_time import Machine

if TYPE_CHECKING:
    from tests.simulation.world import World

LOSS_BOUND_S = 2.0 + ARCHIVE_OFFICE_S
"""Records are archived every second by a store that answers within some hundredths, and by another control once the
office of the one that did it is over; the rest is for retries."""

MARK_BOUND_S = 9.0
"""The archive names the nodes that follow at least every five seconds; the rest is for the office and for retries."""


class Loss:
    """`is_moved`: control was stopped in order, and its journal is there. `to_servers`: where the new one will be."""

    def __init__(self, world: World, *, is_moved: bool, to_servers: bool) -> None:
        self.world = world
        self.is_moved = is_moved
        self.to_servers = to_servers
        self.is_over = False
        self.epoch = len(world.epochs) - 1
        now, disturbed_until = world.loop.now, world.disturbed_until
        self.recorded_until = now if is_moved else now - LOSS_BOUND_S if disturbed_until < now - LOSS_BOUND_S else 0.0
        """What was acknowledged by then must not be lost."""
        self.met_until = now if is_moved else now - MARK_BOUND_S if disturbed_until < now - MARK_BOUND_S else 0.0
        """Nodes that had come by then are known."""
        if is_moved:
            machine = self._first.machine
            assert machine is not None, "it is up"
            world.loop.start(machine, self._stop()).add_done_callback(world.must_work)
        else:
            for control in world.controls.values():
                control.crash()

    @property
    def _first(self) -> SimulatedControl:
        return self.world.controls[self.world.story.controls[0]]

    async def _stop(self) -> None:
        await self._first.aclose()
        self._first.crash()

    async def begin_anew(self) -> None:
        """As `cdn control restore` does, and `cdn control move`."""
        world, first = self.world, self._first
        for control in world.controls.values():
            control.crash()
            if not self.is_moved:
                control.disk.wipe()
        restored = await self._restore(first)
        await self._remember(first, restored)
        self._look_what_is_lost(restored)
        world.epochs[restored.position.epoch] = len(world.epochs)
        world.read_from(restored.position.sequence)
        if not self.to_servers:
            world.controls = {first.name: first}
        self.is_over = True
        for control in world.controls.values():
            world.start_control(control)

    async def _restore(self, first: SimulatedControl) -> Restored:
        async def begin(epoch: str, after: int) -> None:
            if self.to_servers:
                self.world.servers = Servers(epoch, after)
            else:
                self.world.servers = None
                await SqliteJournal.begin_epoch(first.journal_path, epoch, after=after)

        journal = await SqliteJournal.open(first.journal_path, clock=first.wall) if self.is_moved else None
        while True:
            try:
                return await restore(first.store, begin, journal=journal, clock=first.wall)
            except Unavailable:
                await asyncio.sleep(0.5)

    async def _remember(self, first: SimulatedControl, restored: Restored) -> None:
        world, nodes = self.world, restored.nodes
        if self.is_moved:
            directory = await NodeDirectory.open(first.nodes_path, clock=first.clock, wall=first.wall)
            nodes = directory.kept()
            await directory.aclose()
        if world.servers is None:
            await NodeDirectory.restore(first.nodes_path, nodes)
        else:
            link = Link(world.servers, world.loop, random.Random(0), world.slowest_s)
            await put_restored(SharedNodes(link, "restore"), nodes)
            link.close()
        names = {node.node_id for node in nodes}
        for node_id, met_at in world.met.items():
            if node_id not in names and met_at < self.met_until:
                world.faults.append(f"restored without {node_id}, which had followed since {met_at:.3f}")
        world.strangers = frozenset(world.nodes) - names

    def _look_what_is_lost(self, restored: Restored) -> None:
        world, kept = self.world, restored.former.sequence
        for (epoch, sequence), (subject, at) in world.people.acknowledged.items():
            if epoch == self.epoch and at <= self.recorded_until and sequence > kept:
                world.faults.append(f"restored up to {kept} without {sequence} ({subject}), acknowledged at {at:.3f}")
        world.checker.lose(self.epoch, kept)


def begin_from_store(loss: Loss) -> None:
    """Somebody types the command."""
    world = loss.world
    world.loop.start(Machine("restore"), loss.begin_anew()).add_done_callback(world.must_work)
