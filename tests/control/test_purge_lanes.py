"""Purges of one site that come side by side do not wait for each other, and leave few subjects behind."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from cdn.control.purge_lanes import MAX_LANES, PurgeLanes
from cdn.journal.record import Draft, Purged, Record
from cdn.journal.sqlite import SqliteJournal
from tests.control.control_room import Api


def test_one_at_a_time_is_one_subject() -> None:
    lanes = PurgeLanes()
    for _ in range(3):
        with lanes.taken("s") as subject:
            assert subject == "purge/s"


def test_side_by_side_they_differ_and_beyond_the_limit_they_share() -> None:
    lanes = PurgeLanes()
    with ExitStack() as stack:
        taken = [stack.enter_context(lanes.taken("s")) for _ in range(2 * MAX_LANES)]
        with lanes.taken("other") as other:
            assert other == "purge/other"
    assert len(set(taken)) == MAX_LANES
    assert all(taken.count(subject) == 2 for subject in taken)
    with lanes.taken("s") as subject:
        assert subject == "purge/s"


async def test_purges_of_one_site_are_appended_at_the_same_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """As over a journal where appends to one subject take turns."""
    await api.post("/v1/sites", {"name": "blog"})
    turns: dict[str, asyncio.Lock] = {}
    under_way: list[int] = [0, 0]
    append = SqliteJournal.append

    async def slow(journal: SqliteJournal, draft: Draft, **how: Any) -> Any:
        if not isinstance(draft.change, Purged):
            return await append(journal, draft, **how)
        async with turns.setdefault(draft.subject, asyncio.Lock()):
            under_way[0] += 1
            under_way[1] = max(under_way)
            try:
                async with asyncio.timeout(5):
                    while under_way[1] < 8:
                        await asyncio.sleep(0.001)
                record = await append(journal, draft, **how)
                assert isinstance(record, Record)
                return record
            finally:
                under_way[0] -= 1

    monkeypatch.setattr(SqliteJournal, "append", slow)
    purges = [api.post("/v1/sites/blog/purges", {"tags": [f"t{number}"]}) for number in range(8)]
    await asyncio.gather(*purges)
    assert under_way == [0, 8]
