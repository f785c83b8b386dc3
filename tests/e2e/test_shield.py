"""A shield and edges as processes of their own: one request for all, and nothing stale through a shield that lags."""

from __future__ import annotations

import asyncio
import http.client
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.gated_upstream import GatedUpstream
from tests.e2e.roles import RoleFleet, outcomes
from tests.e2e.shield_fleet import ShieldFleet

SITE = "pulled"


@pytest.fixture
async def upstream() -> AsyncIterator[GatedUpstream]:
    upstream = await GatedUpstream().start()
    yield upstream
    await upstream.aclose()


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[ShieldFleet]:
    roles = RoleFleet(tmp_path, 'url = "store"', {})
    yield ShieldFleet.over(tmp_path, roles)
    await asyncio.to_thread(roles.close)


async def test_one_request_for_all_and_nothing_stale_through_a_shield_that_lags_or_dies(
    fleet: ShieldFleet, upstream: GatedUpstream
) -> None:
    await fleet.start("e1", "e2")
    await asyncio.to_thread(fleet.call, "POST", "/v1/sites", {"name": SITE, "settings": {"origin": upstream.url}})
    await asyncio.to_thread(fleet.purge, SITE)
    await fleet.until_shielded("e1", SITE, "warm")

    # All at once.
    upstream.gate.clear()
    visits = [asyncio.create_task(fleet.visiting(node_id, SITE, "/a")) for node_id in ("e1", "e2", "shield") * 4]
    await upstream.until_asked("/a")
    upstream.gate.set()
    answers = await asyncio.gather(*visits)
    assert {answer.content for answer in answers} == {b"one"}
    assert len(upstream.asked_for("/a")) == 1

    # The shield stops; a purge is acknowledged without it.
    assert fleet.shield is not None
    fleet.shield.send(signal.SIGSTOP)
    upstream.content[""] = b"two"
    receipt = await asyncio.to_thread(fleet.purge, SITE)
    assert outcomes(receipt)["e1"] == outcomes(receipt)["e2"] == "applied"
    fleet.shield.send(signal.SIGCONT)
    answers = await asyncio.gather(*(fleet.visiting(node_id, SITE, "/a") for node_id in ("e1", "e2") * 4))
    assert {answer.content for answer in answers} == {b"two"}
    await fleet.until_shielded("e1", SITE, "again")

    # It dies in the middle of a response.
    upstream.content["/long"] = b"x" * 3_000_000
    upstream.pauses_after = 1_000_000
    connection, response = await asyncio.to_thread(fleet.open, "e2", SITE, "/long")
    await upstream.until_paused()
    fleet.fix_port()
    await asyncio.to_thread(fleet.shield.end, signal.SIGKILL)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        await asyncio.to_thread(response.read)
    connection.close()
    upstream.pauses_after = None
    upstream.gate.set()
    whole = await fleet.visiting("e2", SITE, "/long")
    assert whole.content == upstream.content["/long"]
    assert "detail=shield" in whole.cache_status

    # An edge starts while there is none; then the shield is back, and is asked again.
    await fleet.add("e3", patience_s=2.0)
    assert "detail=shield" in (await fleet.visiting("e3", SITE, "/a")).cache_status
    await asyncio.to_thread(fleet.shield.start)
    await fleet.until_shielded("e3", SITE, "third")

    # One that hangs delays who meets it first, and nobody after.
    fleet.shield.send(signal.SIGSTOP)
    try:
        first = await fleet.visiting("e3", SITE, "/first")
        second = await fleet.visiting("e3", SITE, "/second")
    finally:
        fleet.shield.send(signal.SIGCONT)
    assert "detail=shield-silent" in first.cache_status
    assert "detail=shield-down" in second.cache_status
