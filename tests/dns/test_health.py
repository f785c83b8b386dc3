"""A process's own checks: what they ask, what counts as an answer, and how often in a row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.dns.health import MAX_CHECKS, Health, HealthChecks
from cdn.dns.settings import CheckSettings

PATIENCE_S = 30.0
SETTINGS = CheckSettings(down_after=3, up_after=2)


def after(results: str) -> Health:
    health = Health()
    for result in results:
        health = health.after(result == "+", SETTINGS)
    return health


@pytest.mark.parametrize(
    ("results", "is_up"),
    [("", True), ("--", True), ("---", False), ("--+--", True), ("---+", False), ("---++", True), ("---+-+", False)],
)
def test_so_many_in_a_row_change_it(results: str, is_up: bool) -> None:
    assert after(results).is_up is is_up


@given(st.text("+-", max_size=40))
def test_it_changes_only_after_as_many_as_settings_say(results: str) -> None:
    """Told plainly: walk from the start, and look back over each window."""
    is_up, since = True, 0
    for place in range(1, len(results) + 1):
        needed, contrary = (3, "-") if is_up else (2, "+")
        if place - since >= needed and results[place - needed : place] == contrary * needed:
            is_up, since = not is_up, place
    assert after(results).is_up is is_up


async def test_addresses_that_go_are_forgotten_and_those_that_come_are_checked() -> None:
    addresses = {"192.0.2.1", "192.0.2.2"}
    good = {"192.0.2.1"}

    async def check(address: str) -> bool:
        return address in good

    checks = HealthChecks(SETTINGS, "cdn.localhost", lambda: frozenset(addresses), check=check)
    for _ in range(3):
        await checks.look()
    assert checks.down == {"192.0.2.2"}
    addresses.remove("192.0.2.2")
    await checks.look()
    assert checks.down == frozenset()
    addresses.add("192.0.2.2")
    await checks.look()
    assert checks.down == frozenset(), "it begins anew"
    assert checks.counters == {"good": 5, "bad": 4}


async def test_checks_at_one_time_are_bounded() -> None:
    under_way = most = 0

    async def check(address: str) -> bool:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return True

    checks = HealthChecks(SETTINGS, "z", lambda: frozenset(str(each) for each in range(MAX_CHECKS * 3)), check=check)
    await checks.look()
    assert most == MAX_CHECKS


async def test_it_looks_again_and_again() -> None:
    seen = asyncio.Semaphore(0)

    async def check(address: str) -> bool:
        seen.release()
        return True

    quick = CheckSettings(check_interval_s=0.01)
    running = asyncio.create_task(HealthChecks(quick, "z", lambda: frozenset({"a"}), check=check).run())
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(3):
            await seen.acquire()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def node(answer: bytes | None, asked: list[bytes]) -> AsyncIterator[int]:
    """Answers each request so; None: it hangs."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if answer is not None:
            writer.write(answer)
            writer.close()
        else:
            await reader.read()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "is_good"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 421 Misdirected Request\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"SSH-2.0-x\r\n", False),
        (b"", False),
        (b"H" * 5000, False),
        (None, False),
    ],
)
async def test_any_status_but_a_servers_failure_is_an_answer(answer: bytes | None, is_good: bool) -> None:
    asked: list[bytes] = []
    async with node(answer, asked) as port:
        settings = CheckSettings(check_port=port, check_timeout_s=0.5 if answer is None else PATIENCE_S, down_after=1)
        checks = HealthChecks(settings, "cdn.localhost", lambda: frozenset({"127.0.0.1"}))
        await checks.look()
        assert (checks.down == frozenset()) is is_good
        assert asked[0].startswith(b"HEAD / HTTP/1.1\r\nHost: cdn.localhost\r\n")


async def test_nobody_there_is_no_answer() -> None:
    async with node(b"", []) as port:
        pass
    settings = CheckSettings(check_port=port, down_after=1)
    checks = HealthChecks(settings, "z", lambda: frozenset({"127.0.0.1"}))
    await checks.look()
    assert checks.down == {"127.0.0.1"}
