"""Puts a fleet together on virtual time, lets a story happen to it, and looks whether it kept its word and heals."""

from __future__ import annotations

import asyncio
import gc
import json
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

from cdn.control.deploys import Deploys, Proposal
from cdn.control.node_directory import NodeDirectory
from cdn.control.plane import ControlPlane
from cdn.control.schema import ReceiptView
from cdn.control.settings import ControlSettings
from cdn.errors import CdnError, NotFound
from cdn.fleet.condition import NodeState
from cdn.fleet.node import is_surely_detached
from cdn.fleet.position import Position
from cdn.journal.record import DeployActivated, Purged, PurgeScope, Record, SiteChanged, SiteCreated, decode_record
from cdn.journal.sqlite import SqliteJournal
from cdn.origin.layout import activation_key
from cdn.sites.manifest import FileEntry, Manifest
from cdn.sites.settings import OnDetach, SiteSettings, recorded_settings, settings_from
from tests.simulation.checker import Checker, Promise
from tests.simulation.disk import Disk, SimulatedDatabase
from tests.simulation.network import End, Network, Request
from tests.simulation.node import ALIAS, TAGS, SimulatedNode
from tests.simulation.store import Objects, SimulatedStore
from tests.simulation.story import BUNDLES, EVENTS_S, PULLED, Event, Kind, Story
from tests.simulation.upstream import SimulatedUpstream
from tests.simulation.virtual_time import Machine, VirtualLoop

HEARTBEAT_S = 1.3
LEASE_S = 4.0
HEALING_S = 9.0
"""From when nothing goes wrong any more until everything has to be well."""
LOOK_EVERY_S = 1.2
RECEIPT_ATTEMPTS = 3
JOURNAL = Path("control/journal.db")
SETTINGS = {
    "bundle-serve": SiteSettings(prepare_timeout_s=1.0),
    "bundle-validate": SiteSettings(prepare_timeout_s=1.0, on_detach=OnDetach.VALIDATE),
    "pull-serve": SiteSettings(origin=settings_from({"origin": "https://serve.example"}).origin),
    "pull-validate": SiteSettings(
        origin=settings_from({"origin": "https://validate.example"}).origin, on_detach=OnDetach.VALIDATE
    ),
}


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
        self.rng = random.Random(f"{story.seed} world")
        self.loop = VirtualLoop(random.Random(f"{story.seed} loop"))
        self.network = Network(self.loop, story.seed, is_rude=story.is_rude, slowest_s=story.slowest_s)
        self.objects = Objects()
        self.upstream = SimulatedUpstream()
        self.checker = Checker()
        self.promises = 0
        self.is_over = False
        self.faults: list[str] = []
        self.control_disk = Disk(self.loop, random.Random(f"{story.seed} control disk"))
        self.control_store = SimulatedStore(self.objects, random.Random(f"{story.seed} control store"))
        self.control_wall_offset_s = 1_700_000_000.0
        self.settings = ControlSettings(
            "cdn.localhost",
            data_dir,
            heartbeat_s=HEARTBEAT_S,
            detach_after_s=LEASE_S,
            keep_records=5,
            snapshot_every_records=60,
            archive_interval_s=1.0,
        )
        self.plane: ControlPlane | None = None
        self.control: Machine | None = None
        self.nodes = {node_id: self._node(node_id) for node_id in story.nodes}
        self.acknowledged: dict[int, str] = {}
        SimulatedDatabase.disks = {"control": self.control_disk} | {
            one.node_id: one.disk for one in self.nodes.values()
        }

    def _node(self, node_id: str) -> SimulatedNode:
        def rng(what: str) -> random.Random:
            return random.Random(f"{self.story.seed} {node_id} {what}")

        store = SimulatedStore(self.objects, rng("store"))
        return SimulatedNode(node_id, self.loop, rng("node"), Disk(self.loop, rng("disk")), store, self.upstream)

    def run(self) -> Outcome:
        with _patched(self.network):
            try:
                self._run()
            finally:
                self.is_over, steps = True, self.loop.steps
                self.loop.close_down()
                for disk in SimulatedDatabase.disks.values():
                    disk.close()
        faults = (*self.faults, *self.checker.stale)
        return Outcome(self.story, faults, self.promises, self.checker.answers, self.checker.judged, steps)

    def _run(self) -> None:
        self._start_control(is_first=True)
        self.loop.run_until(1.0)
        for node in self.nodes.values():
            self._boot(node)
            self._look_around(node)
        for event in self.story.events:
            self.loop.after(event.at - self.loop.now, self._happens, event)
        self.loop.run_until(EVENTS_S)
        last_over = max((event.at + event.for_s for event in self.story.events), default=EVENTS_S)
        self.loop.run_until(max(EVENTS_S, last_over) + 0.5)
        self.network.break_lines(None)
        self.network.is_rude, self.network.slowest_s = False, 0.01
        self.loop.run_until(self.loop.now + HEALING_S)
        self._settle()
        self.faults += self.loop.faults

    # Control

    def control_clock(self) -> float:
        return self.loop.now if self.control is None else self.loop.now - self.control.slept_s

    def _start_control(self, *, is_first: bool = False) -> None:
        machine = self.control = Machine("control")
        self.loop.start(machine, self._run_control(machine, is_first=is_first)).add_done_callback(self._must_work)

    async def _run_control(self, machine: Machine, *, is_first: bool) -> None:
        def wall() -> float:
            return self.control_wall_offset_s + self.loop.now

        while True:
            try:
                journal = await SqliteJournal.open(JOURNAL, clock=wall)
                directory = await NodeDirectory.open(Path("control/nodes.db"), clock=self.control_clock, wall=wall)
                plane = ControlPlane(
                    self.settings,
                    journal,
                    self.control_store,
                    directory,
                    clock=wall,
                    monotonic=self.control_clock,
                )
                await plane.start()
                break
            except CdnError:
                await asyncio.sleep(0.5)
        if is_first:
            for node in self.nodes.values():
                node.token = await plane.create_token((f"node:{node.node_id}",), note="")
            for name, settings in SETTINGS.items():
                created = SiteCreated(name, name, recorded_settings(settings))
                await plane.state.append_always(f"site/{name}", created, "tester")
        for sequence, subject in self.acknowledged.items():
            if sequence > plane.state.position.sequence:
                self.faults.append(f"control starts without the acknowledged record {sequence} ({subject})")
        self.plane = plane
        self.network.control, self.network.serve = machine, plane.hub.handle

    def _crash_control(self, for_s: float) -> None:
        machine = self.control
        if machine is None or machine.is_dead:
            return
        self._read_activations()
        self.loop.kill(machine)
        self.network.died(machine, silently=False)
        self.control_disk.crash()
        self.plane = None
        self.loop.after(for_s, self._start_control)

    def _on_control(self, coro: Callable[[ControlPlane], Coroutine[Any, Any, None]]) -> None:
        plane, machine = self.plane, self.control
        if plane is None or machine is None or machine.is_dead:
            return
        self.loop.start(machine, coro(plane)).add_done_callback(self._must_work)

    def _must_work(self, task: asyncio.Task[Any]) -> None:
        exc = None if task.cancelled() else task.exception()
        if exc is not None and not isinstance(exc, CdnError):
            self.faults.append(f"{self.loop.now:.3f}: {exc!r}")

    # Nodes

    def _boot(self, node: SimulatedNode) -> None:
        life = node.boot()
        self.network.nodes[node.node_id] = life.machine
        self.loop.start(life.machine, life.run()).add_done_callback(self._must_work)

    def _crash(self, node: SimulatedNode, for_s: float, *, silently: bool) -> None:
        life = node.life
        if life is None:
            return
        self.loop.kill(life.machine)
        self.network.died(life.machine, silently=silently)
        node.disk.crash()
        node.life = None
        self.loop.after(for_s, self._boot_again, node)

    def _boot_again(self, node: SimulatedNode) -> None:
        if node.life is None:
            self._boot(node)

    def _look_around(self, node: SimulatedNode) -> None:
        """Visitors come all the time."""
        if self.is_over:
            return
        site_id = self.rng.choice(BUNDLES + PULLED)
        self._visit(node, site_id, self.rng.choice(tuple(TAGS)) if site_id in PULLED else "/a")
        self.loop.after(LOOK_EVERY_S * self.rng.uniform(0.5, 1.5), self._look_around, node)

    def _visit(self, node: SimulatedNode, site_id: str, path: str) -> None:
        life = node.life
        if life is None:
            return

        async def visit() -> None:
            asked_at = self.loop.now
            self._compare_lease(node)
            answer = await life.visit(site_id, path)
            if isinstance(answer.value, str) and answer.value not in self.checker.activations:
                self._read_activations()
            self.checker.judge(node.node_id, (site_id, path), asked_at, answer)

        self.loop.start(life.machine, visit()).add_done_callback(self._must_work)

    def _compare_lease(self, node: SimulatedNode) -> None:
        """What control calls detached holds no lease."""
        life, plane = node.life, self.plane
        if life is None or plane is None or not life.has_lease():
            return
        directory = plane.services.directory
        try:
            view = directory.node(node.node_id)
        except NotFound:
            self.faults.append(f"{self.loop.now:.3f}: {node.node_id} has a lease and control does not know it")
            return
        if is_surely_detached(view, self.control_clock()):
            self.faults.append(f"{self.loop.now:.3f}: {node.node_id} has a lease and control calls it surely detached")
        elif directory.condition(node.node_id).state in {NodeState.DETACHED, NodeState.GONE}:
            self.faults.append(f"{self.loop.now:.3f}: {node.node_id} has a lease and control calls it cut off")

    # What people do

    async def _purge(self, plane: ControlPlane, site_id: str, rng: random.Random, *, soft: bool) -> None:
        kind, value, paths = rng.choice(
            [
                ("url", "/a", ("/a",)),
                ("url", "/b", ("/b",)),
                ("prefix", "/", tuple(TAGS)),
                ("tag", "news", ("/a",)),
                ("everything", "", tuple(TAGS)),
            ]
        )
        for path in paths:
            self.upstream.versions[site_id, path] += 1
        promised = {(site_id, path): self.upstream.versions[site_id, path] for path in paths}
        change = Purged(site_id, (PurgeScope(kind, value),), soft)
        record = await plane.state.append_always(f"purge/{site_id}", change, "tester")
        await self._acknowledge(plane, record, site_id, promised, rng, soft=soft)

    async def _deploy(self, plane: ControlPlane, site_id: str, rng: random.Random) -> None:
        services = plane.services
        digest = f"{rng.getrandbits(256):064x}"
        site = services.site_named(site_id)
        services.proofs.add(site_id, digest, 10)
        manifest = Manifest({"/index.html": FileEntry(digest, 10)})
        activation = await Deploys(services).create(Proposal(site, ALIAS, manifest, "tester", ""), "tester")
        self._read_activations()
        record = activation.record
        promised = {(site_id, path): record.sequence for path in TAGS}
        await self._acknowledge(plane, record, site_id, promised, rng, soft=False)

    async def _acknowledge(
        self,
        plane: ControlPlane,
        record: Record,
        site_id: str,
        promised: dict[tuple[str, str], int],
        rng: random.Random,
        *,
        soft: bool,
    ) -> None:
        """Wait for receipts as a caller does; each is taken by its word."""
        self.acknowledged[record.sequence] = record.subject
        for _ in range(RECEIPT_ATTEMPTS):
            receipt = await plane.services.receipt(record, rng.choice((0.0, 1.0, 8.0)))
            self._believe(plane, receipt, record, site_id, promised, soft=soft)
            if receipt.complete:
                return
            await asyncio.sleep(rng.uniform(0.1, 4.0))

    def _believe(
        self,
        plane: ControlPlane,
        receipt: ReceiptView,
        record: Record,
        site_id: str,
        promised: dict[tuple[str, str], int],
        *,
        soft: bool,
    ) -> None:
        site = plane.services.site_named(site_id)
        by_outcome: dict[str, set[str]] = {"applied": set(), "fenced": set(), "excused": set(), "pending": set()}
        for line in receipt.nodes:
            by_outcome[line.outcome].add(line.node)
        if receipt.complete and by_outcome["pending"]:
            self.faults.append(f"a receipt for {record.sequence} is complete and names pending nodes")
        excused = frozenset(by_outcome["excused"])
        is_validated = site.settings.validates_on_detach and self._is_told(record, site_id)
        for key, value in promised.items():
            promise = Promise(
                at=self.loop.now,
                sequence=record.sequence,
                value=value,
                exempt=frozenset() if is_validated else excused,
                unaware=excused if is_validated else frozenset(),
                settings_sequence=site.settings_sequence,
                only=None if receipt.complete else frozenset(by_outcome["applied"] | by_outcome["fenced"]),
                is_soft=soft,
            )
            self.checker.promise(key, promise)
            self.promises += 1
        for delay_s in (0.0, 0.2, 1.5):
            self.loop.after(delay_s, self._visit_all, site_id, next(iter(promised))[1])

    def _is_told(self, record: Record, site_id: str) -> bool:
        """Whether nodes that control cannot reach can know of the record: of a deploy by its pointer."""
        if not isinstance(record.change, DeployActivated):
            return True
        found = self.objects.content.get(activation_key(site_id, ALIAS))
        if found is None:
            return False
        told = json.loads(found[0])["position"]
        return Position(told["epoch"], told["sequence"]).covers(record.position)

    def _visit_all(self, site_id: str, path: str) -> None:
        for node in self.nodes.values():
            self._visit(node, site_id, path)

    async def _flip(self, plane: ControlPlane, site_id: str) -> None:
        def changed() -> SiteChanged:
            settings = recorded_settings(plane.services.site_named(site_id).settings)
            if settings.pop("on_detach", None) is None:
                settings["on_detach"] = "validate"
            return SiteChanged(site_id, settings)

        record = await plane.state.append(f"site/{site_id}", changed, "tester")
        self.acknowledged[record.sequence] = record.subject

    def _read_activations(self) -> None:
        """What was activated when, as it stands on control's disk."""
        if not self.control_disk.has(JOURNAL):
            return
        rows = self.control_disk.open(JOURNAL, "").execute("SELECT content FROM record").fetchall()
        for (raw,) in rows:
            record = decode_record(raw)
            if isinstance(record.change, DeployActivated):
                self.checker.activations[record.change.deploy_id] = record.sequence

    # What goes wrong

    def _happens(self, event: Event) -> None:
        rng = random.Random(event.detail)
        node = self.nodes.get(event.who)
        if node is not None:
            self._happens_to(node, event, rng)
            return
        match event.kind:
            case Kind.PURGE | Kind.SOFT_PURGE:
                soft = event.kind is Kind.SOFT_PURGE
                self._on_control(lambda plane: self._purge(plane, event.who, rng, soft=soft))
            case Kind.PUBLISH:
                self.upstream.versions[event.who, rng.choice(tuple(TAGS))] += 1
            case Kind.DEPLOY:
                self._on_control(lambda plane: self._deploy(plane, event.who, rng))
            case Kind.FLIP:
                self._on_control(lambda plane: self._flip(plane, event.who))
            case Kind.CONTROL_CRASH:
                self._crash_control(event.for_s)
            case Kind.CONTROL_STOP | Kind.CONTROL_SLEEP:
                if self.control is not None:
                    self._stop(self.control, event.for_s, sleeps=event.kind is Kind.CONTROL_SLEEP)
            case Kind.CONTROL_AWAY:
                self.control_store.is_away = True
                self.loop.after(event.for_s, setattr, self.control_store, "is_away", False)
            case Kind.CONTROL_CLOCK:
                self.control_wall_offset_s += rng.choice((-3600.0, 3600.0, 1e7))
            case Kind.SNAPSHOT:
                self._read_activations()
                self._on_control(lambda plane: plane.snapshots.save())
            case _:
                raise AssertionError(event)

    def _happens_to(self, node: SimulatedNode, event: Event, rng: random.Random) -> None:
        for_s, name = event.for_s, node.node_id
        life = node.life
        match event.kind:
            case Kind.CRASH | Kind.POWER:
                self._crash(node, for_s, silently=event.kind is Kind.POWER)
            case Kind.LOSE_COPY:
                if node.life is not None and node.disk.has(node.replica_path):
                    self._crash(node, for_s, silently=False)
                    node.disk.lose(node.replica_path)
            case Kind.STOP | Kind.SLEEP:
                if life is not None:
                    self._stop(life.machine, for_s, sleeps=event.kind is Kind.SLEEP)
            case Kind.CUT | Kind.CUT_UP | Kind.CUT_DOWN:
                ways = {Kind.CUT: ("up", "down"), Kind.CUT_UP: ("up",), Kind.CUT_DOWN: ("down",)}[event.kind]
                self.network.cut_off |= {(name, way) for way in ways}
                self.loop.after(for_s, self.network.heal, name, ways)
            case Kind.RESET | Kind.HALF_OPEN:
                self.network.break_lines(name, both=event.kind is Kind.RESET)
            case Kind.AWAY:
                node.store.is_away = True
                self.upstream.is_away.add(name)
                self.loop.after(for_s, setattr, node.store, "is_away", False)
                self.loop.after(for_s, self.upstream.is_away.discard, name)
            case Kind.SLOW_DISK:
                node.disk.slowest_s = 1.5
                self.loop.after(for_s, setattr, node.disk, "slowest_s", 0.01)
            case Kind.FULL_DISK:
                node.disk.is_full = True
                self.loop.after(for_s, setattr, node.disk, "is_full", False)
            case Kind.CLOCK:
                node.wall_offset_s += rng.choice((-3600.0, 3600.0))
            case Kind.SWEEP:
                if life is not None:
                    for site_id in PULLED:
                        self.loop.start(life.machine, life.sweep(site_id)).add_done_callback(self._must_work)
            case Kind.LEAVE:
                if life is not None:
                    self.loop.start(life.machine, life.leave())
                    self.loop.after(for_s, lambda: self._crash(node, 0.1, silently=False))
            case _:
                raise AssertionError(event)

    def _stop(self, machine: Machine, for_s: float, *, sleeps: bool) -> None:
        if not machine.is_stopped:
            self.loop.stop_machine(machine)
            self.loop.after(for_s, self.loop.resume, machine, for_s if sleeps else 0.0)

    # The end

    def _settle(self) -> None:
        """The fleet has healed: one more purge and deploy reach everybody, and everybody serves."""
        plane = self.plane
        if plane is None:
            self.faults.append("control did not come back")
            return
        rng = random.Random(0)
        before = self.promises
        self._on_control(lambda plane: self._purge(plane, "pull-serve", rng, soft=False))
        self._on_control(lambda plane: self._deploy(plane, "bundle-validate", rng))
        self.loop.run_until(self.loop.now + 3.0)
        if self.promises == before:
            self.faults.append("nothing can be written after healing")
        end = plane.state.position
        for line in plane.services.directory.receipt(end, 0.0).nodes:
            if line.outcome.value != "applied":
                self.faults.append(f"{line.node_id} is {line.outcome.value} after healing")
        for node in self.nodes.values():
            life = node.life
            if life is None or life.follower is None:
                self.faults.append(f"{node.node_id} did not come back")
                continue
            if not life.has_lease():
                self.faults.append(
                    f"{node.node_id} has no lease after healing: {life.follower.fault}, {life.follower.stopped}"
                )
            if life.catalog.dump() != plane.services.catalog_fold.dump():
                self.faults.append(f"{node.node_id} has another catalog than control after healing")
            if all(view.node_id != node.node_id for view in plane.services.directory.nodes()):
                self.faults.append(f"{node.node_id} is not known to control after healing")
                continue
            state = plane.services.directory.condition(node.node_id)
            if state.state is not NodeState.SERVING:
                self.faults.append(f"{node.node_id} is {state.state.value} ({state.reason.value}) after healing")


@contextmanager
def _patched(network: Network) -> Iterator[None]:
    """The real classes on simulated disks and lines."""
    logging.disable(logging.CRITICAL)
    with (
        mock.patch("cdn.journal.sqlite.Database", SimulatedDatabase),
        mock.patch("cdn.journal.replica.Database", SimulatedDatabase),
        mock.patch("cdn.control.node_memory.Database", SimulatedDatabase),
        mock.patch.object(aiohttp, "ClientSession", side_effect=lambda **_: network.client()),
        mock.patch.object(web, "WebSocketResponse", FarEnd),
    ):
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


class FarEnd:
    """aiohttp.web.WebSocketResponse: the far end of the line on which the request came."""

    def __init__(self, **_: object) -> None:
        self._end: End | None = None

    @property
    def prepared(self) -> bool:
        return self._end is not None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)

    async def prepare(self, request: Request) -> None:
        self._end = request.end
        request.accept(request.end)


def play(story: Story, folder: Path) -> Outcome:
    """Let it happen. `folder` is control's, who keeps nothing there that counts."""
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
