"""A name is worked on by one task of one replica at a time."""

from __future__ import annotations

import asyncio

import pytest

from cdn.control.name_offices import NameOffices
from cdn.errors import Unavailable
from cdn.journal.journal import JournalUnavailable
from cdn.journal.tenure import MemoryOffices, Tenure

NAME = "*.example.com"


class Hours:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Flaky(MemoryOffices):
    """Offices of which nobody can say anything while `is_away`."""

    is_away = False

    async def acquire(self, office: str, holder: str, *, now: float) -> Tenure | None:
        if self.is_away:
            raise JournalUnavailable("no servers")
        return await super().acquire(office, holder, now=now)

    async def release(self, tenure: Tenure) -> None:
        if self.is_away:
            raise JournalUnavailable("no servers")
        await super().release(tenure)


def offices_of(shared: MemoryOffices, holder: str, clock: Hours, office_s: float = 60.0) -> NameOffices:
    return NameOffices(shared, holder, office_s=office_s, monotonic=clock)


async def test_tasks_of_one_process_come_one_after_the_other() -> None:
    clock = Hours()
    offices = offices_of(MemoryOffices(60.0), "one", clock)
    inside, most, turns = 0, 0, 0

    async def work() -> None:
        nonlocal inside, most, turns
        async with offices.held(NAME) as office:
            assert office is not None
            inside += 1
            most, turns = max(most, inside), turns + 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(5)))
    assert (most, turns) == (1, 5)
    assert not offices.is_busy(NAME)


async def test_another_replica_has_to_wait_until_it_is_left() -> None:
    clock, shared = Hours(), MemoryOffices(60.0)
    one, two = offices_of(shared, "one", clock), offices_of(shared, "two", clock)
    async with one.held(NAME) as mine:
        assert mine is not None
        async with two.held(NAME) as theirs:
            assert theirs is None
        async with two.held("other.example.com") as another:
            assert another is not None
    async with two.held(NAME) as theirs:
        assert theirs is not None


async def test_who_dies_in_an_office_leaves_it_when_its_time_is_over() -> None:
    clock, shared = Hours(), MemoryOffices(60.0)
    holding = offices_of(shared, "one", clock).held(NAME)
    office = await holding.__aenter__()
    assert office is not None
    clock.now += 61
    with pytest.raises(Unavailable, match="another control"):
        office.require()
    async with offices_of(shared, "two", clock).held(NAME) as theirs:
        assert theirs is not None
        await holding.__aexit__(None, None, None)
        theirs.require()


async def test_an_office_is_held_on_to_as_long_as_the_work_takes() -> None:
    clock, shared = Hours(), MemoryOffices(60.0)
    offices = offices_of(shared, "one", clock, office_s=0.004)
    async with offices.held(NAME) as office, asyncio.timeout(10):
        assert office is not None
        for _ in range(5):
            clock.now += 50
            while office.tenure.until < clock.now + 60:
                await asyncio.sleep(0)
            office.require()


async def test_who_cannot_hold_on_to_an_office_loses_it() -> None:
    clock, shared = Hours(), MemoryOffices(60.0)
    one, two = offices_of(shared, "one", clock, office_s=0.004), offices_of(shared, "two", clock)
    async with one.held(NAME) as office, asyncio.timeout(10):
        assert office is not None
        tenure = office.tenure
        while office.tenure is tenure:
            await asyncio.sleep(0)
        await shared.release(office.tenure)  # the servers have forgotten it
        async with two.held(NAME) as theirs:
            assert theirs is not None
            while office.is_held:
                await asyncio.sleep(0)
            with pytest.raises(Unavailable):
                office.require()


async def test_while_nobody_can_say_whose_it_is_nobody_works() -> None:
    clock, shared = Hours(), Flaky(60.0)
    offices = offices_of(shared, "one", clock)
    shared.is_away = True
    with pytest.raises(Unavailable):
        async with offices.held(NAME):
            pytest.fail("nobody has it")
    assert not offices.is_busy(NAME)
    shared.is_away = False
    async with offices.held(NAME):
        shared.is_away = True  # it is left when its time is over
