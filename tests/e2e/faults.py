"""What is done to a fleet of real processes, as a table: each fault has a name, a way in and a way out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum

import nats

from tests.e2e.cut_proxy import BOTH_WAYS, CutProxy, Direction, Spoiler
from tests.e2e.fault_field import EDGES, NAMER, ZONE, CallFailed, Field
from tests.e2e.spoilers import UNAVAILABLE

ALL = frozenset(EDGES)
NATS = ("n1", "n2", "n3")
NOBODY: frozenset[str] = frozenset()
CONTROLS = ("c1", "c2")

Step = Callable[[Field], Awaitable[None]]


class Need(Enum):
    """What a fault needs of the fleet."""

    CLUSTER = "control replicas over NATS"
    STORE = "a store that is reached over a line"
    DISK = "a small disk"
    CLOCK = "a wall clock of its own"


@dataclass(frozen=True, slots=True)
class Fault:
    """`touches` are the parts that it happens to: faults that touch different parts may come together.

    `hurts`: whose visitors may be refused meanwhile; `refuses`: where that must be seen. `detaches`: who must say that
    it has no lease, and be seen to be excused and fenced, before it heals. `freezes`: who cannot say so. `hangs`:
    controls that answer nobody. `stops_writes`: nobody has to get a change through. `holds_s`: how long it lasts at
    least.
    """

    name: str
    inject: Step
    heal: Step
    touches: frozenset[str]
    hurts: frozenset[str] = NOBODY
    refuses: frozenset[str] = NOBODY
    detaches: frozenset[str] = NOBODY
    freezes: frozenset[str] = NOBODY
    hangs: frozenset[str] = NOBODY
    stops_writes: bool = False
    holds_s: float = 0.5
    needs: frozenset[Need] = frozenset()


def killed(*names: str, hurts: frozenset[str] = NOBODY, stops_writes: bool = False, holds_s: float = 0.5) -> Fault:
    """`kill -9`, and later a new start over the same files."""

    async def inject(field: Field) -> None:
        await asyncio.gather(*(field.kill(name) for name in names))

    async def heal(field: Field) -> None:
        await asyncio.gather(*(field.start_again(name) for name in names))

    own = frozenset(names) & {*EDGES, NAMER}
    return Fault(
        f"kill -9 of {' and '.join(names)}",
        inject,
        heal,
        frozenset(names),
        hurts=hurts | own,
        stops_writes=stops_writes,
        holds_s=holds_s,
        needs=_needs(names),
    )


def frozen(
    *names: str,
    hurts: frozenset[str] = NOBODY,
    detaches: frozenset[str] = NOBODY,
    stops_writes: bool = False,
    holds_s: float = 3.0,
) -> Fault:
    """SIGSTOP for longer than a lease, and SIGCONT."""

    async def inject(field: Field) -> None:
        for name in names:
            field.freeze(name)

    async def heal(field: Field) -> None:
        for name in names:
            field.thaw(name)

    own = frozenset(names) & ALL
    return Fault(
        f"SIGSTOP of {' and '.join(names)}",
        inject,
        heal,
        frozenset(names),
        hurts=hurts | own,
        detaches=detaches | own,
        freezes=own,
        hangs=frozenset(names) & frozenset(CONTROLS),
        stops_writes=stops_writes,
        holds_s=holds_s,
        needs=_needs(names),
    )


def node_process_killed(name: str) -> Fault:
    """Only the process that was started: its workers have nobody any more."""

    async def inject(field: Field) -> None:
        await field.kill_first(name)

    async def heal(field: Field) -> None:
        await field.start_again(name)

    return Fault(f"kill -9 of {name} without its workers", inject, heal, frozenset({name}), hurts=frozenset({name}))


def worker_killed(name: str) -> Fault:
    """One of its workers; the node starts another by itself."""

    async def inject(field: Field) -> None:
        os.kill(field.workers(name)[0], signal.SIGKILL)

    return Fault(f"kill -9 of a worker of {name}", inject, nothing, frozenset({name}), hurts=frozenset({name}))


def worker_frozen(name: str) -> Fault:
    """One of its workers hangs, and goes on long after the others know more."""
    frozen_workers: list[int] = []

    async def inject(field: Field) -> None:
        frozen_workers[:] = [os.pidfd_open(field.workers(name)[0])]
        signal.pidfd_send_signal(frozen_workers[0], signal.SIGSTOP)

    async def heal(field: Field) -> None:
        with contextlib.suppress(ProcessLookupError):  # it was replaced
            signal.pidfd_send_signal(frozen_workers[0], signal.SIGCONT)
        os.close(frozen_workers[0])

    own = frozenset({name})
    return Fault(f"SIGSTOP of a worker of {name}", inject, heal, own, hurts=own, freezes=own, holds_s=4.0)


async def nothing(field: Field) -> None:
    """It heals by itself."""


def line_fault(
    what: str,
    harm: Callable[[CutProxy], None],
    near: Iterable[str],
    far: Iterable[str],
    *,
    hurts: frozenset[str] = NOBODY,
    refuses: frozenset[str] = NOBODY,
    detaches: frozenset[str] = NOBODY,
    stops_writes: bool = False,
    holds_s: float = 3.0,
) -> Fault:
    """Something happens to every line from one of `near` to one of `far`."""
    near, far = tuple(near), tuple(far)

    async def inject(field: Field) -> None:
        for line in field.lines_of(near, far):
            harm(line)

    async def heal(field: Field) -> None:
        for line in field.lines_of(near, far):
            line.mend()

    return Fault(
        f"{what} between {'+'.join(near)} and {'+'.join(far)}",
        inject,
        heal,
        frozenset(near) | (frozenset(far) - {"c1", "c2"} if set(far) & {"s3", *NATS} else NOBODY),
        hurts=hurts | refuses,
        refuses=refuses,
        detaches=detaches,
        stops_writes=stops_writes,
        holds_s=holds_s,
        needs=_needs(frozenset(far) - frozenset(CONTROLS)),  # the lines to those that are not there are none
    )


def _needs(parts: Iterable[str]) -> frozenset[Need]:
    found = set()
    if set(parts) & {"c2", *NATS}:
        found.add(Need.CLUSTER)
    if "s3" in parts:
        found.add(Need.STORE)
    return frozenset(found)


def cut(line: CutProxy) -> None:
    line.cut()


def blackout(line: CutProxy) -> None:
    line.drop(*BOTH_WAYS)


def deaf(line: CutProxy) -> None:
    """What comes down is lost."""
    line.drop(Direction.DOWN)


def mute(line: CutProxy) -> None:
    """What goes up is lost."""
    line.drop(Direction.UP)


def spoilt(spoiler: Spoiler, direction: Direction = Direction.DOWN) -> Callable[[CutProxy], None]:
    return lambda line: line.spoil(spoiler, direction)


def refused(line: CutProxy) -> None:
    line.refuse(UNAVAILABLE)


# Leaders of NATS.


async def stream_leaders(field: Field) -> dict[str, str]:
    """Which server leads which stream."""
    client = await nats.connect([node.url for node in field.nats.values()], connect_timeout=5)
    try:
        found = await client.jetstream().streams_info()
        return {each.config.name or "": (each.cluster.leader or "") if each.cluster else "" for each in found}
    finally:
        await client.close()


async def step_down(field: Field) -> None:
    """Every stream gets another leader: the journal, the table of nodes, the facts."""
    client = await nats.connect([node.url for node in field.nats.values()], connect_timeout=5)
    try:
        for stream in await client.jetstream().streams_info():
            await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream.config.name}", b"", timeout=10)
    finally:
        await client.close()


def leader_killed() -> Fault:
    """The server that leads the journal's stream."""
    victims: list[str] = []

    async def inject(field: Field) -> None:
        leaders = await stream_leaders(field)
        victims[:] = [next(leader for stream, leader in leaders.items() if not stream.startswith("KV_"))]
        await field.kill(victims[0])

    async def heal(field: Field) -> None:
        await field.start_again(victims[0])

    return Fault(
        "kill -9 of the leader of NATS",
        inject,
        heal,
        frozenset(NATS),
        stops_writes=False,
        needs=frozenset({Need.CLUSTER}),
    )


# Disks and clocks.


def disk_full(name: str, *, detaches: frozenset[str] = NOBODY, stops_writes: bool = False) -> Fault:
    """Not one byte more fits where the part keeps its files."""

    async def inject(field: Field) -> None:
        await asyncio.to_thread(field.disks[name].fill)

    async def heal(field: Field) -> None:
        await asyncio.to_thread(field.disks[name].free)

    return Fault(
        f"disk full on {name}",
        inject,
        heal,
        frozenset({name}),
        detaches=detaches,
        hurts=frozenset({name}) & ALL,
        stops_writes=stops_writes,
        holds_s=1.0,
        needs=frozenset({Need.DISK}) | _needs([name]),
    )


def clock_jump(offset_s: int, *names: str, hurts: frozenset[str] = NOBODY) -> Fault:
    """The wall clock goes wrong from one moment to the next, and right again."""

    async def inject(field: Field) -> None:
        for name in names:
            field.clocks[name].set(offset_s)

    async def heal(field: Field) -> None:
        for name in names:
            field.clocks[name].set(0)

    return Fault(
        f"the clock of {' and '.join(names)} jumps by {offset_s} s",
        inject,
        heal,
        frozenset(names),
        hurts=hurts,
        holds_s=1.0,
        needs=frozenset({Need.CLOCK}) | _needs(names),
    )


# A journal that went on without a node.

TRIMMED_WITHIN_S = 60.0
FILL_AT_ONCE = 10


def left_behind(name: str) -> Fault:
    """The node is cut off until the journal has forgotten the place where it stood; it needs a snapshot."""
    sent_before: list[float] = []

    async def inject(field: Field) -> None:
        for line in field.lines_of([name], CONTROLS):
            line.cut()
        stood = (await field.call(field.controls[0], "GET", "/v1/status"))["position"]["sequence"]
        async with asyncio.timeout(TRIMMED_WITHIN_S):
            while not await _is_forgotten(field, stood):
                await asyncio.gather(*(_fill(field) for _ in range(FILL_AT_ONCE)))
        sent_before[:] = [await _snapshots_sent(field)]

    async def heal(field: Field) -> None:
        for line in field.lines_of([name], CONTROLS):
            line.mend()
        async with asyncio.timeout(TRIMMED_WITHIN_S):
            while await _snapshots_sent(field) <= sent_before[0]:
                await asyncio.sleep(0.05)

    own = frozenset({name})
    return Fault(f"the journal forgets where {name} stood", inject, heal, own, detaches=own)


async def _fill(field: Field) -> None:
    what = {"urls": [f"http://shop.{ZONE}/never"]}
    for _ in range(5):
        await field.call(field.controls[0], "POST", "/v1/sites/shop/purges?wait=0", what)


async def _is_forgotten(field: Field, sequence: int) -> bool:
    try:
        await field.call(field.controls[0], "GET", f"/v1/receipts/{sequence}")
    except CallFailed as failed:
        return failed.status == 404
    return False


async def _snapshots_sent(field: Field) -> float:
    counted = [await field.metrics(control) for control in field.controls]
    return sum(each["cdn_control_snapshots_sent_total"] for each in counted)
