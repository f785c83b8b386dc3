"""Who is due: at their time, at most so many at one time, and whatever fails only later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from cdn.control.domain_watch import FAULT_PAUSE_S, STALE_LEAST, STALE_PART, DomainWatch
from cdn.errors import Unavailable
from tests.control.control_room import Clock

NEVER = float("inf")


class Turn:
    """Whose the office of all domains is, as the test says."""

    is_ours = True

    def start(self) -> None: ...

    async def aclose(self) -> None: ...


class State:
    def watch(self, watcher: Any) -> None: ...


class Work:
    """Names, when they are due, and what came of working on them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.generation = 0
        self.held: set[tuple[str, str]] = set()
        self.kept: list[tuple[str, str]] = []
        self.first_due: dict[str, float] = {}
        self.next_s: dict[str, float] = {}
        self.faults: dict[str, Exception] = {}
        self.done: list[str] = []
        self.gate: asyncio.Event | None = None
        self.running = self.most = 0
        self.others: set[tuple[str, str]] = set()

    def add(self, *domains: str) -> None:
        self.held |= {(domain, "site") for domain in domains}
        self.generation += 1

    def drop(self, *domains: str) -> None:
        self.held -= {(domain, "site") for domain in domains}
        self.generation += 1

    def names(self) -> set[tuple[str, str]]:
        return set(self.held)

    def moved(self) -> set[tuple[str, str]]:
        moved, self.others = self.others, set()
        return moved

    def first_due_at(self, domain: str, site_id: str, now: float) -> float:
        return self.first_due.get(domain, now)

    async def remembered(self) -> AsyncIterator[tuple[str, str]]:
        for name in self.kept:
            yield name

    async def advance(self, domain: str, site_id: str) -> float:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            self.done.append(domain)
            if domain in self.faults:
                raise self.faults[domain]
            return self.clock.now + self.next_s.get(domain, 60.0) if (domain, site_id) in self.held else NEVER
        finally:
            self.running -= 1


def made(most: int = 4) -> tuple[DomainWatch, Work, Any, Clock]:
    clock, turn, state = Clock(), Turn(), State()
    work = Work(clock)
    parts: Any = (work, state, turn)
    return DomainWatch(*parts, round_s=1.0, most=most, clock=clock), work, turn, clock


async def rounds(watch: DomainWatch, count: int = 1) -> None:
    for _ in range(count):
        await watch.round()
        await watch.settled()


async def test_new_names_are_due_at_once_and_others_at_their_time() -> None:
    watch, work, _, clock = made()
    work.first_due["late.example"] = clock.now + 100
    work.add("now.example", "late.example")
    await rounds(watch, 3)
    assert work.done == ["now.example"]
    clock.now += 60
    await rounds(watch)
    assert work.done == ["now.example"] * 2
    clock.now += 40
    await rounds(watch)
    assert work.done == ["now.example", "now.example", "late.example"]
    assert watch.due_at("late.example", "site") == clock.now + 60


async def test_a_name_of_which_much_is_said_takes_no_more_room_and_comes_at_its_last_time() -> None:
    watch, work, _, clock = made()
    work.add("a.example", "b.example")
    await rounds(watch)
    for step in range(3 * STALE_LEAST):
        watch.worked("a.example", "site", clock.now + 1000 + step)
    assert len(watch._heap) <= STALE_LEAST + STALE_PART * 2  # a bound is what is tested
    work.done.clear()
    clock.now += 1000 + 3 * STALE_LEAST - 2
    await rounds(watch)
    assert work.done == ["b.example"]
    clock.now += 1
    await rounds(watch)
    assert work.done[:2] == ["b.example", "a.example"]


async def test_no_more_are_worked_on_at_one_time_than_may_be() -> None:
    watch, work, _, _ = made(most=3)
    work.add(*(f"{number}.example" for number in range(10)))
    work.gate = asyncio.Event()
    await watch.round()
    await watch.round()
    for _ in range(5):
        await asyncio.sleep(0)
    assert work.running == 3
    work.gate.set()
    await rounds(watch, 10)
    assert sorted(work.done) == sorted(f"{number}.example" for number in range(10))
    assert work.most == 3


async def test_a_site_with_many_names_that_take_long_holds_up_no_other() -> None:
    watch, work, _, clock = made(most=4)
    work.add(*(f"slow-{number}" for number in range(10)))
    await watch.round()
    clock.now += 1.0
    work.held.add(("quick", "another-site"))
    work.generation += 1
    watch._notice_not_before = 0.0
    for _ in range(3):
        await watch.settled()
        await watch.round()
    await watch.settled()
    assert len(work.done) == 11, "all have had their turn"
    assert work.done.index("quick") < 8
    assert work.most == 4, "what others leave is used"


async def test_what_fails_comes_again_and_stops_nobody() -> None:
    watch, work, _, clock = made()
    work.faults = {"a.example": Unavailable("the store is away"), "b.example": RuntimeError("a fault of ours")}
    work.add("a.example", "b.example", "c.example")
    await rounds(watch)
    assert sorted(work.done) == ["a.example", "b.example", "c.example"]
    for domain in work.faults:
        due = watch.due_at(domain, "site")
        assert due is not None
        assert clock.now + FAULT_PAUSE_S <= due <= clock.now + 2 * FAULT_PAUSE_S
    clock.now += 2 * FAULT_PAUSE_S
    work.faults = {}
    await rounds(watch)
    assert work.done.count("a.example") == work.done.count("b.example") == 2


async def test_only_who_has_the_office_works_and_who_gets_it_begins_anew() -> None:
    watch, work, turn, _ = made()
    turn.is_ours = False
    work.add("a.example")
    await rounds(watch, 2)
    assert work.done == []
    turn.is_ours = True
    await rounds(watch)
    assert work.done == ["a.example"]
    turn.is_ours = False
    await rounds(watch)
    assert watch.due_at("a.example", "site") is None
    turn.is_ours = True
    await rounds(watch)
    assert work.done == ["a.example"] * 2


async def test_a_name_that_goes_is_worked_on_once_more() -> None:
    watch, work, _, clock = made()
    work.add("a.example", "b.example")
    await rounds(watch)
    work.done.clear()
    clock.now += 1
    work.drop("a.example")
    async with asyncio.timeout(5):
        while not work.done:
            await rounds(watch)
    assert work.done == ["a.example"]
    assert watch.due_at("a.example", "site") is None
    clock.now += 3600
    await rounds(watch)
    assert work.done == ["a.example", "b.example"]


async def test_names_of_which_only_something_is_kept_are_swept() -> None:
    watch, work, _, _ = made()
    work.kept = [("old.example", "gone"), ("a.example", "site")]
    work.add("a.example")
    await watch.round()
    async with asyncio.timeout(5):
        while "old.example" not in work.done:
            await asyncio.sleep(0)
            await rounds(watch)
    assert work.done.count("a.example") == 1
    assert watch.due_at("old.example", "gone") is None


async def test_sites_that_move_have_their_names_looked_at() -> None:
    watch, work, _, clock = made()
    work.add("a.example", "b.example")
    await rounds(watch)
    work.done.clear()
    work.others = {("a.example", "site")}
    clock.now += 6
    await rounds(watch)
    assert work.done == ["a.example"]


async def test_somebody_who_says_something_of_a_name_makes_it_due() -> None:
    watch, work, _, _ = made()
    work.add("a.example")
    await rounds(watch)
    watch.look_soon("a.example", "site")
    await rounds(watch)
    assert work.done == ["a.example"] * 2
    watch.worked("a.example", "site", 5e9)
    assert watch.due_at("a.example", "site") == 5e9
    watch.worked("other.example", "site", 5e9)
    watch.forgotten("a.example", "site")
    assert watch.due_at("a.example", "site") is None
    assert watch.due_at("other.example", "site") is None


async def test_what_is_said_of_a_name_while_it_is_worked_on_is_not_lost() -> None:
    watch, work, _, clock = made()
    work.add("a.example", "b.example")
    work.gate = asyncio.Event()
    await watch.round()
    watch.look_soon("a.example", "site")
    work.drop("b.example")
    clock.now += 1
    await watch.round()
    work.gate.set()
    async with asyncio.timeout(5):
        while len(work.done) < 4:
            await rounds(watch)
    assert sorted(work.done) == ["a.example", "a.example", "b.example", "b.example"]
    await rounds(watch)
    assert watch.due_at("b.example", "site") is None
    assert len(work.done) == 4
