"""A control: the product's plane over a journal of its own or one that it shares, on a machine that may fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cdn.cli.control_part import SNAPSHOT_OFFICE_S
from cdn.control.follow_connection import PATIENCE_HEARTBEATS
from cdn.control.node_directory import NodeDirectory
from cdn.control.office_turn import OfficeTurn
from cdn.control.plane import ControlPlane
from cdn.control.refusals import Refusal
from cdn.control.replicas import Replicas
from cdn.control.settings import ControlSettings
from cdn.control.shared_directory import SharedNodeDirectory
from cdn.errors import CdnError
from cdn.journal.journal import Journal
from cdn.journal.sqlite import SqliteJournal
from tests.simulation.disk import Disk
from tests.simulation.network import Network
from tests.simulation.shared_journal import Link, Servers, SharedJournal, SharedNodes, SharedOffices
from tests.simulation.store import SimulatedStore
from tests.simulation.virtual_time import Machine, VirtualLoop

ARCHIVE_OFFICE_S = 2.4
"""Longer than the product's, which asks for it so often that hardly anything else would be simulated."""
ARCHIVE_RENEWALS = 2


LIES = (Refusal.FORGED_ACK, Refusal.FUTURE_ACK, Refusal.BAD_MESSAGE)


class Surroundings(Protocol):
    """What of the world a control touches."""

    loop: VirtualLoop
    network: Network
    servers: Servers | None
    settings: ControlSettings
    slowest_s: float


class SimulatedControl:
    """What of a control outlives its processes. `plane` is None while it does not answer."""

    def __init__(self, name: str, world: Surroundings, disk: Disk, store: SimulatedStore, rng: random.Random) -> None:
        self.name = name
        self.disk = disk
        self.store = store
        self.journal_path = Path(f"{name}/journal.db")
        self.nodes_path = Path(f"{name}/nodes.db")
        self.wall_offset_s = 1_700_000_000.0 + rng.uniform(-1.0, 1.0)
        self.machine: Machine | None = None
        self.plane: ControlPlane | None = None
        self.directory: NodeDirectory | None = None
        self.is_cut = False
        self.link: Link | None = None
        self._world = world
        self._rng = rng
        self._rate = rng.uniform(0.995, 1.005)
        self._lives = 0

    def wall(self) -> float:
        return self.wall_offset_s + self._world.loop.now

    def clock(self) -> float:
        """CLOCK_MONOTONIC: it stands still while the machine sleeps."""
        slept_s = 0.0 if self.machine is None else self.machine.slept_s
        return self._rate * (self._world.loop.now - slept_s)

    @property
    def is_up(self) -> bool:
        """Whether it answers, if it runs."""
        return self.plane is not None and self.machine is not None and not self.machine.is_dead

    @property
    def disbelieved(self) -> dict[str, int]:
        """How often nodes said what could not be true, by reason. None of them lies."""
        counts = {} if self.plane is None else self.plane.hub.refusals.counts()
        return {reason.value: counts[reason.value] for reason in LIES if counts.get(reason.value)}

    async def run(self, machine: Machine, on_start: Callable[[SimulatedControl, ControlPlane], None]) -> None:
        """Start, however often it takes. Raises Conflict when it may never."""
        directory: NodeDirectory | None = None
        while True:
            try:
                journal, directory, replicas = await self._parts()
                plane = ControlPlane(
                    self._world.settings,
                    journal,
                    self.store,
                    directory,
                    replicas=replicas,
                    clock=self.wall,
                    monotonic=self.clock,
                )
                await plane.start()
                break
            except CdnError:
                if directory is not None:
                    await directory.aclose()
                    directory = None
                self.unlink()
                await asyncio.sleep(0.5)
        self.directory = directory
        on_start(self, plane)
        self.plane = plane
        self._world.network.controls[self.name] = (machine, plane.hub.handle)

    async def aclose(self) -> None:
        """End in order: what is not archived yet is, if the store takes it."""
        plane, self.plane = self.plane, None
        if plane is not None and self.directory is not None:
            await plane.aclose()
            await self.directory.aclose()
            await plane.state.journal.aclose()

    def crash(self) -> None:
        """Its process ended."""
        machine = self.machine
        if machine is not None and not machine.is_dead:
            self._world.loop.kill(machine)
            self._world.network.died(machine, silently=False)
            self.disk.crash()
            self.plane = None
            self.unlink()

    def unlink(self) -> None:
        """The servers of the journal have nothing more to say to it."""
        if self.link is not None:
            self.link.close()
            self.link = None

    def cut(self, for_s: float) -> None:
        """It does not reach the servers of the journal."""
        self.is_cut = True
        if self.link is not None:
            self.link.is_cut = True
        self._world.loop.after(for_s, self._heal)

    def _heal(self) -> None:
        self.is_cut = False
        if self.link is not None:
            self.link.heal()

    async def _parts(self) -> tuple[Journal, NodeDirectory, Replicas | None]:
        servers = self._world.servers
        if servers is None:
            journal = await SqliteJournal.open(self.journal_path, clock=self.wall)
            return journal, await NodeDirectory.open(self.nodes_path, clock=self.clock, wall=self.wall), None
        self._lives += 1
        link = self.link = Link(servers, self._world.loop, self._rng, self._world.slowest_s)
        link.is_cut = self.is_cut
        await link.pass_through()
        nodes = SharedNodes(link, f"{self.name}-{self._lives}")
        directory = await SharedNodeDirectory.over(
            self.nodes_path,
            nodes,
            patience_s=PATIENCE_HEARTBEATS * self._world.settings.heartbeat_s,
            clock=self.clock,
            wall=self.wall,
        )
        offices = SharedOffices(link, SNAPSHOT_OFFICE_S)

        async def has_turn() -> bool:
            return await offices.acquire("snapshots", nodes.teller, now=self.clock()) is not None

        archiving = OfficeTurn(
            SharedOffices(link, ARCHIVE_OFFICE_S),
            "archive",
            nodes.teller,
            renew_every_s=ARCHIVE_OFFICE_S / ARCHIVE_RENEWALS,
            monotonic=self.clock,
        )
        return SharedJournal(link, self.wall), directory, Replicas(has_turn, archiving, None)
