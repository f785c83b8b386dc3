"""Flights: who waits for them, who holds what they bring, and how many there may be (DESIGN I6, I10)."""

from __future__ import annotations

import asyncio

import pytest

from cdn.edge.collapse import TooManyFetches
from cdn.edge.pull_content import ArrivingContent
from cdn.edge.pull_flight import Alone, Failed, Flight, Flights, Renewed, Shared
from cdn.edge.stored import StoredKey
from cdn.fleet.position import Position
from cdn.http.fields import Fields
from cdn.http.response_head import ResponseHead
from cdn.origin.upstream import UpstreamBroken, UpstreamFault
from tests.edge.pull_stage import Stage, soon, until

HEAD = ResponseHead(200, Fields())
FAILED = Failed(UpstreamBroken(UpstreamFault.CONNECT_REFUSED, "refused"))


def flight_of(stage: Stage, flights: Flights, path: str = "/a") -> Flight:
    return Flight(stage.visit(path), Position("e1", 1), flights.next_number())


def content() -> ArrivingContent:
    return ArrivingContent(None, None, 0)


async def waiters(flight: Flight, count: int) -> list[asyncio.Task[object]]:
    before = flight._waiting
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(flight.outcome()) for _ in range(count)]
    await until(lambda: flight._waiting == before + count)
    return tasks


@pytest.mark.parametrize("is_shared", [True, False])
async def test_everybody_who_waits_holds_the_content(stage: Stage, is_shared: bool) -> None:
    flight = flight_of(stage, stage.flights)
    tasks = await waiters(flight, 3)
    arriving = content()
    flight.settle(Shared(HEAD, arriving, None, HEAD) if is_shared else Alone(HEAD, arriving, None))
    assert arriving.holders == 3, "at once: the upstream is read from now on"
    assert [await soon(task) for task in tasks] == [flight.outcome_so_far] * 3
    await flight.outcome()
    assert arriving.holders == 4, "and one who comes later holds it as well"


async def test_who_leaves_before_the_answer_holds_nothing(stage: Stage) -> None:
    flight = flight_of(stage, stage.flights)
    tasks = await waiters(flight, 3)
    tasks[0].cancel()
    await until(lambda: flight._waiting == 2)
    arriving = content()
    flight.settle(Shared(HEAD, arriving, None, HEAD))
    assert arriving.holders == 2
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("is_settled_first", [True, False])
async def test_who_leaves_in_the_moment_of_the_answer_holds_nothing(stage: Stage, is_settled_first: bool) -> None:
    flight = flight_of(stage, stage.flights)
    tasks = await waiters(flight, 2)
    arriving = content()
    if is_settled_first:
        flight.settle(Shared(HEAD, arriving, None, HEAD))
        tasks[0].cancel()
    else:
        tasks[0].cancel()
        flight.settle(Shared(HEAD, arriving, None, HEAD))
    await asyncio.gather(*tasks, return_exceptions=True)
    assert tasks[0].cancelled()
    assert arriving.holders == 1


async def test_what_nobody_waits_for_any_more_is_told(stage: Stage) -> None:
    flight = flight_of(stage, stage.flights)
    told: list[str] = []
    flight.on_unwanted = lambda: told.append("unwanted")
    tasks = await waiters(flight, 2)
    tasks[0].cancel()
    await until(lambda: flight._waiting == 1)
    assert not told
    tasks[1].cancel()
    await until(lambda: told == ["unwanted"])


async def test_the_first_outcome_is_the_outcome(stage: Stage) -> None:
    flight = flight_of(stage, stage.flights)
    flight.settle(Renewed(frozenset((1,))))
    flight.settle(FAILED)
    assert await flight.outcome() == Renewed(frozenset((1,)))


async def test_a_failure_of_this_side_reaches_all_who_wait_and_harms_nobody_else(stage: Stage) -> None:
    flight = flight_of(stage, stage.flights)
    tasks = await waiters(flight, 2)
    flight.fail(RuntimeError("a fault"))
    for task in tasks:
        with pytest.raises(RuntimeError):
            await soon(task)
    unheard = flight_of(stage, stage.flights)
    unheard.fail(RuntimeError("nobody looks"))


async def test_a_failure_of_this_side_breaks_content_off(stage: Stage) -> None:
    flight = flight_of(stage, stage.flights)
    arriving = content()
    flight.settle(Shared(HEAD, arriving, None, HEAD))
    before = flight.has_beginning
    flight.fail(RuntimeError("a fault"))
    assert (before, flight.has_beginning) == (True, False)
    await flight.outcome()
    stream = arriving.reader()
    with pytest.raises(RuntimeError):
        await aiter(stream).__anext__()


async def test_what_comes_in_whole_and_is_stored_is_waited_for(stage: Stage) -> None:
    """Who has the last byte and asks again finds it."""
    flights = stage.flights
    flight = flight_of(stage, flights)
    flights.enter(flight, is_joinable=True)
    await soon(flights.entered(flight.key))
    sink = stage.disk.new_content(StoredKey(flight.key.site_id, flight.key.path, "00"))
    arriving = ArrivingContent(3, sink, 100)
    flight.settle(Shared(HEAD, arriving, None, HEAD))
    await arriving.take(b"ab")
    await soon(flights.entered(flight.key))
    await arriving.take(b"c")
    waiting = asyncio.create_task(flights.entered(flight.key))
    elsewhere = flight_of(stage, flights, "/b")
    await soon(flights.entered(elsewhere.key))
    assert not waiting.done()
    flights.leave(flight)
    await soon(waiting)
    await sink.abandon()


async def test_what_is_only_passed_on_is_not_waited_for(stage: Stage) -> None:
    flight = flight_of(stage, stage.flights)
    stage.flights.enter(flight, is_joinable=True)
    arriving = content()
    flight.settle(Shared(HEAD, arriving, None, HEAD))
    await arriving.finish()
    await soon(stage.flights.entered(flight.key))
    stage.flights.leave(flight)


# How many


async def test_all_are_bounded_and_each_site_is(stage: Stage) -> None:
    stage.create_site("s2")
    flights = Flights(max_flights=3, max_per_site=2)
    first, second = flight_of(stage, flights, "/a"), flight_of(stage, flights, "/b")
    flights.enter(first, is_joinable=True)
    flights.enter(second, is_joinable=False)
    with pytest.raises(TooManyFetches, match="2 for site s1"):
        flights.enter(flight_of(stage, flights, "/c"), is_joinable=True)
    assert len(flights) == 2
    assert flights.of(stage.key("/c")) == ()
    flights.leave(first)
    flights.enter(flight_of(stage, flights, "/c"), is_joinable=True)
    assert flights.refused == 1
    flights._max_per_site = 10
    flights.enter(flight_of(stage, flights, "/d"), is_joinable=True)
    with pytest.raises(TooManyFetches, match="3 fetches are under way"):
        flights.enter(flight_of(stage, flights, "/e"), is_joinable=True)


async def test_those_that_can_be_joined_come_newest_first(stage: Stage) -> None:
    flights = stage.flights
    made = [flight_of(stage, flights) for _ in range(3)]
    for flight in made:
        flights.enter(flight, is_joinable=flight is not made[1])
    assert flights.of(stage.key()) == (made[2], made[0])
    flights.close(made[2])
    flights.close(made[2])
    assert flights.of(stage.key()) == (made[0],)
    assert flights.of(stage.key("/b")) == ()
    for flight in made:
        flights.leave(flight)
    assert (len(flights), flights._all, flights._joinable, flights._per_site) == (0, {}, {}, {})


async def test_what_is_invalidated_is_joined_no_more_and_stores_nothing(stage: Stage) -> None:
    flights = stage.flights
    made = [flight_of(stage, flights) for _ in range(3)]
    other = flight_of(stage, flights, "/b")
    for flight in (*made, other):
        flights.enter(flight, is_joinable=flight is not made[1])
    flights.detach(stage.key(), but=made[2])
    assert [flight.is_detached for flight in (*made, other)] == [True, True, False, False]
    assert flights.of(stage.key()) == (made[2],)
    for flight in (*made, other):
        flights.leave(flight)


async def test_what_began_before_something_that_is_stored_does_not_replace_it(stage: Stage) -> None:
    flights = stage.flights
    early, late, later = (flight_of(stage, flights) for _ in range(3))
    for flight in (early, late, later):
        flight.variant = "v"
        flights.enter(flight, is_joinable=False)
    other = flight_of(stage, flights)
    other.variant = "w"
    flights.enter(other, is_joinable=False)
    flights.note_entered(late, "v")
    assert [flight.is_superseded for flight in (early, late, later, other)] == [True, False, False, False]


# Keys that are passed


async def test_keys_that_are_passed_are_bounded_and_the_oldest_go(stage: Stage) -> None:
    flights = Flights(max_passed=2)
    for path in ("/a", "/b", "/a", "/c"):
        flights.pass_on(stage.key(path), 100.0)
    assert [flights.is_passed(stage.key(path), 99.0) for path in ("/a", "/b", "/c")] == [True, False, True]
    assert not flights.is_passed(stage.key("/a"), 100.0)
    flights.forget_pass(stage.key("/a"))
    flights.forget_pass(stage.key("/a"))
    assert not flights.is_passed(stage.key("/a"), 99.0)
