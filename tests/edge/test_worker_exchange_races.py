"""What a worker keeps of the node's hits, and what it must not: records and forgets before, during and after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cdn.edge import worker_asking
from cdn.edge.worker_ask import Ready, Whole, decode_from_node
from cdn.journal.record import SiteChanged, SiteRemoved
from tests.edge.pull_stage import Stage
from tests.edge.worker_pull_stage import PullFleet, pull_fleet
from tests.edge.worker_stage import until


@pytest.fixture
async def fleet(stage: Stage) -> AsyncIterator[PullFleet]:
    async with pull_fleet(stage) as fleet:
        yield fleet


class HeldReady:
    """Hits on their way to workers, kept there until the test lets them arrive."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_active = False
        self.waiting: list[tuple[worker_asking.Asking, bytes]] = []
        self._arrive = arrive = worker_asking.Asking.message_came

        def held(asking: worker_asking.Asking, raw: bytes) -> None:
            message = decode_from_node(raw)
            is_hit = isinstance(message, Ready) or (isinstance(message, Whole) and message.kept is not None)
            if self.is_active and is_hit:
                self.waiting.append((asking, raw))
            else:
                arrive(asking, raw)

        monkeypatch.setattr(worker_asking.Asking, "message_came", held)

    def arrive(self) -> None:
        self.is_active = False
        for asking, raw in self.waiting:
            self._arrive(asking, raw)
        self.waiting.clear()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldReady:
    return HeldReady(monkeypatch)


@pytest.fixture(params=["prepared on the node", "prepared by this answer"])
def is_prepared(request: pytest.FixtureRequest) -> bool:
    """How the node comes to give a hit."""
    return bool(request.param == "prepared on the node")


async def prime(fleet: PullFleet, held: HeldReady, path: str = "/a", *, is_prepared: bool) -> None:
    """Nothing is in the workers' memory, and the next answer comes with a hit to keep."""
    await fleet.get(path, 1)
    if is_prepared:
        await fleet.get(path, 1)
        for worker in fleet.workers:
            worker.tier.clear()
    recalled = fleet.stage.road.recall(fleet.stage.request(path), fleet.stage.site(), fleet.stage.now)
    assert (recalled is not None) is is_prepared
    held.is_active = True


# Keeping


async def test_a_hit_is_kept_by_the_worker_that_asked(fleet: PullFleet) -> None:
    miss = await fleet.get()
    assert (miss.is_local, miss.answer.is_hit) == (False, False)
    given = await fleet.get()
    assert (given.is_local, given.answer.is_hit) == (False, True)
    own = await fleet.get()
    assert own.is_local
    assert own.answer.content == given.answer.content
    assert dict(own.answer.fields.lines) == dict(given.answer.fields.lines) | {
        "date": own.answer.fields.get("date"),
        "content-length": str(len(own.answer.content)),
    }
    assert not fleet.has(number=1)
    assert (await fleet.get(number=1)).answer.is_hit
    assert fleet.has(number=1)


async def test_it_ages_and_ends_as_on_the_node(fleet: PullFleet) -> None:
    await fleet.warm()
    fleet.stage.now += 7.5
    own = await fleet.get()
    assert (own.is_local, own.answer.fields.get("age"), own.answer.cache_status) == (True, "7", "cdn; hit; ttl=52")
    fleet.stage.now += 60
    assert not fleet.has()
    assert not (await fleet.get()).is_local


async def test_without_a_lease_the_node_is_asked(fleet: PullFleet) -> None:
    await fleet.warm()
    fleet.workers[0].serves_until = fleet.stage.now
    got = await fleet.get()
    assert (got.is_local, got.answer.is_hit) == (False, True)
    fleet.workers[0].serves_until = fleet.stage.now + 1
    assert (await fleet.get()).is_local


async def test_its_use_is_told(fleet: PullFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[Any] = []
    monkeypatch.setattr(fleet.stage.disk, "touch", touched.append)
    await fleet.warm()
    worker, server = fleet.workers[0], fleet.exchanged.server
    (token,) = worker.used
    server.used(token)
    assert len(touched) == 1
    server.used(token + 1000)
    server.used(0)
    assert len(touched) == 1, "nobody knows these"


async def test_tokens_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[Any] = []
    monkeypatch.setattr(stage.disk, "touch", touched.append)
    async with pull_fleet(stage, max_tokens=2) as fleet:
        for path in ("/a", "/b", "/c"):
            await fleet.warm(path)
        first, second, third = fleet.workers[0].used
        for token in (first, second, third, second):
            fleet.exchanged.server.used(token)
        assert [key.path.split(" ")[-1] for key in touched] == ["/b", "/c", "/b"]


async def test_vary_tells_visitors_apart(fleet: PullFleet) -> None:
    for language in ("de", "en", "de"):
        got = await fleet.warm(accept_language=language)
        assert got.text == f"0 /a {language}"
    assert fleet.has(accept_language="de")
    assert fleet.has(accept_language="en")
    assert not fleet.has(accept_language="fr")
    assert not fleet.has()
    assert fleet.has("/plain", accept_language="de") is False
    await fleet.warm("/plain", accept_language="de")
    assert fleet.has("/plain", accept_language="en")


async def test_codings_tell_visitors_apart(fleet: PullFleet) -> None:
    coded = await fleet.warm(accept_encoding="gzip, br;q=0.1")
    assert coded.answer.fields.get("content-encoding") == "gzip"
    assert fleet.has(accept_encoding="gzip")
    assert not fleet.has()
    plain = await fleet.warm()
    assert plain.answer.fields.get("content-encoding") is None
    assert (await fleet.get(accept_encoding="gzip")).answer.content == coded.answer.content


async def test_what_the_request_says_against_it_goes_to_the_node(fleet: PullFleet) -> None:
    await fleet.warm()
    assert not fleet.has(cache_control="no-cache")
    assert not fleet.has(cdn_debug="1")
    assert (await fleet.get(cdn_debug="1")).answer.fields.get("cdn-node") == "n1"
    assert (await fleet.get(range="bytes=0-3")).answer.content == b"0 /a"


# Forgets


async def test_forgotten_after_it_was_kept(fleet: PullFleet) -> None:
    await fleet.warm()
    await fleet.warm(number=1)
    assert (await fleet.post()).status == 204
    assert not fleet.has()
    assert not fleet.has(number=1), "whoever has the answer may ask another worker"
    assert (await fleet.get(number=1)).version == 1


async def test_forgotten_also_when_the_node_has_lost_it(fleet: PullFleet) -> None:
    """The node's own memory is full of other things."""
    await fleet.warm()
    fleet.stage.tier.clear()
    fleet.stage.memory.drop_site("s1")
    await fleet.post()
    assert not fleet.has()
    assert (await fleet.get()).version == 1


async def test_the_forget_is_faster_than_the_hit(fleet: PullFleet, held: HeldReady, is_prepared: bool) -> None:
    await prime(fleet, held, is_prepared=is_prepared)
    asking = asyncio.create_task(fleet.get())
    await until(lambda: held.waiting)
    assert (await fleet.post(number=1)).status == 204
    held.arrive()
    assert (await asking).version == 0, "it asked before"
    assert not fleet.has()
    assert (await fleet.get()).version == 1


async def test_the_hit_is_faster_than_the_forget(fleet: PullFleet) -> None:
    await fleet.warm()
    fleet.hold()
    posting = asyncio.create_task(fleet.post(number=1))
    await until(lambda: fleet.told[0])
    assert not fleet.has(number=1)
    assert (await fleet.get()).version == 0, "nobody knows of the answer yet"
    assert not posting.done()
    fleet.deliver()
    assert (await posting).status == 204
    assert not fleet.has()


async def test_a_newer_hit_is_faster_than_the_forget_before_it(fleet: PullFleet) -> None:
    """Then the newer one goes as well, which costs a question."""
    await fleet.warm()
    fleet.hold()
    posting = asyncio.create_task(fleet.post(number=1))
    await until(lambda: fleet.told[0])
    # The worker loses what it has, and asks again before it hears of the forget.
    fleet.workers[0].tier.clear()
    assert (await fleet.get(number=1)).version == 1
    assert (await fleet.get()).version == 1
    assert fleet.has()
    fleet.deliver()
    await posting
    assert not fleet.has()
    assert (await fleet.warm()).version == 1


async def test_a_hit_taken_before_and_come_after_many_other_forgets(
    fleet: PullFleet, held: HeldReady, is_prepared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which places were forgotten lately, only so many are remembered."""
    monkeypatch.setattr("cdn.edge.pull_memory.MAX_FORGOTTEN", 2)
    await prime(fleet, held, is_prepared=is_prepared)
    asking = asyncio.create_task(fleet.get())
    await until(lambda: held.waiting)
    await fleet.post()
    for path in ("/x", "/y", "/z"):
        await fleet.post(path)
    held.arrive()
    assert (await asking).version == 0
    assert not fleet.has()


async def test_a_group_that_is_invalidated(fleet: PullFleet) -> None:
    for path in ("/grouped1", "/grouped2", "/a"):
        await fleet.warm(path)
        await fleet.warm(path, number=1)
    assert (await fleet.post("/grouped1")).status == 204
    for number in (0, 1):
        assert not fleet.has("/grouped1", number)
        assert not fleet.has("/grouped2", number)
    assert (await fleet.get("/grouped2", 1)).version == 1
    assert (await fleet.warm("/a")).version == 0


async def test_a_group_that_is_invalidated_while_a_hit_is_on_its_way(
    fleet: PullFleet, held: HeldReady, is_prepared: bool
) -> None:
    await prime(fleet, held, "/grouped2", is_prepared=is_prepared)
    asking = asyncio.create_task(fleet.get("/grouped2"))
    await until(lambda: held.waiting)
    await fleet.post("/grouped1")
    held.arrive()
    assert (await asking).version == 0
    assert not fleet.has("/grouped2")


async def test_the_answer_to_an_unsafe_request_waits_for_all_workers(fleet: PullFleet) -> None:
    await fleet.warm(number=1)
    fleet.hold(1)
    posting = asyncio.create_task(fleet.post())
    await until(lambda: fleet.told[1])
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not posting.done()
    assert fleet.has(number=1)
    fleet.deliver(1)
    assert (await posting).status == 204
    assert not fleet.has(number=1)


async def test_what_forgets_nothing_waits_for_nobody(fleet: PullFleet) -> None:
    fleet.hold(1)
    fleet.stage.purge()
    assert (await fleet.get("/b")).version == 0
    assert (await fleet.get(method="OPTIONS")).answer.status == 200
    fleet.deliver(1)


# Records


async def test_a_record_applied_after_it_was_kept(fleet: PullFleet) -> None:
    await fleet.warm()
    fleet.stage.purge()
    assert not fleet.has()


async def test_a_record_applied_while_it_was_on_its_way(fleet: PullFleet, held: HeldReady, is_prepared: bool) -> None:
    await prime(fleet, held, is_prepared=is_prepared)
    asking = asyncio.create_task(fleet.get())
    await until(lambda: held.waiting)
    fleet.stage.purge()
    held.arrive()
    assert (await asking).version == 0
    assert not fleet.has()


async def test_a_record_that_the_node_alone_has_applied(fleet: PullFleet) -> None:
    """The hit is as of that record; the worker that hears of it later looks at it again."""
    await fleet.warm()
    fleet.hold()
    fleet.stage.purge("tag", "ta")
    assert fleet.has(), "the purge is not acknowledged yet"
    fleet.workers[0].tier.clear()
    await fleet.get()
    await fleet.get()
    assert fleet.has()
    fleet.deliver()
    assert not fleet.has()


async def test_a_site_that_is_removed(fleet: PullFleet, held: HeldReady, is_prepared: bool) -> None:
    await prime(fleet, held, is_prepared=is_prepared)
    asking = asyncio.create_task(fleet.get())
    await until(lambda: held.waiting)
    fleet.stage.apply(SiteRemoved("s1"))
    fleet.workers[0].application.drop_site("s1")
    held.arrive()
    assert (await asking).version == 0
    assert not fleet.has()
    assert fleet.workers[0].application._recall.note(fleet.stage.request()) is None


async def test_settings_that_give_another_key(fleet: PullFleet) -> None:
    """What the node found under its newer settings is not kept under the worker's older ones."""
    await fleet.warm("/a?x=1")
    fleet.hold()
    fleet.workers[0].tier.clear()
    fleet.stage.apply(SiteChanged("s1", {"origin": "https://up.example", "query": "drop"}))
    await fleet.get("/a?x=1")
    assert (await fleet.get("/a?x=1")).answer.is_hit
    assert not fleet.has("/a?x=1")
    fleet.deliver()
    await fleet.warm("/a?x=1")
    assert fleet.has("/a?x=2")
