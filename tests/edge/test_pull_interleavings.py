"""What happens to a fetch while it is under way: purges, unsafe requests, clients that leave, at every point (I1, I6).

The points are those at which a fetch waits for something. What it brings must reach the client that asked before, and
nobody who asks after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cdn.edge.pull_fetch import Asking
from cdn.edge.pull_flight import Failed
from cdn.journal.record import SiteChanged, SiteRemoved
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.pull_stage import FRESH, Answer, Stage, hold_commit, hold_enter, hold_entered, soon, until
from tests.edge.pull_upstream import Exchange

OLD = b"old" * (CHUNK_BYTES // 2)
NEW = b"new"
TAGGED = (FRESH, ("cache-tag", "t"), ("cache-groups", '"g"'), ("etag", '"old"'))

POINTS = ["sent", "head", "middle", "last", "enter", "queued", "entered"]

ACTIONS: dict[str, Callable[[Stage], Awaitable[object]]] = {}


def action(act: Callable[[Stage], Awaitable[object]]) -> Callable[[Stage], Awaitable[object]]:
    ACTIONS[act.__name__] = act
    return act


@action
async def purge_url(stage: Stage) -> None:
    stage.purge("url", "/a")


@action
async def purge_prefix(stage: Stage) -> None:
    stage.purge("prefix", "/")


@action
async def purge_tag(stage: Stage) -> None:
    stage.purge("tag", "t")


@action
async def purge_everything(stage: Stage) -> None:
    stage.purge()


@action
async def soft_purge(stage: Stage) -> None:
    stage.purge("url", "/a", soft=True)


@action
async def unsafe(stage: Stage) -> None:
    await stage.unsafe("/a")


@action
async def unsafe_elsewhere(stage: Stage) -> None:
    await stage.unsafe("/b", ("location", "/a"))


@action
async def group(stage: Stage) -> None:
    await stage.unsafe("/b", ("cache-group-invalidation", '"g"'))


@action
async def change_epoch(stage: Stage) -> None:
    stage.change_epoch()


@action
async def change_origin(stage: Stage) -> None:
    stage.apply(SiteChanged("s1", {"origin": "https://other.example"}, purges=True))


class Fetch:
    """A fetch that is brought to a point, and from there to its end."""

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stage = stage
        self._monkeypatch = monkeypatch
        self._finish: Callable[[], object] = lambda: None

    async def to(self, point: str) -> asyncio.Task[Answer]:
        stage = self.stage
        client = stage.begin()
        exchange = await stage.upstream.next()
        self._finish = lambda: exchange.answer(200, *TAGGED, content=OLD)
        if point == "sent":
            return client
        content = exchange.head(200, *TAGGED, size_bytes=len(OLD))
        if point in {"enter", "queued", "entered"}:
            hold = {"enter": hold_enter, "queued": hold_commit, "entered": hold_entered}[point]
            gate = hold(stage, self._monkeypatch)
            content.send(OLD)
            content.end()
            await gate.come()
            if point == "entered":  # committed for all who look at the disk
                await until(lambda: stage.disk.facts().responses)
            self._finish = gate.open
            return client
        sent = {"head": 0, "middle": CHUNK_BYTES + 7, "last": len(OLD)}[point]

        def finish() -> None:
            if sent < len(OLD):
                content.send(OLD[sent:])
            content.end()

        self._finish = finish
        if sent:
            content.send(OLD[:sent])
            await until(lambda: content.taken_bytes == sent and stage.disk.facts().writing_bytes)
        else:
            await until(lambda: stage.arriving)
        return client

    async def end(self) -> None:
        self._finish()
        self._monkeypatch.undo()


async def answer_next(stage: Stage, *lines: tuple[str, str]) -> Exchange:
    exchange = await stage.upstream.next()
    exchange.answer(200, FRESH, *lines, content=NEW)
    return exchange


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", ACTIONS)
async def test_what_was_asked_for_before_reaches_nobody_who_asks_after(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, point: str
) -> None:
    fetch = Fetch(stage, monkeypatch)
    first = await fetch.to(point)
    await soon(asyncio.ensure_future(ACTIONS[name](stage)))
    second = stage.begin()
    # The second asks by itself: now, or, where it waits for what is just coming in, after that.
    await fetch.end()
    exchange = await answer_next(stage)
    assert (await soon(first)).content == OLD
    answer = await soon(second)
    assert (answer.content, answer.is_hit) == (NEW, False)
    assert "collapsed" not in answer.cache_status
    await stage.idle()
    assert (await stage.get()).content == NEW
    assert stage.upstream.unseen == 0
    if name != "soft_purge":  # what is soft purged may be validated
        assert "if-none-match" not in exchange.fields
    await stage.assert_clean()


@pytest.mark.parametrize("point", ["sent", "head", "middle", "last"])
async def test_nobody_joins_a_fetch_after_the_sweep_behind_a_purge(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """The sweep lets the floor go, and the fetch may take longer than both."""
    fetch = Fetch(stage, monkeypatch)
    first = await fetch.to(point)
    stage.purge()
    through = stage.view.position
    await soon(asyncio.ensure_future(stage.disk.sweep("s1", through, lambda stored: True)))
    stage.swept.swept("s1", through)
    second = stage.begin()
    # The second asks by itself: now, or, where it waits for what is just coming in, after that.
    await fetch.end()
    exchange = await answer_next(stage)
    assert (await soon(first)).content == OLD
    assert (await soon(second)).content == NEW
    assert "if-none-match" not in exchange.fields
    await stage.idle()
    assert (await stage.get()).content == NEW
    await stage.assert_clean()


@pytest.mark.parametrize("point", POINTS)
async def test_a_site_that_is_removed_stores_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    fetch = Fetch(stage, monkeypatch)
    first = await fetch.to(point)
    key = stage.key()
    stage.apply(SiteRemoved("s1"))
    await fetch.end()
    assert (await soon(first)).content == OLD
    await stage.idle()
    if point not in {"queued"}:  # reclaiming removes what came in by then: its horizon is behind it
        assert await stage.disk.find_all(key.site_id, key.path) == ()
    await stage.assert_clean()


@pytest.mark.parametrize("point", POINTS)
async def test_without_any_of_that_it_is_stored(stage: Stage, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    fetch = Fetch(stage, monkeypatch)
    first = await fetch.to(point)
    second = stage.begin()
    if point in {"head", "middle", "sent"}:
        await until(lambda: stage.flights._all[("s1", stage.key().path)][0]._waiting == 2 or len(stage.arriving) == 1)
    await fetch.end()
    assert (await soon(first)).content == OLD
    answer = await soon(second)
    assert answer.content == OLD
    assert answer.is_hit is (point not in {"sent", "head", "middle"}), "what is all here is waited for, then found"
    await stage.idle()
    assert (await stage.get()).is_hit
    assert len(stage.upstream.exchanges) == 1
    await stage.assert_clean()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("clients", [1, 2])
async def test_clients_that_leave_leave_nothing_behind(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, point: str, clients: int
) -> None:
    """What is being stored is stored all the same."""
    fetch = Fetch(stage, monkeypatch)
    gone = [await fetch.to(point)]
    if clients == 2 and point in {"sent", "head", "middle"}:
        gone.append(stage.begin())
        await until(lambda: stage.flights._number >= 3)
    for client in gone:
        client.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    await fetch.end()
    await stage.assert_clean()
    answer = await stage.get()
    assert (answer.content, answer.is_hit) == (OLD, True)
    assert len(stage.upstream.exchanges) == 1


@pytest.mark.parametrize("point", ["sent", "head", "middle"])
async def test_an_upstream_that_fails_at_any_point_leaves_nothing_behind(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    fetch = Fetch(stage, monkeypatch)
    first = await fetch.to(point)
    exchange = stage.upstream.exchanges[0]
    if exchange.content is None:
        exchange.fail()
        assert (await soon(first)).status == 502
    else:
        exchange.content.break_off()
        with pytest.raises(Exception, match="closed early"):
            await soon(first)
    await stage.assert_clean()
    assert await stage.stored() == ()


@pytest.mark.parametrize("point", POINTS)
async def test_closing_the_node_at_any_point_leaves_nobody_waiting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    fetch = Fetch(stage, monkeypatch)
    first = await fetch.to(point)
    if point in {"queued", "entered"}:
        await fetch.end()
    await stage.pull.aclose()
    await asyncio.wait([first], timeout=5)
    assert first.done()
    first.exception()
    assert len(stage.flights) == 0
    assert not stage.fetcher._tasks


async def test_closing_the_node_when_a_fetch_has_not_taken_its_first_step_leaves_nobody_waiting(stage: Stage) -> None:
    flight = stage.fetcher.begin(Asking(stage.visit()))
    await stage.pull.aclose()
    assert isinstance(await soon(flight.outcome()), Failed)
    await stage.assert_clean()
    assert stage.upstream.exchanges == []
