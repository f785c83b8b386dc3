"""Reclaiming behind purges: space comes back, floors go only after a complete sweep (DESIGN I1, I2, I3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cdn.edge.disk_index import IndexUnavailable
from cdn.edge.disk_tier import DiskTier
from cdn.edge.reclaim import Reclaim
from cdn.edge.stored import StoredResponse
from cdn.fleet.position import Position
from cdn.journal.record import RECORD_VERSION, Audience, Purged, PurgeScope, Record, SiteRemoved
from cdn.purge.floors import Floors

OpenTier = Callable[..., Awaitable[DiskTier]]
MakeStored = Callable[..., StoredResponse]


class Node:
    """Floors and position, moved by records."""

    def __init__(self) -> None:
        self.floors = Floors()
        self.position = Position("e1", 10)
        self.given_since: tuple[str, ...] = ()

    def tags_of(self, stored: StoredResponse) -> tuple[str, ...]:
        return stored.tags + self.given_since

    def apply(self, change: Purged | SiteRemoved) -> None:
        self.position = Position("e1", self.position.sequence + 1)
        self.floors.apply(
            Record(RECORD_VERSION, "e1", self.position.sequence, "subject", 0.0, "actor", Audience.ALL, change)
        )

    def purge_tag(self, tag: str, *, soft: bool = False, site_id: str = "s1") -> None:
        self.apply(Purged(site_id, (PurgeScope("tag", tag),), soft))

    def hard(self, stored: StoredResponse) -> int:
        return self.floors.of(stored.key.site_id).required(stored.names, stored.tags).hard


def reclaim_of(tier: DiskTier, node: Node) -> Reclaim:
    return Reclaim(tier, node.floors, lambda: node.position, node.tags_of, delay_s=0, rest_s=0, retry_s=0, pause_s=0)


async def keep(tier: DiskTier, stored: StoredResponse, content: bytes) -> StoredResponse:
    admitted = await tier.admit(stored, 0)
    await tier.put_chunk(admitted, 0, content)
    return admitted


async def until_idle(reclaim: Reclaim, sweeps: int) -> None:
    while reclaim.waiting or reclaim.counters.sweeps < sweeps:
        await asyncio.sleep(0)


async def test_a_purge_is_swept_and_its_floor_goes(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier, node = await open_tier(), Node()
    purged = await keep(tier, make_stored(b"p", path="/p", tags=("red",), admitted=10), b"p")
    kept = await keep(tier, make_stored(b"k", path="/k", tags=("blue",), admitted=10), b"k")
    reclaim = reclaim_of(tier, node)
    running = asyncio.create_task(reclaim.run())
    node.purge_tag("red")
    assert node.hard(purged) == 11
    reclaim.floors_rose("s1")
    await until_idle(reclaim, 1)
    assert node.hard(purged) == 0
    assert await tier.find(purged.key) is None
    assert await tier.read_chunk(kept, 0) == b"k"
    assert reclaim.counters.responses_removed == 1
    running.cancel()


async def test_a_tag_that_a_rule_gave_since_counts_in_the_sweep(open_tier: OpenTier, make_stored: MakeStored) -> None:
    """The floor goes after the sweep: what is left then would be usable again."""
    tier, node = await open_tier(), Node()
    purged = await keep(tier, make_stored(b"p", admitted=10), b"p")
    node.given_since = ("red",)
    node.purge_tag("red")
    await reclaim_of(tier, node).sweep_now("s1")
    assert await tier.find(purged.key) is None


async def test_a_soft_purge_removes_nothing_and_its_floor_stays(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier, node = await open_tier(), Node()
    stale = await keep(tier, make_stored(b"p", tags=("red",), admitted=10), b"p")
    node.purge_tag("red", soft=True)
    reclaim = reclaim_of(tier, node)
    reclaim.floors_rose("s1")
    await reclaim.sweep_now("s1")
    assert await tier.find(stale.key) == stale
    assert node.floors.of("s1").required(stale.names, stale.tags).soft == 11


async def test_a_floor_raised_during_a_sweep_stays(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier, node = await open_tier(), Node()
    red = await keep(tier, make_stored(b"r", path="/r", tags=("red",), admitted=10), b"r")
    blue = await keep(tier, make_stored(b"b", path="/b", tags=("blue",), admitted=10), b"b")
    settle, is_sweeping = tier._settle, asyncio.Event()

    async def purging_meanwhile(write: object) -> None:
        await settle(write)  # type: ignore[arg-type]
        if not is_sweeping.is_set():
            is_sweeping.set()
            node.purge_tag("blue")

    tier._settle = purging_meanwhile  # type: ignore[method-assign]
    node.purge_tag("red")
    reclaim = reclaim_of(tier, node)
    await reclaim.sweep_now("s1")
    assert node.hard(red) == 0
    assert node.hard(blue) == 12


async def test_a_sweep_that_failed_keeps_the_floors_and_is_tried_again(
    open_tier: OpenTier, make_stored: MakeStored
) -> None:
    tier, node = await open_tier(), Node()
    purged = await keep(tier, make_stored(b"p", tags=("red",), admitted=10), b"p")
    node.purge_tag("red")
    sweep, failures = tier.sweep, iter([True, True, False])

    async def failing(*arguments: object, **options: object) -> int:
        if next(failures):
            raise IndexUnavailable("disk full")
        return await sweep(*arguments, **options)  # type: ignore[arg-type]

    tier.sweep = failing  # type: ignore[method-assign]
    reclaim = reclaim_of(tier, node)
    reclaim.floors_rose("s1")
    await reclaim.sweep_now("s1")
    assert (reclaim.counters.failed_sweeps, reclaim.waiting, node.hard(purged)) == (1, 1, 11)
    running = asyncio.create_task(reclaim.run())
    await until_idle(reclaim, 1)
    assert (reclaim.counters.failed_sweeps, node.hard(purged)) == (2, 0)
    assert await tier.find(purged.key) is None
    running.cancel()


async def test_a_removed_site_loses_everything_at_once(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier, node = await open_tier(), Node()
    gone = await keep(tier, make_stored(b"x", site_id="s1", admitted=10), b"x")
    kept = await keep(tier, make_stored(b"x", site_id="s2", admitted=10), b"x")
    node.apply(SiteRemoved("s1"))
    reclaim = Reclaim(tier, node.floors, lambda: node.position, node.tags_of, delay_s=1000, rest_s=1000)
    running = asyncio.create_task(reclaim.run())
    reclaim.site_removed("s1", node.position)
    while reclaim.counters.responses_removed == 0:
        await asyncio.sleep(0)
    assert await tier.find(gone.key) is None
    assert await tier.read_chunk(kept, 0) == b"x"
    running.cancel()


async def test_a_burst_of_purges_is_swept_once_after_a_rest(open_tier: OpenTier) -> None:
    tier, node = await open_tier(), Node()
    now = [0.0]
    reclaim = Reclaim(
        tier, node.floors, lambda: node.position, node.tags_of, delay_s=5, rest_s=60, clock=lambda: now[0]
    )
    for _ in range(100):
        node.purge_tag("red")
        reclaim.floors_rose("s1")
    assert reclaim.waiting == 1
    assert reclaim._work["s1"].due_at == 5.0
    now[0] = 5.0
    await reclaim.sweep_now("s1")
    assert (reclaim.counters.sweeps, reclaim.waiting) == (1, 0)
    node.purge_tag("red")
    reclaim.floors_rose("s1")
    assert reclaim._work["s1"].due_at == 65.0


async def test_without_a_hard_floor_nothing_is_walked(open_tier: OpenTier) -> None:
    tier, node = await open_tier(), Node()
    reclaim = reclaim_of(tier, node)
    reclaim.floors_rose("s1")
    await reclaim.sweep_now("s1")
    assert (reclaim.counters.sweeps, reclaim.waiting) == (0, 0)


async def test_what_another_epoch_admitted_goes_below_any_floor(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier, node = await open_tier(), Node()
    old = await keep(tier, make_stored(b"o", path="/o", tags=("red",), admitted=99, epoch="e0"), b"o")
    kept = await keep(tier, make_stored(b"k", path="/k", admitted=99, epoch="e0"), b"k")
    node.purge_tag("red")
    await reclaim_of(tier, node).sweep_now("s1")
    assert await tier.find(old.key) is None
    assert await tier.find(kept.key) == kept
