"""The feed of geography: the settings' files, the journal's table from control; what is damaged changes nothing."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cdn.dns import geo_feed
from cdn.dns.client import AddressFamily
from cdn.dns.geo_compile import compile_table
from cdn.dns.geo_default import default_table
from cdn.dns.geo_feed import GeoFeed, GeoState
from cdn.dns.geo_settings import GeoSettings
from cdn.dns.geo_table import GeoTable
from cdn.dns.round_trips import read_round_trips
from tests.dns.mmdb import mmdb

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geo_feed, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(geo_feed, "LAST_PAUSE_S", 0.02)
    monkeypatch.setattr(geo_feed, "LOOK_EVERY_S", 0.02)


def database(country: str) -> bytes:
    return mmdb({"192.0.2.0/24": {"country_code": country}})


def table(folder: Path, country: str) -> bytes:
    """A compiled one."""
    (folder / "made.mmdb").write_bytes(database(country))
    compile_table([folder / "made.mmdb"], folder / "made.geo")
    return (folder / "made.geo").read_bytes()


def country_of(state: GeoState) -> str:
    found: GeoTable = state.table
    return found.place(found.locate(AddressFamily.IPV4, int(ip_address("192.0.2.1"))).place).country


def fault_of(feed: GeoFeed) -> str:
    return feed.fault or ""


class Heard:
    """Every state that a feed told of."""

    def __init__(self) -> None:
        self.states: list[GeoState] = []
        self._news = asyncio.Event()

    def __call__(self, state: GeoState) -> None:
        self.states.append(state)
        self._news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Looks whenever something was heard, and now and then for what is not told."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._news.clear()
                await asyncio.wait((asyncio.ensure_future(self._news.wait()),), timeout=0.02)


class ToldControl:
    """Hands out `content`, or answers with a status."""

    def __init__(self, content: bytes | int) -> None:
        self.content = content
        self.asked: list[tuple[str, str | None]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.match_info["digest"], request.headers.get("Authorization")))
        if isinstance(self.content, int):
            return web.Response(status=self.content)
        return web.Response(body=self.content)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_get("/v1/geography/{digest}", self.answer)
        async with TestServer(application) as server:
            yield str(server.make_url("/"))


@asynccontextmanager
async def running(feed: GeoFeed) -> AsyncIterator[None]:
    task = asyncio.create_task(feed.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def feed_of(folder: Path, heard: Heard, *urls: str, files: tuple[Path, ...] = (), rtt: Path | None = None) -> GeoFeed:
    return GeoFeed(GeoSettings(files, rtt), folder / "geography", heard, control_urls=urls, token="cdn_a_b")


async def test_without_anything_the_embedded_table_holds(tmp_path: Path) -> None:
    heard = Heard()
    feed = feed_of(tmp_path, heard)
    feed.want("", 0)
    await feed.load()
    assert feed.state == GeoState(default_table(), None, None)
    assert feed.fault is None


async def test_the_journal_s_table_is_fetched_and_kept(tmp_path: Path) -> None:
    content = table(tmp_path, "FR")
    digest, control, heard = sha256(content).hexdigest(), ToldControl(content), Heard()
    async with control.served() as url:
        feed = feed_of(tmp_path, heard, url)
        feed.want(digest, len(content))
        await feed.load()
        assert heard.states == []
        async with running(feed):
            await heard.until(lambda: country_of(feed.state) == "FR")
            assert control.asked == [(digest, "Bearer cdn_a_b")]
            path = feed.state.table_path
            assert path == tmp_path / "geography" / f"{digest}.geo"
            feed.want("", 0)
            await heard.until(lambda: feed.state.table_path is None)
    assert feed.state.table is default_table()
    again = feed_of(tmp_path, Heard())  # a start without control
    again.want(digest, len(content))
    await again.load()
    assert country_of(again.state) == "FR"


async def test_what_control_sends_wrong_is_asked_for_again_elsewhere(tmp_path: Path) -> None:
    content = table(tmp_path, "FR")
    digest, heard = sha256(content).hexdigest(), Heard()
    bad = [ToldControl(each) for each in (503, content[:-1], content + b"\0", content[:-1] + b"!", b"")]
    good = ToldControl(503)
    async with (
        bad[0].served() as first,
        bad[1].served() as second,
        bad[2].served() as third,
        bad[3].served() as fourth,
        bad[4].served() as fifth,
        good.served() as sixth,
    ):
        feed = feed_of(tmp_path, heard, first, second, third, fourth, fifth, sixth)
        feed.want(digest, len(content))
        async with running(feed):
            await heard.until(lambda: len(good.asked) > 0)
            assert feed.fault is not None
            assert heard.states == []
            assert list((tmp_path / "geography").glob("*.geo")) == []
            good.content = content
            await heard.until(lambda: country_of(feed.state) == "FR")
    assert all(control.asked for control in bad)
    assert fault_of(feed) == ""
    assert [path.name for path in (tmp_path / "geography").iterdir()] == [f"{digest}.geo"]


async def test_what_can_never_do_is_not_asked_for_again(tmp_path: Path) -> None:
    heard, control = Heard(), ToldControl(b"no table of places, but what the journal names")
    assert isinstance(control.content, bytes)
    async with control.served() as url:
        feed = feed_of(tmp_path, heard, url)
        async with running(feed):
            for digest, size_bytes in (("../../etc/passwd", 9), ("a" * 64, 0), ("a" * 64, 1 << 40)):
                feed.want(digest, size_bytes)
                await heard.until(lambda: feed.fault is not None)
                assert control.asked == []
                feed.want("", 0)
                await heard.until(lambda: feed.fault is None)
            feed.want(sha256(control.content).hexdigest(), len(control.content))
            await heard.until(lambda: feed.fault is not None)
            feed.want(sha256(control.content).hexdigest(), len(control.content))
            await heard.until(lambda: not feed.has_news)
    assert len(control.asked) == 1
    assert feed.state.table is default_table()


async def test_a_table_of_the_settings_is_copied_and_taken_again_when_it_changes(tmp_path: Path) -> None:
    own, heard = tmp_path / "own.geo", Heard()
    own.write_bytes(table(tmp_path, "FR"))
    feed = feed_of(tmp_path, heard, files=(own,))
    await feed.load()
    assert country_of(feed.state) == "FR"
    async with running(feed):
        own.write_bytes(b"cdn-geo\nand then nonsense" * 9)  # in place: what is mapped must not be this file
        await heard.until(lambda: feed.fault is not None)
        assert "own.geo cannot be used" in (feed.fault or "")
        assert country_of(feed.state) == "FR"
        own.write_bytes(table(tmp_path, "JP"))
        await heard.until(lambda: country_of(feed.state) == "JP")
        assert feed.fault is None
        own.unlink()
        await heard.until(lambda: feed.fault is not None)
        assert country_of(feed.state) == "JP"
    again = feed_of(tmp_path, Heard(), files=(own,))  # a start while it is gone: the last copy holds
    await again.load()
    assert country_of(again.state) == "JP"
    assert "own.geo" in (again.fault or "")


async def test_databases_of_the_settings_are_compiled_beside_the_answers(tmp_path: Path) -> None:
    own, heard = tmp_path / "cities.mmdb", Heard()
    own.write_bytes(database("FR"))
    feed = feed_of(tmp_path, heard, files=(own,))
    await feed.load()
    assert heard.states == []  # the start does not wait for it
    async with running(feed):
        await heard.until(lambda: country_of(feed.state) == "FR")
        own.write_bytes(database("JP")[:-20])
        await heard.until(lambda: feed.fault is not None)
        assert "cities.mmdb" in (feed.fault or "")
        assert country_of(feed.state) == "FR"
    own.write_bytes(database("JP"))
    again, heard = feed_of(tmp_path, heard, files=(own,)), Heard()
    await again.load()
    assert country_of(again.state) == "FR"  # until the new one is compiled


async def test_a_disk_that_is_full_for_a_while_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own := tmp_path / "own.geo").write_bytes(table(tmp_path, "DE"))
    (rtt := tmp_path / "rtt").write_text("192.0.2.0/24,fra1,12\n")
    heard, failures = Heard(), [2, 2]

    def failing(which: int, real: Callable[..., Any]) -> Callable[..., Any]:
        def at_first_failing(*arguments: Any) -> Any:
            if failures[which]:
                failures[which] -= 1
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments)

        return at_first_failing

    monkeypatch.setattr(shutil, "copyfile", failing(0, shutil.copyfile))
    monkeypatch.setattr(geo_feed, "read_round_trips", failing(1, read_round_trips))
    feed = feed_of(tmp_path, heard, files=(own,), rtt=rtt)
    await feed.load()
    assert "No space left" in fault_of(feed)
    async with running(feed):
        await heard.until(lambda: country_of(feed.state) == "DE" and feed.state.round_trips is not None)
        assert (failures, feed.fault) == ([0, 0], None)


async def test_round_trips_are_read_again_when_they_change(tmp_path: Path) -> None:
    own, heard = tmp_path / "rtt.csv", Heard()
    own.write_text("192.0.2.0/24,fra1,5\n")
    feed = feed_of(tmp_path, heard, rtt=own)

    def milliseconds() -> dict[str, float]:
        found = feed.state.round_trips
        return found.round_trip_ms(1) if found else {}

    await feed.load()
    assert milliseconds() == {"fra1": 5.0}
    async with running(feed):
        own.write_text("192.0.2.0/24,fra1\n")
        await heard.until(lambda: feed.fault is not None)
        assert "line 1" in (feed.fault or "")
        assert milliseconds() == {"fra1": 5.0}
        own.write_text("192.0.2.0/24,fra1,7\n# again\n")
        await heard.until(lambda: milliseconds() == {"fra1": 7.0})
    assert feed.fault is None
    assert feed.state.table is default_table()


async def test_tables_that_are_used_no_more_are_removed(tmp_path: Path) -> None:
    own, heard, kept = tmp_path / "own.geo", Heard(), []
    own.write_bytes(table(tmp_path, "FR"))
    feed = feed_of(tmp_path, heard, files=(own,))
    await feed.load()
    async with running(feed):
        for country in ("JP", "US", "BR"):
            own.write_bytes(table(tmp_path, country))
            await heard.until(lambda country=country: country_of(feed.state) == country)  # type: ignore[misc]
            kept.append(feed.state.table_path)
    assert set((tmp_path / "geography").iterdir()) == set(kept[1:])  # another process may be opening the former one
