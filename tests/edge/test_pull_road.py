"""The road of a request to a pull site, from its key to the response: who asks upstream, who waits, who goes alone."""

from __future__ import annotations

import asyncio

import pytest

from cdn.edge.disk_tier import DiskTier
from cdn.edge.pull_fetch import Asking
from cdn.edge.pull_road import MAX_BACKGROUND_VALIDATIONS
from cdn.edge.request_content import ContentInterrupted
from cdn.edge.stored import StoredResponse
from cdn.origin.upstream import UpstreamFault
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.conftest import MakeStage
from tests.edge.pull_stage import FRESH, NOT_STORED, Gate, SentContent, Stage, soon, until

ETAG = ("etag", '"1"')
SWR = ("cache-control", "max-age=10, stale-while-revalidate=100")


async def waiting(stage: Stage, count: int, path: str = "/a") -> None:
    """Until so many clients wait for the answer that was asked for first."""
    place = ("s1", stage.key(path).path)
    await until(lambda: stage.flights._all.get(place) and stage.flights._all[place][0]._waiting == count)


def hold_chunks(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Whoever reads a chunk from disk has read it, and does not have it before the gate opens."""
    gate = Gate()
    read_chunk = DiskTier.read_chunk

    async def held(self: DiskTier, stored: StoredResponse, number: int) -> object:
        chunk = await read_chunk(self, stored, number)
        await gate.pass_through()
        return chunk

    monkeypatch.setattr(DiskTier, "read_chunk", held)
    return gate


async def test_a_miss_is_stored_and_the_next_is_a_hit(stage: Stage) -> None:
    client = stage.begin()
    (await stage.upstream.next()).answer(200, FRESH, content=b"one")
    answer = await soon(client)
    assert (answer.status, answer.content) == (200, b"one")
    assert answer.cache_status == "cdn; fwd=uri-miss; fwd-status=200; ttl=60; stored"
    await stage.idle()
    answer = await stage.get()
    assert (answer.status, answer.content, answer.is_hit) == (200, b"one", True)
    await stage.assert_clean()


# Collapsing


async def test_many_ask_and_one_is_sent(stage: Stage) -> None:
    clients = [stage.begin() for _ in range(5)]
    exchange = await stage.upstream.next()
    await waiting(stage, 5)
    exchange.answer(200, FRESH, content=b"one")
    answers = [await soon(client) for client in clients]
    assert {answer.content for answer in answers} == {b"one"}
    assert sorted("collapsed" in answer.cache_status for answer in answers) == [False, True, True, True, True]
    assert stage.upstream.unseen == 0
    await stage.assert_clean()


async def test_those_who_waited_for_an_answer_for_one_go_in_parallel_and_later_ones_do_not_wait(
    make_stage: MakeStage,
) -> None:
    stage = await make_stage(site={"pass_s": 30})
    clients = [stage.begin() for _ in range(4)]
    first = await stage.upstream.next()
    await waiting(stage, 4)
    first.answer(200, NOT_STORED, content=b"first")
    exchanges = [await stage.upstream.next() for _ in range(3)]  # all three before any of them is answered
    for number, exchange in enumerate(exchanges):
        exchange.answer(200, NOT_STORED, content=b"%d" % number)
    assert sorted([(await soon(client)).content for client in clients]) == [b"0", b"1", b"2", b"first"]
    for _ in range(2):
        stage.begin()
    for exchange in [await stage.upstream.next() for _ in range(2)]:
        exchange.answer(200, NOT_STORED, content=b"later")
    await stage.assert_clean()


@pytest.mark.parametrize(("after_s", "is_collapsed"), [(29, False), (31, True)])
async def test_the_mark_that_stops_collapsing_expires(make_stage: MakeStage, after_s: int, is_collapsed: bool) -> None:
    stage = await make_stage(site={"pass_s": 30})
    await stage.fetch("/a", NOT_STORED)
    stage.now += after_s
    clients = [stage.begin() for _ in range(2)]
    exchange = await stage.upstream.next()
    if is_collapsed:
        await waiting(stage, 2)
    else:
        (await stage.upstream.next()).answer(200, NOT_STORED)
    exchange.answer(200, FRESH)
    for client in clients:
        await soon(client)
    assert stage.upstream.unseen == 0


async def test_an_answer_that_is_stored_ends_the_mark(make_stage: MakeStage) -> None:
    stage = await make_stage(site={"pass_s": 30})
    await stage.fetch("/a", NOT_STORED)
    await stage.fetch("/a", ("cache-control", "max-age=1"))
    stage.now += 5
    clients = [stage.begin() for _ in range(2)]
    exchange = await stage.upstream.next()
    await waiting(stage, 2)
    exchange.answer(200, FRESH)
    for client in clients:
        await soon(client)


async def test_those_who_waited_with_other_fields_that_vary_names_ask_themselves(stage: Stage) -> None:
    """What Vary names is known with the answer only; among themselves those who select alike collapse again."""
    languages = ["de", "de", "fr", "fr", "fr"]
    clients = [stage.begin(accept_language=language) for language in languages]
    exchange = await stage.upstream.next()
    await waiting(stage, 5)
    exchange.answer(200, FRESH, ("vary", "accept-language"), content=b"de")
    other = await stage.upstream.next()
    assert other.fields.get("accept-language") == "fr"
    await until(lambda: stage.flights._all[("s1", stage.key().path)][-1]._waiting == 3)
    other.answer(200, FRESH, ("vary", "accept-language"), content=b"fr")
    assert [(await soon(client)).content.decode() for client in clients] == languages
    assert stage.upstream.unseen == 0
    await stage.idle()
    assert (await stage.get(accept_language="de")).is_hit
    assert (await stage.get(accept_language="fr")).is_hit
    await stage.assert_clean()


async def test_a_failure_reaches_all_who_waited_for_it(stage: Stage) -> None:
    clients = [stage.begin() for _ in range(3)]
    exchange = await stage.upstream.next()
    await waiting(stage, 3)
    exchange.fail(UpstreamFault.READ_TIMEOUT)
    assert [(await soon(client)).status for client in clients] == [504] * 3
    assert len(stage.upstream.exchanges) == 1
    await stage.assert_clean()


async def test_the_one_who_asked_leaves_and_the_others_get_the_answer(stage: Stage) -> None:
    clients = [stage.begin() for _ in range(3)]
    exchange = await stage.upstream.next()
    await waiting(stage, 3)
    clients[0].cancel()
    await waiting(stage, 2)
    exchange.answer(200, FRESH, content=b"one")
    assert [(await soon(client)).content for client in clients[1:]] == [b"one"] * 2
    await stage.assert_clean()


async def test_a_client_that_leaves_at_the_moment_of_the_answer_holds_nothing(stage: Stage) -> None:
    """The head is here, and the client is gone before it could take its share of the content."""
    clients = [stage.begin() for _ in range(2)]
    exchange = await stage.upstream.next()
    await waiting(stage, 2)
    content = exchange.head(200, NOT_STORED)
    place = ("s1", stage.key().path)
    flight = stage.flights._all[place][0]
    flight._outcome.add_done_callback(lambda done: [client.cancel() for client in clients])
    await asyncio.gather(*clients, return_exceptions=True)
    await until(lambda: content.is_closed)
    await stage.assert_clean()


async def test_an_endless_answer_that_is_not_stored_ends_when_its_client_left_before_its_head(stage: Stage) -> None:
    client = stage.begin()
    exchange = await stage.upstream.next()
    await waiting(stage, 1)
    client.cancel()
    await waiting(stage, 0)
    content = exchange.head(200, NOT_STORED)
    content.send(b"x")
    content.send(b"x")
    await until(lambda: content.is_closed)
    await stage.assert_clean()


async def test_an_endless_answer_ends_when_it_proves_too_large_and_its_client_has_left(make_stage: MakeStage) -> None:
    stage = await make_stage(max_stored_bytes=CHUNK_BYTES)
    client = stage.begin()
    content = (await stage.upstream.next()).head(200, FRESH)
    content.send(b"x" * CHUNK_BYTES)
    await until(lambda: stage.disk.facts().writing_bytes)
    client.cancel()
    content.send(b"y")
    content.send(b"z")
    await until(lambda: content.is_closed)
    await stage.assert_clean()
    assert await stage.stored() == ()


async def test_too_many_fetches_are_turned_away(stage: Stage) -> None:
    stage.flights._max_per_site = 2
    clients = [stage.begin("/a"), stage.begin("/b")]
    exchanges = [await stage.upstream.next() for _ in clients]
    refused = await stage.get("/c")
    assert refused.status == 503
    assert "too-many-fetches" in refused.cache_status
    assert (await stage.get("/c", "POST")).status == 503
    assert stage.flights.refused == 2
    joined = stage.begin("/a")
    await waiting(stage, 2)
    for exchange in exchanges:
        exchange.answer(200, FRESH)
    for client in (*clients, joined):
        assert (await soon(client)).status == 200
    await stage.idle()
    await stage.fetch("/c")
    await stage.assert_clean()


async def test_an_answer_that_was_asked_for_earlier_does_not_replace_a_later_one(stage: Stage) -> None:
    early = stage.begin()
    early_exchange = await stage.upstream.next()
    late = stage.begin(cache_control="no-cache")
    (await stage.upstream.next()).answer(200, FRESH, content=b"late")
    assert (await soon(late)).content == b"late"
    await until(lambda: stage.disk.facts().responses)
    early_exchange.answer(200, FRESH, content=b"early")
    assert (await soon(early)).content == b"early"
    await stage.idle()
    assert (await stage.get()).content == b"late"
    await stage.assert_clean()


# Validation


async def test_a_stale_response_is_validated_behind_once_for_all(stage: Stage) -> None:
    await stage.fetch("/a", SWR, ETAG)
    stage.now += 20
    for _ in range(3):
        answer = await stage.get()
        assert (answer.content, answer.is_hit) == (b"one", True)
    exchange = await stage.upstream.next()
    assert exchange.fields.get("if-none-match") == '"1"'
    exchange.answer(304, SWR, ETAG)
    await stage.assert_clean()
    assert stage.upstream.unseen == 0
    assert (await stage.get()).fields.get("age") == "0"
    assert stage.counters.validated == 1


async def test_a_stale_response_to_head_is_validated_for_those_who_get(stage: Stage) -> None:
    await stage.fetch("/a", SWR, ETAG)
    stage.now += 20
    answer = await stage.get(method="HEAD")
    assert answer.is_hit
    exchange = await stage.upstream.next()
    assert exchange.request.method == "GET"
    exchange.answer(200, FRESH, ("etag", '"2"'), content=b"two")
    await stage.idle()
    assert (await stage.get()).content == b"two"
    await stage.assert_clean()


async def test_validations_behind_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.edge.pull_road.MAX_BACKGROUND_VALIDATIONS", 2)
    assert MAX_BACKGROUND_VALIDATIONS > 2
    for path in ("/a", "/b", "/c"):
        await stage.fetch(path, SWR, ETAG)
    stage.now += 20
    for path in ("/a", "/b", "/c"):
        assert (await stage.get(path)).is_hit
    exchanges = [await stage.upstream.next() for _ in range(2)]
    for exchange in exchanges:
        exchange.answer(304)
    await stage.idle()
    assert stage.upstream.unseen == 0
    assert (await stage.get("/c")).is_hit
    (await stage.upstream.next()).answer(304)
    await stage.assert_clean()


async def test_a_stale_response_is_served_though_nothing_may_be_asked_now(stage: Stage) -> None:
    await stage.fetch("/a", SWR, ETAG)
    stage.now += 20
    stage.flights._max_per_site = 0
    assert (await stage.get()).is_hit
    await stage.assert_clean()


async def test_a_validation_behind_that_fails_is_counted(stage: Stage) -> None:
    await stage.fetch("/a", SWR, ETAG)
    stage.now += 20
    assert (await stage.get()).is_hit
    (await stage.upstream.next()).fail()
    await stage.idle()
    assert stage.counters.upstream_failed == 1
    await stage.assert_clean()


async def test_closing_the_node_ends_validations_behind(stage: Stage) -> None:
    await stage.fetch("/a", SWR, ETAG)
    stage.now += 20
    assert (await stage.get()).is_hit
    exchange = await stage.upstream.next()
    await stage.pull.aclose()
    assert exchange.is_cancelled
    await stage.assert_clean()


# Instead of a failure


async def stale_on_error(stage: Stage) -> None:
    """A stored response that may be served for a day when the upstream fails, and is stale."""
    await stage.fetch("/a", ("cache-control", "max-age=1"), ETAG)
    stage.now += 10


@pytest.mark.parametrize("how", ["refused", "status"])
async def test_a_failure_is_answered_with_what_is_stored(stage: Stage, how: str) -> None:
    await stale_on_error(stage)
    client = stage.begin()
    exchange = await stage.upstream.next()
    if how == "refused":
        exchange.fail()
    else:
        exchange.answer(503, content=b"sorry")
    answer = await soon(client)
    assert (answer.status, answer.content) == (200, b"one")
    assert stage.counters.stale_served == 1
    await stage.assert_clean()


@pytest.mark.parametrize("how", ["hard purge", "unsafe", "group", "evicted", "new epoch"])
@pytest.mark.parametrize("failure", ["refused", "status", "long"])
async def test_but_not_with_what_became_unusable_meanwhile(stage: Stage, how: str, failure: str) -> None:
    await stage.fetch("/a", ("cache-control", "max-age=1"), ETAG, ("cache-groups", '"g"'))
    stage.now += 10
    client = stage.begin()
    exchange = await stage.upstream.next()
    match how:
        case "hard purge":
            stage.purge("url", "/a")
        case "unsafe":
            await stage.unsafe("/a")
        case "group":
            await stage.unsafe("/b", ("cache-group-invalidation", '"g"'))
        case "new epoch":
            stage.change_epoch()
        case _:
            (stored,) = await stage.stored()
            stage.disk.drop(stored)
    match failure:
        case "refused":
            exchange.fail()
        case "status":
            exchange.answer(503, content=b"sorry")
        case _:
            content = exchange.head(503)
            content.send(b"s" * CHUNK_BYTES)
            content.send(b"s" * CHUNK_BYTES)
            content.send(b"s" * CHUNK_BYTES)
            content.end()
    answer = await soon(client)
    assert answer.status >= 500
    if failure == "status":
        assert answer.content == b"sorry"
    if failure == "long":
        assert answer.content == b"s" * (3 * CHUNK_BYTES)
    await stage.assert_clean()


@pytest.mark.parametrize("failure", ["refused", "status"])
async def test_a_failure_is_passed_on_when_the_content_of_what_is_stored_has_gone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    await stale_on_error(stage)
    client = stage.begin()
    exchange = await stage.upstream.next()

    async def gone(self: DiskTier, stored: StoredResponse, number: int) -> None:
        return None

    monkeypatch.setattr(DiskTier, "read_chunk", gone)
    if failure == "refused":
        exchange.fail()
        assert (await soon(client)).status == 504
    else:
        content = exchange.head(503)
        content.send(b"sorry")
        content.end()
        answer = await soon(client)
        assert (answer.status, answer.content) == (503, b"sorry")
    assert stage.counters.stale_served == 0
    await stage.assert_clean()


async def test_a_client_that_leaves_while_it_is_given_something_stale_holds_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stale_on_error(stage)
    client = stage.begin()
    exchange = await stage.upstream.next()
    gate = hold_chunks(stage, monkeypatch)
    content = exchange.head(503)
    content.send(b"sorry")
    await gate.come()
    client.cancel()
    await asyncio.gather(client, return_exceptions=True)
    content.end()
    await stage.assert_clean()


# Prepared hits


async def test_what_is_forgotten_while_it_is_prepared_is_not_prepared(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hit has read its content from disk; before it has prepared the next one the response is invalidated."""
    await stage.fetch("/a", FRESH)
    gate = hold_chunks(stage, monkeypatch)
    slow = stage.begin()
    await gate.come()
    await stage.unsafe("/a")
    gate.open()
    assert (await soon(slow)).content == b"one"
    assert stage.road.recall(stage.request(), stage.site(), stage.now) is None
    await stage.fetch("/a", content=b"two")
    assert (await stage.get()).content == b"two"


@pytest.mark.parametrize("by", ["reload", "head", "304"])
async def test_what_is_replaced_while_it_is_prepared_is_not_prepared(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    await stage.fetch("/a", FRESH, ETAG)
    gate = hold_chunks(stage, monkeypatch)
    slow = stage.begin()
    await gate.come()
    if by == "reload":
        client = stage.begin(cache_control="no-cache")
        (await stage.upstream.next()).answer(200, FRESH, content=b"two")
        await soon(client)
    elif by == "head":
        client = stage.begin(method="HEAD", cache_control="no-cache")
        (await stage.upstream.next()).answer(200, FRESH, ("etag", '"2"'))
        await soon(client)
    else:
        client = stage.begin(cache_control="no-cache")
        (await stage.upstream.next()).answer(304, ("cache-control", "max-age=1"), ETAG)
    await stage.idle()
    gate.open()
    await soon(slow)
    await soon(client)
    prepared = stage.road.recall(stage.request(), stage.site(), stage.now)
    assert prepared is None or prepared.fresh_until <= stage.now + 1


async def test_a_hit_is_prepared_for_the_next(stage: Stage) -> None:
    await stage.fetch("/a", FRESH)
    assert stage.road.recall(stage.request(), stage.site(), stage.now) is None
    await stage.get()
    assert stage.road.recall(stage.request(), stage.site(), stage.now) is not None
    assert stage.road.recall(stage.request(), stage.site(), stage.now + 61) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"cdn_debug": "1"},
        {"cache_control": "no-cache"},
        {"cache_control": "max-stale=1"},
        {"pragma": "no-cache"},
    ],
)
async def test_a_request_with_wishes_is_not_recalled(stage: Stage, fields: dict[str, str]) -> None:
    await stage.fetch("/a", FRESH)
    await stage.get()
    assert stage.road.recall(stage.request(**fields), stage.site(), stage.now) is None


async def test_wishes_that_do_not_count_change_nothing(make_stage: MakeStage) -> None:
    stage = await make_stage(site={"obeys_client_directives": False})
    await stage.fetch("/a", FRESH)
    await stage.get()
    assert stage.road.recall(stage.request(cache_control="no-cache"), stage.site(), stage.now) is not None
    assert stage.road.recall(stage.request(cache_control="unheard"), stage.site(), stage.now) is not None


@pytest.mark.parametrize("how", ["purge", "soft purge", "unsafe", "group"])
async def test_what_is_prepared_is_not_sent_after_a_purge_or_invalidation(stage: Stage, how: str) -> None:
    await stage.fetch("/a", FRESH, ("cache-groups", '"g"'))
    await stage.get()
    match how:
        case "purge":
            stage.purge("url", "/a")
        case "soft purge":
            stage.purge("url", "/a", soft=True)
        case "unsafe":
            await stage.unsafe("/a")
        case _:
            await stage.unsafe("/b", ("cache-group-invalidation", '"g"'))
    assert stage.road.recall(stage.request(), stage.site(), stage.now) is None


# Other ways


async def test_only_if_cached_asks_nobody(stage: Stage) -> None:
    assert (await stage.get(cache_control="only-if-cached")).status == 504
    assert stage.upstream.exchanges == []


async def test_a_loop_is_answered(stage: Stage) -> None:
    assert (await stage.get(cdn_loop="cdn.localhost")).status == 508
    assert stage.upstream.exchanges == []


async def test_content_of_a_request_that_breaks_off_ends_the_exchange(stage: Stage) -> None:
    client = stage.begin(method="POST", sent=SentContent(b"abc", ContentInterrupted("gone")))
    exchange = await stage.upstream.next()
    assert exchange.request.content is not None
    with pytest.raises(ContentInterrupted):
        async for _ in exchange.request.content:
            pass
    exchange._answer.set_exception(ContentInterrupted("gone"))
    with pytest.raises(ContentInterrupted):
        await soon(client)
    await stage.assert_clean()


async def test_a_client_that_leaves_an_unsafe_request_ends_it(stage: Stage) -> None:
    client = stage.begin(method="POST")
    exchange = await stage.upstream.next()
    client.cancel()
    await until(lambda: exchange.is_cancelled)
    await stage.assert_clean()


async def test_a_fault_of_this_program_reaches_who_asked_and_leaves_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, asking: Asking, origin: object) -> None:
        raise RuntimeError("a fault of this program")

    monkeypatch.setattr("cdn.edge.pull_fetch.PullFetcher._request", broken)
    with pytest.raises(RuntimeError):
        await stage.get()
    await stage.assert_clean()
