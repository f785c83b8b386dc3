"""What happens in a run, drawn from a seed: a line for each event, so that a failing run can be read and shortened."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

EVENTS_S = 12.0
"""For so long things go wrong."""

NODES = ("edge-1", "edge-2", "edge-3")
CONTROLS = ("control-1", "control-2", "control-3")
BUNDLES = ("bundle-serve", "bundle-validate")
PULLED = ("pull-serve", "pull-validate", "pull-short")


class Kind(Enum):
    """`who` is a node, a control, a site, or nothing; `for_s` how long it lasts."""

    PURGE = "purge"
    SOFT_PURGE = "soft purge"
    PUBLISH = "owner publishes without a purge"
    DEPLOY = "deploy"
    FLIP = "on_detach is changed"
    MOVE = "another upstream is named, which purges"
    REMOVE = "removed, and created anew by the same name"
    CRASH = "process killed"
    POWER = "power lost"
    STOP = "stopped (SIGSTOP)"
    SLEEP = "machine suspended"
    CUT = "cut off from every control"
    CUT_ONE = "cut off from one control"
    CUT_UP = "cannot send to control"
    CUT_DOWN = "hears nothing from control"
    RESET = "connection reset"
    HALF_OPEN = "connection ends, only the node hears of it"
    AWAY = "store and upstream do not answer it"
    SLOW_DISK = "disk is slow"
    FULL_DISK = "disk is full"
    LOSE_COPY = "killed, and its copy of the journal is lost"
    CLOCK = "wall clock jumps"
    SWEEP = "sweeps"
    LEAVE = "leaves and comes back"
    CUT_SHIELD = "cut off from other nodes"
    WORKER_CRASH = "a worker killed"
    WORKER_STOP = "a worker stopped (SIGSTOP)"
    WORKERS_STOP = "node and workers stopped (SIGSTOP)"
    CONTROL_CRASH = "killed"
    CONTROL_STOP = "control stopped (SIGSTOP)"
    CONTROL_SLEEP = "control's machine suspended"
    CONTROL_AWAY = "control cannot reach the store"
    CONTROL_CUT = "control cannot reach the journal"
    CONTROL_CLOCK = "control's wall clock jumps"
    SNAPSHOT = "control saves a snapshot and trims"
    RESTORE = "every control and journal lost; restored from the store"
    MIGRATE = "control is stopped, and its journal moved to servers"


WRITES = (Kind.PURGE,) * 12 + (Kind.DEPLOY,) * 8 + (Kind.SOFT_PURGE, Kind.PUBLISH, Kind.FLIP) * 2
RARE_WRITES = (Kind.MOVE, Kind.REMOVE)
TO_NODES = (
    *(
        Kind.CRASH,
        Kind.CRASH,
        Kind.POWER,
        Kind.STOP,
        Kind.STOP,
        Kind.SLEEP,
        Kind.CUT,
        Kind.CUT,
        Kind.CUT_UP,
        Kind.CUT_DOWN,
    ),
    *(Kind.RESET, Kind.HALF_OPEN, Kind.AWAY, Kind.SLOW_DISK, Kind.FULL_DISK, Kind.LOSE_COPY, Kind.CLOCK, Kind.SWEEP),
    Kind.LEAVE,
)
TO_WORKERS = (Kind.WORKER_CRASH, Kind.WORKER_STOP, Kind.WORKER_STOP, Kind.WORKERS_STOP)
TO_CONTROL = (
    *(Kind.CONTROL_CRASH, Kind.CONTROL_STOP, Kind.CONTROL_SLEEP, Kind.CONTROL_AWAY, Kind.CONTROL_CLOCK),
    *(Kind.SNAPSHOT, Kind.SNAPSHOT),
)
TO_ONE_CONTROL = (*TO_CONTROL, Kind.CONTROL_CRASH, Kind.CONTROL_CUT, Kind.CONTROL_CUT)


@dataclass(frozen=True, slots=True)
class Event:
    """`detail` is a number of the event's own, for what it draws."""

    at: float
    kind: Kind
    who: str
    for_s: float
    detail: int

    def __str__(self) -> str:
        lasts = f" for {self.for_s:.1f} s" if self.for_s else ""
        return f"{self.at:6.2f}  {self.who:<16} {self.kind.value}{lasts}"


@dataclass(frozen=True, slots=True)
class Story:
    """A seed and what it makes happen. `workers` of each node, 1: none beside it. Several controls share a journal."""

    seed: int
    nodes: tuple[str, ...]
    is_rude: bool
    slowest_s: float
    events: tuple[Event, ...]
    workers: int = 1
    controls: tuple[str, ...] = CONTROLS[:1]
    slowest_pipe_s: float = 0.001
    shield: str | None = None

    def __str__(self) -> str:
        lines = "lose, repeat and reorder messages" if self.is_rude else "are as TCP makes them"
        workers = f" of {self.workers} workers over pipes of up to {self.slowest_pipe_s:.3f} s" * (self.workers > 1)
        head = (
            f"seed {self.seed}: {len(self.nodes)} nodes{workers}, {len(self.controls)} controls, frames take up to "
            f"{self.slowest_s:.2f} s, lines {lines}" + f", {self.shield} is the shield" * (self.shield is not None)
        )
        return "\n".join([head, *(str(event) for event in self.events)])


def story_of(seed: int) -> Story:
    """The same seed, the same story."""
    rng = random.Random(seed)
    nodes = NODES[: rng.choice((2, 2, 3))]
    workers = rng.choice((1, 1, 1, 2, 2, 3))
    controls = CONTROLS[: rng.choice((1, 1, 1, 2, 2, 3))]
    events = []
    for _ in range(rng.randint(6, 14)):
        events.append(_event(rng, *_write(rng, WRITES), 0.0))
    if rng.random() < 0.25:
        events.append(_event(rng, *_write(rng, RARE_WRITES), round(rng.uniform(0.1, 3.0), 2)))
    for _ in range(rng.randint(1, 7)):
        kinds = TO_NODES if workers == 1 else TO_NODES + TO_WORKERS * 2
        kinds = kinds if len(controls) == 1 else (*kinds, Kind.CUT_ONE, Kind.CUT_ONE)
        events.append(_event(rng, rng.choice(kinds), rng.choice(nodes), _length(rng)))
    shield = nodes[-1] if rng.random() < 0.3 else None
    for _ in range(rng.choice((0, 1, 2)) if shield is not None else 0):
        kind = rng.choice((Kind.CUT_SHIELD, Kind.CUT, Kind.CUT_DOWN, Kind.SLOW_DISK, Kind.STOP))
        events.append(_event(rng, kind, nodes[-1], _length(rng)))
    to_control = TO_CONTROL if len(controls) == 1 else TO_ONE_CONTROL
    for _ in range(rng.choice((0, 0, 1, 2) if len(controls) == 1 else (0, 1, 2, 3))):
        events.append(_event(rng, rng.choice(to_control), rng.choice(controls), _length(rng)))
    if rng.random() < 0.12:
        kind = rng.choice((Kind.RESTORE, Kind.MIGRATE) if len(controls) == 1 else (Kind.RESTORE,))
        events.append(_event(rng, kind, "control", round(rng.uniform(6.0, 9.0), 2)))
    slowest_s = rng.choice((0.005, 0.05, 0.3))
    return Story(
        seed,
        nodes,
        rng.random() < 0.15,
        slowest_s,
        tuple(sorted(events, key=lambda event: event.at)),
        workers,
        controls,
        rng.choice((0.001, 0.02, 0.3)),
        shield,
    )


def _write(rng: random.Random, kinds: tuple[Kind, ...]) -> tuple[Kind, str]:
    kind = rng.choice(kinds)
    sites: tuple[str, ...]
    match kind:
        case Kind.DEPLOY:
            sites = BUNDLES
        case Kind.FLIP | Kind.REMOVE:
            sites = BUNDLES + PULLED
        case Kind.PUBLISH:
            sites = PULLED[2:]
        case _:
            sites = PULLED
    return kind, rng.choice(sites)


def _event(rng: random.Random, kind: Kind, who: str, for_s: float) -> Event:
    return Event(round(rng.uniform(1.5, EVENTS_S), 2), kind, who, for_s, rng.randrange(1 << 30))


def _length(rng: random.Random) -> float:
    return round(rng.choice((rng.uniform(0.05, 1.0), rng.uniform(1.0, 5.0), rng.uniform(4.5, 8.0))), 2)
