"""A site that is greedy or slow leaves the others their share."""

from __future__ import annotations

import asyncio

import pytest

from cdn.control.turns import Turns
from cdn.errors import Unavailable


async def hold(turns: Turns, site_id: str, over: asyncio.Event, held: list[str]) -> None:
    async with turns.take(site_id):
        held.append(site_id)
        await over.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_site_never_takes_more_than_its_share() -> None:
    turns, over = Turns(3, 2), asyncio.Event()
    held: list[str] = []
    async with asyncio.TaskGroup() as group:
        for site_id in ("greedy", "greedy", "greedy", "other", "third"):
            group.create_task(hold(turns, site_id, over, held))
        await settle()
        assert held == ["greedy", "greedy", "other"]
        over.set()
    assert sorted(held) == ["greedy", "greedy", "greedy", "other", "third"]


async def test_those_who_wait_are_bounded_and_half_of_the_places_are_for_others() -> None:
    turns, over = Turns(1, 1, most_waiting=2, refusal="too many", retry_after_s=9), asyncio.Event()
    held: list[str] = []
    async with asyncio.TaskGroup() as group:
        for site_id in ("greedy", "greedy"):
            group.create_task(hold(turns, site_id, over, held))
        await settle()
        with pytest.raises(Unavailable, match="too many") as refused:
            await hold(turns, "greedy", over, held)
        assert refused.value.retry_after_s == 9
        group.create_task(hold(turns, "other", over, held))
        await settle()
        with pytest.raises(Unavailable):
            await hold(turns, "third", over, held)
        over.set()
    assert held == ["greedy", "greedy", "other"] or held == ["greedy", "other", "greedy"]


async def test_whoever_gives_up_waiting_leaves_nothing_behind() -> None:
    turns, over = Turns(1, 1), asyncio.Event()
    held: list[str] = []
    first = asyncio.create_task(hold(turns, "a", over, held))
    await settle()
    waiting = [asyncio.create_task(hold(turns, site_id, over, held)) for site_id in ("a", "b")]
    await settle()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    over.set()
    await first
    async with asyncio.timeout(5):
        await hold(turns, "b", over, held)
    assert held == ["a", "b"]
