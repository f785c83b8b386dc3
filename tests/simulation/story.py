"""What happens in a run, drawn from a seed: a line for each event, so that a failing run can be read and shortened."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

EVENTS_S = 12.0
"""For so long things go wrong."""

NODES = ("edge-1", "edge-2", "edge-3")
BUNDLES = ("bundle-serve", "bundle-validate")
PULLED = ("pull-serve", "pull-validate")


class Kind(Enum):
    """`who` is a node, a site, or nothing; `for_s` how long it lasts."""

    PURGE = "purge"
    SOFT_PURGE = "soft purge"
    PUBLISH = "owner publishes without a purge"
    DEPLOY = "deploy"
    FLIP = "on_detach is changed"
    CRASH = "process killed"
    POWER = "power lost"
    STOP = "stopped (SIGSTOP)"
    SLEEP = "machine suspended"
    CUT = "cut off from control"
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
    CONTROL_CRASH = "control killed"
    CONTROL_STOP = "control stopped (SIGSTOP)"
    CONTROL_SLEEP = "control's machine suspended"
    CONTROL_AWAY = "control cannot reach the store"
    CONTROL_CLOCK = "control's wall clock jumps"
    SNAPSHOT = "control saves a snapshot and trims"


WRITES = (Kind.PURGE,) * 6 + (Kind.DEPLOY,) * 4 + (Kind.SOFT_PURGE, Kind.PUBLISH, Kind.FLIP)
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
TO_CONTROL = (
    *(Kind.CONTROL_CRASH, Kind.CONTROL_STOP, Kind.CONTROL_SLEEP, Kind.CONTROL_AWAY, Kind.CONTROL_CLOCK),
    *(Kind.SNAPSHOT, Kind.SNAPSHOT),
)


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
    """A seed and what it makes happen."""

    seed: int
    nodes: tuple[str, ...]
    is_rude: bool
    slowest_s: float
    events: tuple[Event, ...]

    def __str__(self) -> str:
        lines = "lose, repeat and reorder messages" if self.is_rude else "are as TCP makes them"
        head = f"seed {self.seed}: {len(self.nodes)} nodes, frames take up to {self.slowest_s:.2f} s, lines {lines}"
        return "\n".join([head, *(str(event) for event in self.events)])


def story_of(seed: int) -> Story:
    """The same seed, the same story."""
    rng = random.Random(seed)
    nodes = NODES[: rng.choice((2, 2, 3))]
    events = []
    for _ in range(rng.randint(6, 14)):
        kind = rng.choice(WRITES)
        sites = {Kind.DEPLOY: BUNDLES, Kind.FLIP: BUNDLES + PULLED}.get(kind, PULLED)
        who = rng.choice(sites)
        events.append(_event(rng, kind, who, 0.0))
    for _ in range(rng.randint(1, 7)):
        events.append(_event(rng, rng.choice(TO_NODES), rng.choice(nodes), _length(rng)))
    for _ in range(rng.choice((0, 0, 1, 2))):
        kind = rng.choice(TO_CONTROL)
        events.append(_event(rng, kind, "control", _length(rng)))
    slowest_s = rng.choice((0.005, 0.05, 0.3))
    return Story(seed, nodes, rng.random() < 0.15, slowest_s, tuple(sorted(events, key=lambda event: event.at)))


def _event(rng: random.Random, kind: Kind, who: str, for_s: float) -> Event:
    return Event(round(rng.uniform(1.5, EVENTS_S), 2), kind, who, for_s, rng.randrange(1 << 30))


def _length(rng: random.Random) -> float:
    return round(rng.choice((rng.uniform(0.05, 1.0), rng.uniform(1.0, 5.0), rng.uniform(4.5, 8.0))), 2)
