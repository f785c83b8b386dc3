"""Asking control for the fleet: the next control when one fails, the last word on disk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cdn.dns import fleet_feed
from cdn.dns.fleet_feed import FleetFeed
from cdn.dns.fleet_nodes import SeenFleet
from cdn.dns.kept_view import kept_view

PATIENCE_S = 30.0


def view(number: int, *nodes: str) -> dict[str, Any]:
    listed = [
        {"node": name, "region": "", "addresses": ["192.0.2.1"], "weight": 1, "state": "serving", "lag_s": 0.0}
        for name in nodes
    ]
    return {"number": number, "frozen": False, "seen_at": 0.0, "nodes": listed}


class ToldControl:
    """Answers as it is told: a document, a status, or bytes."""

    def __init__(self, told: Any) -> None:
        self.told = told
        self.asked: list[dict[str, str]] = []
        self.tokens: list[str | None] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        self.tokens.append(request.headers.get("Authorization"))
        if isinstance(self.told, int):
            return web.Response(status=self.told, headers={"Location": "/elsewhere"})
        if isinstance(self.told, bytes):
            return web.Response(body=self.told)
        return web.json_response(self.told)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_get("/v1/fleet/view", self.answer)
        async with TestServer(application) as server:
            yield str(server.make_url("")).rstrip("/")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_feed, "PAUSE_S", 0.01)
    monkeypatch.setattr(fleet_feed, "GATHER_S", 0.01)
    monkeypatch.setattr(fleet_feed, "KEEP_EVERY_S", 0.01)


@asynccontextmanager
async def feeding(path: Path, *urls: str) -> AsyncIterator[tuple[FleetFeed, list[SeenFleet]]]:
    heard: list[SeenFleet] = []
    feed = FleetFeed(urls, "cdn_a_b", path, heard.append)
    tasks = [asyncio.create_task(feed.run()), asyncio.create_task(feed.keep())]
    try:
        yield feed, heard
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def test_it_waits_for_the_next_view_and_hears_every_answer(tmp_path: Path) -> None:
    control = ToldControl(view(5, "n1"))
    async with control.served() as url, feeding(tmp_path / "fleet.json", url) as (feed, heard):
        await until(lambda: len(heard) >= 3)
        assert [each.number for each in heard[:3]] == [5, 5, 5]
        assert control.asked[:2] == [{}, {"beyond": "5", "wait": "1"}]
        assert control.tokens[0] == "Bearer cdn_a_b"
        assert feed.fault is None
        control.told = view(6, "n1", "n2")
        await until(lambda: heard[-1].number == 6)
        await until(lambda: (kept_view(tmp_path / "fleet.json") or heard[0]).number == 6)
    kept = kept_view(tmp_path / "fleet.json")
    assert kept == heard[-1]
    assert [each.member.node_id for each in kept.nodes] == ["n1", "n2"]


async def test_what_a_control_that_is_frozen_says_takes_no_other_word_s_place_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    control = ToldControl(view(1) | {"frozen": True})

    def kept_number() -> int | None:
        kept = kept_view(path)
        return None if kept is None else kept.number

    async with control.served() as url, feeding(path, url) as (_, heard):
        await until(lambda: kept_number() == 1)  # better than nothing
        control.told = view(2, "n1")
        await until(lambda: kept_number() == 2)
        control.told = view(3) | {"frozen": True}
        await until(lambda: len([each for each in heard if each.number == 3]) > 20)
        assert kept_number() == 2
        control.told = view(4, "n1")
        await until(lambda: kept_number() == 4)


@pytest.mark.parametrize(
    "told", [500, 401, 302, b"<html>", b"{}", pytest.param(b" " * (16 * 1024 * 1024 + 1), id="long")]
)
async def test_a_control_that_does_not_say_is_left_for_the_next(tmp_path: Path, told: Any) -> None:
    first, second = ToldControl(told), ToldControl(view(1, "n1"))
    path = tmp_path / "fleet.json"
    async with first.served() as one, second.served() as other, feeding(path, one, other) as (_, heard):
        await until(lambda: heard)
        assert len(first.asked) == 1
        second.told = 503
        first.told = view(9, "n9")
        await until(lambda: heard[-1].number == 9)
        assert first.asked[-1] in ({}, {"beyond": "9", "wait": "1"}), "another control counts for itself"


async def test_nobody_there_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with ToldControl(200).served() as url:
        pass
    async with feeding(tmp_path / "fleet.json", url) as (feed, heard):
        await until(lambda: feed.fault)
        assert heard == []
    assert sum("does not say how the fleet is" in record.message for record in caplog.records) == 1


async def test_a_disk_that_takes_nothing_disturbs_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    control = ToldControl(view(1, "n1"))
    async with control.served() as url, feeding(tmp_path / "gone" / "fleet.json", url) as (_, heard):
        await until(lambda: any("was not kept" in record.message for record in caplog.records))
        control.told = view(2, "n1")
        await until(lambda: heard[-1].number == 2)


def test_a_copy_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    assert kept_view(path) is None
    path.write_text(json.dumps(view(3, "n1"))[:-5])
    assert kept_view(path) is None
    path.write_bytes(b" " * (16 * 1024 * 1024 + 1))
    assert kept_view(path) is None
    path.unlink()
    path.mkdir()
    assert kept_view(path) is None
