"""Faults of blobs on their way to control: each once in a while, bounded, and only where they are understood."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cdn.control.hub import FollowHub
from cdn.journal import blob_faults
from cdn.journal.blob_faults import MAX_FAULTS, REPEAT_AFTER_S, BlobFaults
from cdn.journal.wire import BlobFault, Welcome, decode_from_control, decode_from_node, encode_message
from tests.journal.ledger import purge
from tests.journal.plane import PATIENCE_S, node, plane


async def _taken(faults: BlobFaults) -> list[tuple[str, str]]:
    """All that waits, told."""
    taken = []
    while faults._untold:
        fault = await faults.first()
        faults.told(fault)
        taken.append(fault)
    return taken


async def test_a_fault_is_told_once_and_again_after_a_while() -> None:
    faults = BlobFaults()
    for at in (0.0, 1.0, REPEAT_AFTER_S - 0.1):
        faults.note("s", "a", at)
    assert await _taken(faults) == [("s", "a")]
    faults.note("s", "a", REPEAT_AFTER_S - 0.1)
    assert await _taken(faults) == []
    faults.note("s", "a", REPEAT_AFTER_S)
    assert await _taken(faults) == [("s", "a")]


async def test_what_was_not_told_stays_and_stands_once() -> None:
    faults = BlobFaults()
    for at in range(100):
        faults.note("s", "a", at * REPEAT_AFTER_S)
    assert await faults.first() == ("s", "a")
    assert await _taken(faults) == [("s", "a")]


async def test_no_more_than_so_many_are_noted_within_the_time() -> None:
    faults = BlobFaults()
    for number in range(MAX_FAULTS * 3):
        faults.note("s", str(number), 0.0)
    assert len(await _taken(faults)) == MAX_FAULTS
    faults.note("s", "late", 1.0)
    assert await _taken(faults) == []
    faults.note("s", "late", REPEAT_AFTER_S)
    assert await _taken(faults) == [("s", "late")]


async def test_while_nobody_takes_them_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_faults, "MAX_FAULTS", 3)
    faults = BlobFaults()
    for number in range(10):
        faults.note("s", str(number), number * REPEAT_AFTER_S)
    assert await _taken(faults) == [("s", "7"), ("s", "8"), ("s", "9")]


async def test_control_hears_of_faults_from_before_and_during_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, str, str]] = []
    monkeypatch.setattr(FollowHub, "hears_blob_faults", True)
    monkeypatch.setattr(
        FollowHub, "heed_blob_fault", lambda hub, who, fault: heard.append((who, fault.site_id, fault.digest))
    )
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        edge.follower.report_blob_fault("s", "before")
        await control.complete(edge)
        for _ in range(5):
            edge.follower.report_blob_fault("s", "during")
        async with asyncio.timeout(PATIENCE_S):
            while len(heard) < 2:
                await asyncio.sleep(0.002)
        assert heard == [("edge-1", "s", "before"), ("edge-1", "s", "during")]


async def test_a_control_that_does_not_know_the_message_is_not_sent_it(tmp_path: Path) -> None:
    """It would close the connection, and the node would lose its lease again and again."""
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        assert not control.hub.hears_blob_faults
        edge.follower.report_blob_fault("s", "a")
        await control.complete(edge)
        await control.append(purge("/1"))
        await control.complete(edge)
        assert not any(control.hub.refusals.counts().values())
        assert await edge.follower.blob_faults.first() == ("s", "a"), "it waits for a control that does"
        assert edge.follower.has_lease()


def test_a_welcome_from_before_faults_were_told_is_understood() -> None:
    old = '{"type":"welcome","position":{"epoch":"e","sequence":1},"heartbeat_s":2.0,"lease_s":10.0}'
    welcome = decode_from_control(old)
    assert isinstance(welcome, Welcome)
    assert not welcome.hears_blob_faults


def test_a_fault_survives_the_wire() -> None:
    assert decode_from_node(encode_message(BlobFault("s", "a"))) == BlobFault("s", "a")
