"""Offices and the table of nodes: in memory, on one NATS server and on a cluster."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from cdn.journal.jetstream_tenure import JetStreamNodeTable, JetStreamOffices
from cdn.journal.nats_link import NatsLink
from cdn.journal.tenure import MemoryNodeTable, MemoryOffices, NodeTable, Offices, Tenure
from tests.journal.conftest import delete_streams, settings_for
from tests.servers.nats import NatsLayout

DURATION_S = 2.0
"""Short, so that a test can see the end of it."""


@dataclass(frozen=True)
class _Shared:
    """What two processes see."""

    offices: tuple[Offices, Offices]
    nodes: tuple[NodeTable, NodeTable]


@pytest.fixture(params=["memory", "nats_single", "nats_cluster"])
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[_Shared]:
    if request.param == "memory":
        offices, nodes = MemoryOffices(DURATION_S), MemoryNodeTable(DURATION_S, time.monotonic)
        yield _Shared((offices, offices), (nodes, nodes))
        return
    layout: NatsLayout = request.getfixturevalue(request.param)
    settings = settings_for(layout, f"t{secrets.token_hex(4)}")
    links = [await NatsLink.open(settings.nats, name=f"control-{n}") for n in range(2)]
    opened = [await JetStreamOffices.open(link, settings, duration_s=DURATION_S) for link in links]
    tables = [await JetStreamNodeTable.open(link, settings, expires_after_s=DURATION_S) for link in links]
    yield _Shared((opened[0], opened[1]), (tables[0], tables[1]))
    for link in links:
        await link.aclose()
    await delete_streams(layout, settings.name)


def _now() -> float:
    return time.monotonic()


async def test_an_office_has_one_holder_at_a_time(shared: _Shared) -> None:
    first, second = shared.offices
    tenure = await first.acquire("snapshots", "a", now=_now())
    assert isinstance(tenure, Tenure)
    assert tenure.holds(_now())
    assert await second.acquire("snapshots", "b", now=_now()) is None
    other = await second.acquire("renewals", "b", now=_now())
    assert other is not None, "another office is free"


async def test_of_many_who_ask_at_once_one_gets_it(shared: _Shared) -> None:
    asked = await asyncio.gather(*(shared.offices[n % 2].acquire("o", f"h{n}", now=_now()) for n in range(20)))
    assert sum(tenure is not None for tenure in asked) == 1


async def test_who_asks_again_holds_on_under_a_higher_token(shared: _Shared) -> None:
    first, _ = shared.offices
    tenure = await first.acquire("o", "a", now=_now())
    again = await first.acquire("o", "a", now=_now())
    assert tenure is not None
    assert again is not None
    assert again.token > tenure.token
    assert again.until >= tenure.until


async def test_a_released_office_is_free_and_an_old_release_frees_nothing(shared: _Shared) -> None:
    first, second = shared.offices
    old = await first.acquire("o", "a", now=_now())
    assert old is not None
    await first.release(old)
    new = await second.acquire("o", "b", now=_now())
    assert new is not None
    assert new.token > old.token
    await first.release(old)
    assert await first.acquire("o", "a", now=_now()) is None


async def test_the_next_holder_begins_after_the_last_has_ended(shared: _Shared) -> None:
    first, second = shared.offices
    held = await first.acquire("o", "a", now=_now())
    assert held is not None
    while (taken := await second.acquire("o", "b", now=_now())) is None:
        await asyncio.sleep(0.02)
    assert not held.holds(_now()), "two held it at once"
    assert taken.token > held.token


async def test_time_in_office_counts_from_before_the_question(shared: _Shared) -> None:
    asked_at = _now() - 0.5
    held = await shared.offices[0].acquire("o", "a", now=asked_at)
    assert held is not None
    assert held.until <= asked_at + DURATION_S


async def test_nodes_are_known_to_all_until_they_say_nothing_more(shared: _Shared) -> None:
    first, second = shared.nodes
    await first.put("edge.one", b"1")
    await second.put("edge/two*", b"2")
    await second.put("edge.one", b"3")
    await first.put("edge.one", b"4")
    assert await _eventually(second, lambda known: known == {"edge.one": b"4", "edge/two*": b"2"})
    await second.remove("edge/two*")
    assert await _eventually(first, lambda known: known.keys() == {"edge.one"})
    assert await _eventually(first, lambda known: not known), "it expired"
    await first.put("edge.one", b"5")
    assert await _eventually(second, lambda known: known == {"edge.one": b"5"})


async def _eventually(table: NodeTable, holds: Callable[[dict[str, bytes]], bool]) -> bool:
    deadline = _now() + 10
    while not holds(await table.all()):
        if _now() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True
