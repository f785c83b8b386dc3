from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from cdn.edge.collapse import TooManyFetches
from cdn.edge.pull_flight import SURE_FLIGHTS, Flight, Flights
from cdn.edge.pull_key import PullKey
from cdn.edge.pull_visit import PullVisit
from cdn.fleet.position import Position


def begun(flights: Flights, site_id: str) -> int:
    """How many flights a site can begin."""
    number = 0
    while True:
        key = PullKey(site_id, f"http  /{number}", f"/{number}")
        visit = cast(PullVisit, SimpleNamespace(key=key))
        try:
            flights.enter(Flight(visit, Position("e1", 1), flights.next_number()), is_joinable=True)
        except TooManyFetches:
            return number
        number += 1


async def test_slow_sites_together_leave_room_for_others() -> None:
    flights = Flights(max_flights=4096, max_per_site=1024)
    slow = [begun(flights, f"slow{number}") for number in range(10)]
    assert slow[0] == 1024
    assert min(slow) >= SURE_FLIGHTS
    assert begun(flights, "other") >= SURE_FLIGHTS


async def test_the_bounds_hold() -> None:
    assert begun(Flights(max_flights=4096, max_per_site=10), "s1") == 10
    flights = Flights(max_flights=100, max_per_site=100)
    assert begun(flights, "s1") == SURE_FLIGHTS
    assert begun(flights, "s2") == 100 - SURE_FLIGHTS
    assert begun(flights, "s3") == 0
