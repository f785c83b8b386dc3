"""Puts a fleet together on virtual time, lets a story happen to it, and looks whether it kept its word and heals."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
from aiohttp import web

from cdn.control.plane import ControlPlane
from cdn.control.settings import ControlSettings
from cdn.errors import CdnError, NotFound
from cdn.fleet.condition import NodeState
from cdn.fleet.node import is_surely_detached
from cdn.journal.record import DeployActivated, Record, decode_record
from tests.simulation.cache import TAGS
from tests.simulation.checker import Checker
from tests.simulation.control import SimulatedControl
from tests.simulation.disk import Disk, SimulatedDatabase, SimulatedTail
from tests.simulation.faults import happen
from tests.simulation.network import FarEnd, Network
from tests.simulation.node import SimulatedNode, request_for
from tests.simulation.people import People
from tests.simulation.pipe import Pipes
from tests.simulation.restoring import Loss, begin_from_store
from tests.simulation.shared_journal import Servers
from tests.simulation.shield import Lines
from tests.simulation.store import Objects, SimulatedStore
from tests.simulation.story import BUNDLES, EVENTS_S, PULLED, Kind, Story
from tests.simulation.upstream import SimulatedUpstream
from tests.simulation.virtual_time import Machine, VirtualLoop
from tests.simulation.worker import Listener, Workers

HEARTBEAT_S = 1.3
LEASE_S = 4.0
HEALING_S = 15.0
"""From when nothing goes wrong any more until everything has to be well."""
LOOK_EVERY_S = 1.2
RESTARTS = frozenset({Kind.CRASH, Kind.POWER, Kind.LOSE_COPY, Kind.LEAVE})


@dataclass(frozen=True, slots=True)
class Outcome:
    """`faults` is empty when everything was as promised."""

    story: Story
    faults: tuple[str, ...]
    promises: int
    answers: int
    judged: int
    steps: int


class World:
    """One run."""

    def __init__(self, story: Story, data_dir: Path) -> None:
        self.story = story
        self.rng = self._random("world")
        self.loop = VirtualLoop(self._random("loop"))
        self.network = Network(self.loop, story.seed, is_rude=story.is_rude, slowest_s=story.slowest_s)
        self.slowest_s = min(story.slowest_s, 0.05)
        self.processes = Workers(self.loop, Pipes(self.loop, self._random("pipes"), story.slowest_pipe_s), self.rng)
        self.objects = Objects()
        self.upstream = SimulatedUpstream()
        self.checker = Checker()
        self.people = People(self)
        self.is_over = False
        self.faults: list[str] = []
        self.settings = ControlSettings(
            "cdn.localhost",
            data_dir,
            heartbeat_s=HEARTBEAT_S,
            detach_after_s=LEASE_S,
            keep_records=5,
            snapshot_every_records=60,
            archive_interval_s=1.0,
        )
        self.servers = Servers("shared-1") if len(story.controls) > 1 else None
        self.epochs: dict[str, int] = {}
        """Numbers of the epochs, in order."""
        self.loss: Loss | None = None
        self.met: dict[str, float] = {}
        """When each node was first seen with a lease."""
        self.strangers: frozenset[str] = frozenset()
        """Nodes that came so late before a loss that the store does not know of them: no receipt names them."""
        self.disturbed_until = 0.0
        """Until then some control may not have archived at once."""
        self.controls = {name: self._control(name) for name in story.controls}
        self.nodes = {node_id: self._node(node_id) for node_id in story.nodes}
        jumped = {event.who for event in story.events if event.kind is Kind.CLOCK}
        restarted = {event.who for event in story.events if event.kind in RESTARTS}
        self.keep_time = frozenset(set(story.nodes) - (jumped & restarted))
        """Nodes that know how old something is: not those whose clock jumped before they started again."""
        self._read_through: dict[str, int] = {}
        SimulatedDatabase.disks = {name: control.disk for name, control in self.controls.items()} | {
            one.node_id: one.disk for one in self.nodes.values()
        }

    def _random(self, what: str) -> random.Random:
        return random.Random(f"{self.story.seed} {what}")

    def _control(self, name: str) -> SimulatedControl:
        disk = Disk(self.loop, self._random(f"{name} disk"))
        return SimulatedControl(
            name, self, disk, SimulatedStore(self.objects, self._random(f"{name} store")), self._random(name)
        )

    def _node(self, node_id: str) -> SimulatedNode:
        store = SimulatedStore(self.objects, self._random(f"{node_id} store"))
        disk = Disk(self.loop, self._random(f"{node_id} disk"))
        rng = self._random(f"{node_id} node")
        node = SimulatedNode(node_id, self.loop, rng, disk, store, self.upstream, self.processes, self.story.workers)
        urls = [f"http://{node_id}/{name}" for name in self.story.controls]
        rng.shuffle(urls)
        node.control_urls = tuple(urls)
        node.shield = self.story.shield
        return node

    def run(self) -> Outcome:
        lines = Lines(self.loop, self.network, self._random("lines"))
        lines.nodes = self.nodes
        with _patched(self.network, lines), self.processes.patched():
            try:
                self._run()
            finally:
                self.is_over, steps = True, self.loop.steps
                self.loop.close_down()
                for disk in SimulatedDatabase.disks.values():
                    disk.close()
        checker = self.checker
        faults = (*self.faults, *checker.stale)
        return Outcome(self.story, faults, checker.promised, checker.answers, checker.judged, steps)

    def _run(self) -> None:
        for control in self.controls.values():
            self.start_control(control)
        self.loop.run_until(1.0)
        for node in self.nodes.values():
            self._boot(node)
            self._look_around(node)
        for event in self.story.events:
            self.loop.after(event.at - self.loop.now, happen, self, event)
        self.loop.run_until(EVENTS_S)
        last_over = max((event.at + event.for_s for event in self.story.events), default=EVENTS_S)
        self.loop.run_until(max(EVENTS_S, last_over) + 0.5)
        self.network.break_lines(None)
        self.network.is_rude, self.network.slowest_s = False, 0.01
        self.processes.pipes.slowest_s = 0.001
        self._heal()
        self._settle()
        self.faults += self.loop.faults

    # Controls

    def start_control(self, control: SimulatedControl) -> None:
        """Its process starts, unless it runs or is lost for good."""
        if control.machine is not None and not control.machine.is_dead:
            return
        if self.loss is not None and not self.loss.is_over:
            return
        machine = control.machine = Machine(control.name)
        self.loop.start(machine, control.run(machine, self._started)).add_done_callback(self.must_work)

    def _started(self, control: SimulatedControl, plane: ControlPlane) -> None:
        position = plane.state.position
        is_first = not self.epochs
        number = self.epochs.setdefault(position.epoch, len(self.epochs))
        for (epoch, sequence), (subject, _) in self.people.acknowledged.items():
            if epoch == number and sequence > position.sequence:
                self.faults.append(f"{control.name} starts without the acknowledged record {sequence} ({subject})")
        if is_first:
            self.loop.start(self._machine(control), self._set_up(plane)).add_done_callback(self.must_work)

    async def _set_up(self, plane: ControlPlane) -> None:
        for node in self.nodes.values():
            node.token = await plane.create_token((f"node:{node.node_id}",), note="")
        await self.people.create_sites(plane)

    def _machine(self, control: SimulatedControl) -> Machine:
        assert control.machine is not None, "it was started"
        return control.machine

    def lose_controls(self, after_s: float, *, is_moved: bool, to_servers: bool) -> None:
        """All that controls had is gone, unless it is moved, and `after_s` later they begin from what there is."""
        if self.loss is not None or any(not control.is_up for control in self.controls.values()):
            return
        self.read_activations()
        self.loss = Loss(self, is_moved=is_moved, to_servers=to_servers)
        self.loop.after(after_s, begin_from_store, self.loss)

    def disturb(self, for_s: float) -> None:
        """What is written until then, and a little before, may not be in the store when it is due."""
        self.disturbed_until = max(self.disturbed_until, self.loop.now + for_s + 1.0)

    def on_control(
        self, coro: Callable[[ControlPlane], Coroutine[Any, Any, None]], control: SimulatedControl | None = None
    ) -> None:
        """Somebody asks this control, or whichever answers."""
        up = [each for each in self.controls.values() if each.is_up]
        if control is None and up:
            control = self.rng.choice(up)
        if control is not None and control in up and control.plane is not None:
            self.loop.start(self._machine(control), coro(control.plane)).add_done_callback(self.must_work)

    def must_work(self, task: asyncio.Task[Any]) -> None:
        exc = None if task.cancelled() else task.exception()
        if exc is not None and not isinstance(exc, CdnError):
            self.faults.append(f"{self.loop.now:.3f}: {exc!r}")

    def read_activations(self) -> None:
        """What was activated when, as it stands in the journal."""
        if self.servers is not None:
            self._note_activations(self.servers.epoch, self.servers.records)
            return
        control = self.controls[self.story.controls[0]]
        if not control.disk.has(control.journal_path):
            return
        connection = control.disk.open(control.journal_path, "")
        after = self._read_through.get("rows", 0)
        rows = connection.execute("SELECT content FROM record WHERE sequence > ? ORDER BY sequence", (after,))
        records = [decode_record(raw) for (raw,) in rows.fetchall()]
        for record in records:
            self._read_through["rows"] = record.sequence
        self._note_activations("", records)

    def read_from(self, sequence: int) -> None:
        """Another journal begins."""
        self._read_through = {"rows": sequence}

    def _note_activations(self, epoch: str, records: list[Record]) -> None:
        for record in records[self._read_through.get(epoch, 0) if epoch else 0 :]:
            if isinstance(record.change, DeployActivated):
                place = self.epochs[record.epoch], record.sequence
                self.checker.activations.setdefault(record.change.deploy_id, place)
        if epoch:
            self._read_through[epoch] = len(records)

    # Nodes

    def _boot(self, node: SimulatedNode) -> None:
        life = node.boot()
        self.network.nodes[node.node_id] = life.machine
        self.loop.start(life.machine, life.run()).add_done_callback(self.must_work)

    def crash(self, node: SimulatedNode, for_s: float, *, silently: bool) -> None:
        """Its process has ended, and the workers with it."""
        life = node.life
        if life is None:
            return
        self.loop.kill(life.machine)
        self.processes.died(life.machine)
        self.network.died(life.machine, silently=silently)
        node.disk.crash()
        node.life = None
        self.loop.after(for_s, self._boot_again, node)

    def crash_life(self, node: SimulatedNode, life: object) -> None:
        """It left, and starts again, unless it did already."""
        if node.life is life:
            self.crash(node, 0.1, silently=False)

    def _boot_again(self, node: SimulatedNode) -> None:
        if node.life is None:
            self._boot(node)

    def _look_around(self, node: SimulatedNode) -> None:
        """Visitors come all the time."""
        if self.is_over:
            return
        name = self.rng.choice(BUNDLES + PULLED)
        listeners = self._listeners(node)
        path = self.rng.choice(tuple(TAGS)) if name in PULLED else "/a"
        self._visit(node, self.rng.choice(listeners) if listeners else None, name, path)
        self.loop.after(LOOK_EVERY_S * self.rng.uniform(0.5, 1.5), self._look_around, node)

    def visit_all(self, name: str, path: str) -> None:
        """Somebody comes to every process that answers."""
        for node in self.nodes.values():
            listeners: list[Listener | None] = [*self._listeners(node)]
            for listener in listeners or [None]:
                self._visit(node, listener, name, path)

    def _listeners(self, node: SimulatedNode) -> list[Listener]:
        return [] if node.life is None else self.processes.listeners(node.life)

    def _visit(self, node: SimulatedNode, listener: Listener | None, name: str, path: str) -> None:
        life = node.life
        if life is None:
            return

        async def visit() -> None:
            asked_at = self.loop.now
            if node.node_id not in self.met and life.has_lease():
                self.met[node.node_id] = asked_at
            self._compare_lease(node)
            answer = await life.visit(request_for(name, path), listener)
            if isinstance(answer.value, str) and answer.value not in self.checker.activations:
                self.read_activations()
            if node.node_id in self.met:  # who never had a lease is in no receipt, and sent no visitors
                self.checker.judge(node.node_id, (name, path), asked_at, answer)

        machine = life.machine if listener is None else listener.machine
        self.loop.start(machine, visit()).add_done_callback(self.must_work)

    def _compare_lease(self, node: SimulatedNode) -> None:
        """What the only control calls detached holds no lease."""
        control = self.controls[self.story.controls[0]]
        life, directory = node.life, control.directory
        if len(self.story.controls) > 1 or not control.is_up or life is None or directory is None:
            return
        if not life.has_lease():
            return
        try:
            view = directory.node(node.node_id)
        except NotFound:
            self.faults.append(f"{self.loop.now:.3f}: {node.node_id} has a lease and control does not know it")
            return
        if is_surely_detached(view, control.clock()):
            self.faults.append(f"{self.loop.now:.3f}: {node.node_id} has a lease and control calls it surely detached")
        elif directory.condition(node.node_id).state in {NodeState.DETACHED, NodeState.GONE}:
            self.faults.append(f"{self.loop.now:.3f}: {node.node_id} has a lease and control calls it cut off")

    # The end

    def _heal(self) -> None:
        """Wait until everything is well, as long as that may take."""
        until = self.loop.now + HEALING_S
        while self.loop.now < until and list(self._unwell()):
            self.loop.run_until(self.loop.now + 1.0)

    def _settle(self) -> None:
        """The fleet has healed: more purges and deploys reach everybody, and everybody serves."""
        for control in self.controls.values():
            before = self.checker.promised
            self.people.last_words(control)
            self.loop.run_until(self.loop.now + 2.5)
            if control.is_up and self.checker.promised == before:
                self.faults.append(f"nothing can be written at {control.name} after healing")
        self._heal()  # who was away late returns steadily, which takes its time
        self.faults += [f"{fault} after healing" for fault in self._unwell()]
        if not self.story.is_rude:
            self.faults += [
                f"{control.name} did not believe nodes: {control.disbelieved}"
                for control in self.controls.values()
                if control.disbelieved
            ]

    def _unwell(self) -> Iterator[str]:
        """Whether every control and every node agree."""
        for control in self.controls.values():
            if not control.is_up or control.plane is None:
                yield f"{control.name} did not come back"
                continue
            plane, directory = control.plane, control.plane.services.directory
            for line in directory.receipt(plane.state.position, 0.0).nodes:
                if line.outcome.value != "applied":
                    yield f"{line.node_id} is {line.outcome.value}, says {control.name},"
            known = {view.node_id for view in directory.nodes()}
            catalog = plane.services.catalog_fold.dump()
            for node_id, node in self.nodes.items():
                if node_id not in known:
                    yield f"{node_id} is not known to {control.name}"
                elif (state := directory.condition(node_id)).state is not NodeState.SERVING:
                    yield f"{node_id} is {state.state.value} ({state.reason.value}), says {control.name},"
                if node.life is not None and node.life.catalog.dump() != catalog:
                    yield f"{node_id} has another catalog than {control.name}"
        for node_id, node in self.nodes.items():
            life = node.life
            if life is None or life.follower is None:
                yield f"{node_id} did not come back"
            elif not life.has_lease():
                yield f"{node_id} has no lease ({life.follower.fault}, {life.follower.stopped})"
            elif self.story.workers > 1 and len(self.processes.listeners(life)) != self.story.workers:
                yield f"{node_id} lacks workers"


@contextmanager
def _patched(network: Network, lines: Lines) -> Iterator[None]:
    """The real classes on simulated disks and lines."""
    logging.disable(logging.CRITICAL)
    with (
        mock.patch("cdn.journal.sqlite.Database", SimulatedDatabase),
        mock.patch("cdn.journal.sqlite._put_in_place", SimulatedDatabase.put_in_place),
        mock.patch("cdn.journal.replica.Database", SimulatedDatabase),
        mock.patch("cdn.journal.replica.RecordTail", SimulatedTail),
        mock.patch("cdn.control.node_memory.Database", SimulatedDatabase),
        mock.patch.object(aiohttp, "ClientSession", side_effect=lambda **_: network.client()),
        mock.patch.object(web, "WebSocketResponse", FarEnd),
        mock.patch("cdn.edge.shield.HttpUpstream", lines.upstream),
    ):
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def play(story: Story, folder: Path) -> Outcome:
    """Let it happen. `folder` is the controls', who keep nothing there that counts."""
    was_collecting = gc.isenabled()
    gc.disable()
    drawn = random.getstate()
    random.seed(story.seed)  # the product draws jitter from it
    try:
        return World(story, folder).run()
    finally:
        random.setstate(drawn)
        if was_collecting:
            gc.enable()
