"""Validation: 304 and HEAD at every point, floors under them, and those who wait for them (RFC 9111 section 4.3)."""

from __future__ import annotations

import asyncio

import pytest

from cdn.edge.disk_tier import DiskTier
from cdn.edge.stored import StoredResponse
from tests.edge.pull_stage import FRESH, Gate, Stage, soon, until
from tests.edge.pull_upstream import Exchange

ETAG = ("etag", '"1"')
BRIEF = ("cache-control", "max-age=10, stale-if-error=0")
VARY = ("vary", "accept-language")


async def stale(stage: Stage, *lines: tuple[str, str], **fields: str) -> None:
    await stage.fetch("/a", *(lines or (BRIEF, ETAG)), content=b"one", **fields)
    stage.now += 20


async def waiting(stage: Stage, count: int) -> None:
    place = ("s1", stage.key().path)
    await until(lambda: stage.flights._all.get(place) and stage.flights._all[place][-1]._waiting == count)


async def conditional(stage: Stage) -> Exchange:
    exchange = await stage.upstream.next()
    assert exchange.fields.get("if-none-match") == '"1"'
    return exchange


async def unconditional(stage: Stage) -> Exchange:
    exchange = await stage.upstream.next()
    assert "if-none-match" not in exchange.fields
    assert "if-modified-since" not in exchange.fields
    return exchange


async def test_many_ask_and_one_validates_for_all(stage: Stage) -> None:
    await stale(stage)
    clients = [stage.begin() for _ in range(4)]
    exchange = await conditional(stage)
    await waiting(stage, 4)
    exchange.answer(304, FRESH, ETAG)
    answers = [await soon(client) for client in clients]
    assert {(answer.status, answer.content) for answer in answers} == {(200, b"one")}
    assert stage.counters.validated == 1
    assert stage.upstream.unseen == 0
    await stage.assert_clean()
    assert (await stage.get()).is_hit


async def test_a_304_makes_it_younger_and_changes_its_fields(stage: Stage) -> None:
    await stale(stage, BRIEF, ETAG, ("x-kind", "old"))
    client = stage.begin()
    (await conditional(stage)).answer(304, FRESH, ETAG, ("x-kind", "new"))
    answer = await soon(client)
    assert answer.fields.get_all("x-kind") == ("new",)
    assert answer.fields.get("age") == "0"
    stage.now += 59
    assert (await stage.get()).is_hit


@pytest.mark.parametrize("how", ["hard", "tag", "unsafe", "epoch", "gone"])
@pytest.mark.parametrize("clients", [1, 3])
async def test_a_304_for_what_became_unusable_meanwhile_is_followed_by_a_request_for_the_whole(
    stage: Stage, how: str, clients: int
) -> None:
    """A 304 crosses no hard floor: it may say that upstream still has what was to be gone (DESIGN I1)."""
    await stale(stage, BRIEF, ETAG, ("cache-tag", "t"))
    tasks = [stage.begin() for _ in range(clients)]
    exchange = await conditional(stage)
    await waiting(stage, clients)
    match how:
        case "hard":
            stage.purge("url", "/a")
        case "tag":
            stage.purge("tag", "t")
        case "unsafe":
            await stage.unsafe("/a")
        case "epoch":
            stage.change_epoch()
            stage.purge("url", "/a")
        case _:
            for stored in await stage.stored():
                stage.disk.drop(stored)
    exchange.answer(304, FRESH, ETAG)
    (await unconditional(stage)).answer(200, FRESH, content=b"two")
    for task in tasks:
        assert (await soon(task)).content == b"two"
    await stage.idle()
    assert stage.upstream.unseen == 0
    await stage.assert_clean()
    for stored in await stage.stored():
        assert stored.entry.size_bytes == 3
        assert not stage.shelf.is_below_hard(stage.key(), stored)


async def test_who_comes_after_the_purge_does_not_wait_for_the_304(stage: Stage) -> None:
    await stale(stage)
    first = stage.begin()
    exchange = await conditional(stage)
    stage.purge("url", "/a")
    second = stage.begin()
    (await unconditional(stage)).answer(200, FRESH, content=b"two")
    assert (await soon(second)).content == b"two"
    exchange.answer(304, FRESH, ETAG)
    again = stage.upstream.next()
    # The first is given what the second fetched, or fetches by itself: never what was purged.
    asking = asyncio.create_task(again)
    await asyncio.wait((first, asking), return_when=asyncio.FIRST_COMPLETED)
    if asking.done():
        asking.result().answer(200, FRESH, content=b"two")
    else:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert (await soon(first)).content == b"two"
    await stage.assert_clean()


async def test_a_304_after_a_soft_purge_makes_it_fresh_for_those_who_asked_after_it(stage: Stage) -> None:
    await stage.fetch("/a", FRESH, ETAG)
    stage.purge("url", "/a", soft=True)
    client = stage.begin()
    (await conditional(stage)).answer(304, FRESH, ETAG)
    assert (await soon(client)).content == b"one"
    assert (await stage.get()).is_hit


async def test_a_304_that_was_asked_for_before_a_soft_purge_does_not_end_it(stage: Stage) -> None:
    await stale(stage)
    client = stage.begin()
    exchange = await conditional(stage)
    stage.purge("url", "/a", soft=True)
    exchange.answer(304, FRESH, ETAG)
    assert (await soon(client)).content == b"one"
    second = stage.begin()
    (await conditional(stage)).answer(304, FRESH, ETAG)
    assert (await soon(second)).content == b"one"
    assert (await stage.get()).is_hit


@pytest.mark.parametrize("named", [(), (("etag", '"3"'),), (("last-modified", "Tue, 14 Nov 2023 22:00:00 GMT"),)])
async def test_a_304_that_selects_nothing_is_followed_by_a_request_for_the_whole(
    stage: Stage, named: tuple[tuple[str, str], ...]
) -> None:
    """The validators of two variants were sent, and it does not say which of them it means."""
    await stage.fetch("/a", FRESH, ETAG, VARY, accept_language="de")
    client = stage.begin(accept_language="fr")
    (await conditional(stage)).answer(200, FRESH, ("etag", '"2"'), VARY, content=b"fr")
    await soon(client)
    await stage.idle()
    client = stage.begin(accept_language="it")
    exchange = await stage.upstream.next()
    assert exchange.fields.get("if-none-match") == '"2", "1"'
    exchange.answer(304, FRESH, *named)
    (await unconditional(stage)).answer(200, FRESH, VARY, content=b"it")
    assert (await soon(client)).content == b"it"
    await stage.assert_clean()
    for language, content in (("de", b"one"), ("fr", b"fr"), ("it", b"it")):
        assert (await stage.get(accept_language=language)).content == content


async def test_a_304_without_validators_confirms_only_what_was_asked_about(stage: Stage) -> None:
    """Two suit the request; the validator of one was sent (docs/decisions/009)."""
    await stage.fetch("/a", BRIEF, ("etag", '"2"'), ("vary", "x-kind"), x_kind="2", accept_language="fr")
    stage.now += 1
    client = stage.begin(x_kind="1", accept_language="de")
    (await stage.upstream.next()).answer(200, BRIEF, ETAG, VARY, content=b"one")
    await soon(client)
    await stage.idle()
    stage.now += 20
    before = {each.incarnation: each.validated_at for each in await stage.stored()}
    client = stage.begin(x_kind="2", accept_language="de")
    (await conditional(stage)).answer(304, FRESH)
    assert (await soon(client)).content == b"one"
    await stage.idle()
    renewed = [each for each in await stage.stored() if each.validated_at != before[each.incarnation]]
    assert [each.pulled.head.fields.get("etag") for each in renewed if each.pulled is not None] == ['"1"']


async def test_an_answer_instead_of_a_304_replaces_what_was_stored(stage: Stage) -> None:
    await stale(stage)
    client = stage.begin()
    (await conditional(stage)).answer(200, FRESH, ("etag", '"2"'), content=b"two")
    assert (await soon(client)).content == b"two"
    await stage.idle()
    assert (await stage.get()).content == b"two"
    assert len(await stage.stored()) == 1
    await stage.assert_clean()


def hold_update(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    update_head = DiskTier.update_head

    async def held(self: DiskTier, *args: object) -> StoredResponse | None:
        await gate.pass_through()
        return await update_head(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(DiskTier, "update_head", held)
    return gate


@pytest.mark.parametrize("how", ["hard", "unsafe"])
async def test_what_becomes_unusable_while_its_head_is_updated_is_asked_for_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    await stale(stage)
    client = stage.begin()
    exchange = await conditional(stage)
    gate = hold_update(monkeypatch)
    exchange.answer(304, FRESH, ETAG)
    await gate.come()
    if how == "hard":
        stage.purge("url", "/a")
    else:
        await stage.unsafe("/a")
    gate.open()
    (await unconditional(stage)).answer(200, FRESH, content=b"two")
    assert (await soon(client)).content == b"two"
    await stage.assert_clean()


@pytest.mark.parametrize("point", ["sent", "updating"])
async def test_clients_that_leave_do_not_stop_a_validation_others_may_use(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    await stale(stage)
    client = stage.begin()
    exchange = await conditional(stage)
    gate = hold_update(monkeypatch)
    if point == "updating":
        exchange.answer(304, FRESH, ETAG)
        await gate.come()
    client.cancel()
    await asyncio.gather(client, return_exceptions=True)
    if point == "sent":
        exchange.answer(304, FRESH, ETAG)
    gate.open()
    await stage.assert_clean()
    assert (await stage.get()).is_hit


async def test_a_validation_that_finds_no_end_is_bounded(stage: Stage) -> None:
    """An upstream that answers 304 to what was not conditional is not asked a third time."""
    await stale(stage)
    client = stage.begin()
    exchange = await conditional(stage)
    stage.purge("url", "/a")
    exchange.answer(304, ETAG)
    (await unconditional(stage)).answer(304, ETAG)
    assert (await soon(client)).status != 200
    assert stage.upstream.unseen == 0
    await stage.assert_clean()


# HEAD


async def ask_head(stage: Stage, *lines: tuple[str, str]) -> None:
    client = stage.begin(method="HEAD", cache_control="no-cache")
    (await stage.upstream.next()).head(200, *lines).end()
    await soon(client)
    await stage.idle()


async def test_a_head_that_says_the_same_makes_it_younger(stage: Stage) -> None:
    await stage.fetch("/a", BRIEF, ETAG, content=b"one")
    stage.now += 5
    await ask_head(stage, BRIEF, ETAG, ("content-length", "3"))
    stage.now += 8
    answer = await stage.get()
    assert (answer.is_hit, answer.fields.get("age")) == (True, "8")


@pytest.mark.parametrize("said", [("etag", '"2"'), ("content-length", "4")])
async def test_a_head_that_says_something_else_ends_what_is_stored(stage: Stage, said: tuple[str, str]) -> None:
    await stage.fetch("/a", FRESH, ETAG, content=b"one")
    await stage.get()
    await ask_head(stage, FRESH, said)
    assert stage.road.recall(stage.request(), stage.site(), stage.now) is None
    client = stage.begin()
    (await unconditional(stage)).answer(200, FRESH, content=b"two")
    assert (await soon(client)).content == b"two"
    await stage.assert_clean()
