"""What goes wrong: every kind of event, done to a world."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from cdn.control.plane import ControlPlane
from tests.simulation.story import PULLED, Event, Kind
from tests.simulation.virtual_time import Machine

if TYPE_CHECKING:
    from tests.simulation.control import SimulatedControl
    from tests.simulation.node import SimulatedNode
    from tests.simulation.world import World


CUTS = {
    Kind.CUT: ("up", "down"),
    Kind.CUT_UP: ("up",),
    Kind.CUT_DOWN: ("down",),
    Kind.CUT_SHIELD: ("shield",),
}


def happen(world: World, event: Event) -> None:
    """The moment of the event has come."""
    rng = random.Random(event.detail)
    if event.who in world.nodes:
        _to_node(world, world.nodes[event.who], event, rng)
    elif event.kind in {Kind.RESTORE, Kind.MIGRATE}:
        is_moved = event.kind is Kind.MIGRATE
        world.lose_controls(event.for_s, is_moved=is_moved, to_servers=is_moved or rng.random() < 0.5)
    elif event.who.startswith("control-"):
        if event.who in world.controls:
            _to_control(world, world.controls[event.who], event, rng)
    else:
        world.people.write(event.kind, event.who, rng, event.for_s)


def _to_control(world: World, control: SimulatedControl, event: Event, rng: random.Random) -> None:
    match event.kind:
        case Kind.CONTROL_CRASH:
            world.read_activations()
            control.crash()
            world.disturb(event.for_s)
            world.loop.after(event.for_s, world.start_control, control)
        case Kind.CONTROL_STOP | Kind.CONTROL_SLEEP:
            if control.machine is not None:
                world.disturb(event.for_s)
                _stop(world, [control.machine], event.for_s, sleeps=event.kind is Kind.CONTROL_SLEEP)
        case Kind.CONTROL_AWAY:
            world.disturb(event.for_s)
            control.store.is_away = True
            world.loop.after(event.for_s, setattr, control.store, "is_away", False)
        case Kind.CONTROL_CUT:
            world.disturb(event.for_s)
            control.cut(event.for_s)
        case Kind.CONTROL_CLOCK:
            control.wall_offset_s += rng.choice((-3600.0, 3600.0, 1e7))
        case Kind.SNAPSHOT:
            world.read_activations()
            world.on_control(_save, control)
        case _:
            raise AssertionError(event)


async def _save(plane: ControlPlane) -> None:
    await plane.snapshots.save()


def _to_node(world: World, node: SimulatedNode, event: Event, rng: random.Random) -> None:
    for_s, name = event.for_s, node.node_id
    life, network, loop = node.life, world.network, world.loop
    match event.kind:
        case Kind.CRASH | Kind.POWER:
            world.crash(node, for_s, silently=event.kind is Kind.POWER)
        case Kind.LOSE_COPY:
            if life is not None and node.disk.has(node.replica_path):
                world.crash(node, for_s, silently=False)
                node.disk.lose(node.replica_path)
        case Kind.STOP:
            if life is not None:
                _stop(world, [life.machine], for_s, sleeps=False)
        case Kind.SLEEP | Kind.WORKERS_STOP:
            if life is not None:
                workers = [each.machine for each in world.processes.running(life)]
                _stop(world, [life.machine, *workers], for_s, sleeps=event.kind is Kind.SLEEP)
        case Kind.WORKER_CRASH | Kind.WORKER_STOP:
            running = [] if life is None else world.processes.running(life)
            if running and event.kind is Kind.WORKER_CRASH:
                rng.choice(running).kill()
            elif running:
                _stop(world, [rng.choice(running).machine], for_s, sleeps=False)
        case Kind.CUT | Kind.CUT_UP | Kind.CUT_DOWN | Kind.CUT_ONE | Kind.CUT_SHIELD:
            one = rng.choice(world.story.controls)
            ways = CUTS.get(event.kind, (one,))
            network.cut_off |= {(name, way) for way in ways}
            loop.after(for_s, network.heal, name, ways)
        case Kind.RESET | Kind.HALF_OPEN:
            network.break_lines(name, both=event.kind is Kind.RESET)
        case Kind.AWAY:
            node.store.is_away = True
            world.upstream.is_away.add(name)
            loop.after(for_s, setattr, node.store, "is_away", False)
            loop.after(for_s, world.upstream.is_away.discard, name)
        case Kind.SLOW_DISK:
            node.disk.slowest_s = rng.choice((1.5, 6.0))
            loop.after(for_s, setattr, node.disk, "slowest_s", 0.01)
        case Kind.FULL_DISK:
            node.disk.is_full = True
            loop.after(for_s, setattr, node.disk, "is_full", False)
        case Kind.CLOCK:
            node.wall_offset_s += rng.choice((-3600.0, 3600.0))
        case Kind.SWEEP:
            if life is not None:
                sites = [life.view.catalog.site_named(site) for site in PULLED]
                for site in sites:
                    if site is not None:
                        loop.start(life.machine, life.sweep(site.id)).add_done_callback(world.must_work)
        case Kind.LEAVE:
            if life is not None:
                loop.start(life.machine, life.leave()).add_done_callback(world.must_work)
                loop.after(for_s, world.crash_life, node, life)
        case _:
            raise AssertionError(event)


def _stop(world: World, machines: list[Machine], for_s: float, *, sleeps: bool) -> None:
    for machine in machines:
        if not machine.is_stopped:
            world.loop.stop_machine(machine)
            world.loop.after(for_s, world.loop.resume, machine, for_s if sleeps else 0.0)
