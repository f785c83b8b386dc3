"""Collapsed fetches (DESIGN I6); tests of fetching show that floors detach them (I1)."""

from __future__ import annotations

import asyncio
import gc

import pytest

from cdn.edge.collapse import Collapse, Landed, Shared, TooManyFetches
from cdn.errors import Unavailable


class Upstream:
    """Fetches that end when the test says so."""

    def __init__(self) -> None:
        self.started: list[asyncio.Future[str]] = []

    async def fetch(self) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.started.append(answer)
        return await answer


def ask(collapse: Collapse[str, str], upstream: Upstream, *, key: str = "k") -> asyncio.Task[Landed[str]]:
    return asyncio.create_task(collapse.join(key, site_id=key, start=upstream.fetch))


async def settle() -> None:
    """Let everything that can run now run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_thousand_waiters_share_one_fetch() -> None:
    collapse: Collapse[str, str] = Collapse()
    upstream = Upstream()
    waiters = [ask(collapse, upstream) for _ in range(1000)]
    await settle()
    assert len(upstream.started) == 1
    upstream.started[0].set_result("content")
    landed = await asyncio.gather(*waiters)
    assert {each.value for each in landed} == {"content"}
    assert sum(each.is_collapsed for each in landed) == 999
    await settle()
    assert len(collapse) == 0


async def test_cancelled_waiters_leave_the_fetch_to_the_others() -> None:
    collapse: Collapse[str, str] = Collapse()
    upstream = Upstream()
    waiters = [ask(collapse, upstream) for _ in range(1000)]
    await settle()
    for waiter in waiters[:999]:
        waiter.cancel()
    await settle()
    assert all(waiter.cancelled() for waiter in waiters[:999])
    upstream.started[0].set_result("content")
    assert (await waiters[999]).value == "content"
    assert len(upstream.started) == 1


async def test_a_fetch_that_everybody_left_goes_on_and_can_be_joined() -> None:
    collapse: Collapse[str, str] = Collapse()
    upstream = Upstream()
    first = ask(collapse, upstream)
    await settle()
    first.cancel()
    await settle()
    second = ask(collapse, upstream)
    await settle()
    assert len(upstream.started) == 1
    upstream.started[0].set_result("content")
    assert await second == Landed("content", True)


async def test_an_error_reaches_every_waiter_and_the_next_request_tries_again() -> None:
    collapse: Collapse[str, str] = Collapse()
    upstream = Upstream()
    waiters = [ask(collapse, upstream) for _ in range(3)]
    await settle()
    upstream.started[0].set_exception(Unavailable("down"))
    for waiter in waiters:
        with pytest.raises(Unavailable):
            await waiter
    await settle()
    again = ask(collapse, upstream)
    await settle()
    upstream.started[1].set_result("content")
    assert (await again).value == "content"


async def test_an_error_that_nobody_waits_for_is_quiet() -> None:
    collapse: Collapse[str, str] = Collapse()
    upstream = Upstream()
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    waiter = ask(collapse, upstream)
    await settle()
    waiter.cancel()
    await settle()
    upstream.started[0].set_exception(Unavailable("down"))
    await settle()
    del upstream, waiter
    gc.collect()
    await settle()
    assert complaints == []


async def test_the_number_of_fetches_is_bounded_and_a_site_has_its_share() -> None:
    collapse: Collapse[str, str] = Collapse(max_flights=3, max_flights_per_site=2)
    upstream = Upstream()

    def start(key: str, site_id: str) -> asyncio.Task[Landed[str]]:
        return asyncio.create_task(collapse.join(key, site_id=site_id, start=upstream.fetch))

    running = [start("a", "s"), start("b", "s")]
    await settle()
    with pytest.raises(TooManyFetches):
        await start("c", "s")
    running.append(start("a", "s"))  # joining is always possible
    running.append(start("d", "t"))
    await settle()
    with pytest.raises(TooManyFetches):
        await start("e", "u")
    assert collapse.refused == 2
    for fetch in upstream.started:
        fetch.set_result("content")
    await asyncio.gather(*running)
    await settle()
    last = start("c", "s")
    await settle()
    upstream.started[-1].set_result("content")
    await last


async def test_closing_cancels_what_is_under_way() -> None:
    collapse: Collapse[str, str] = Collapse()
    upstream = Upstream()
    waiter = ask(collapse, upstream)
    await settle()
    await collapse.aclose()
    assert waiter.cancelled() or upstream.started[0].cancelled()
    assert len(collapse) == 0
    await asyncio.gather(waiter, return_exceptions=True)


async def test_shared_calls_run_once_at_a_time() -> None:
    shared: Shared[str, int] = Shared()
    calls: list[asyncio.Future[int]] = []

    async def call() -> int:
        calls.append(asyncio.get_running_loop().create_future())
        return await calls[-1]

    waiters = [asyncio.create_task(shared.join("k", call)) for _ in range(100)]
    await settle()
    waiters[0].cancel()
    await settle()
    calls[0].set_result(7)
    assert await asyncio.gather(*waiters[1:]) == [7] * 99
    failing = asyncio.create_task(shared.join("k", call))
    await settle()
    calls[1].set_exception(Unavailable("down"))
    with pytest.raises(Unavailable):
        await failing
    await shared.aclose()
    assert len(calls) == 2


async def test_a_call_that_is_over_is_not_joined_before_it_is_forgotten() -> None:
    """Who joined it for ever, because what it found is gone again, would never let the loop run on."""
    shared: Shared[str, int] = Shared()
    results = iter((1, 2))

    async def call() -> int:
        return next(results)

    async def late() -> int:
        await asyncio.sleep(0)  # until the call is running: this goes on right after its end
        return await shared.join("k", call)

    assert list(await asyncio.gather(shared.join("k", call), late())) == [1, 2]
    await shared.aclose()
