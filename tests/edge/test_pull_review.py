"""Pull sites where several rules meet: parts and invalidation, failures and what is stored, fields for one client."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cdn.edge.clocks import Clocks
from cdn.edge.disk_new_content import NewContent
from cdn.edge.disk_tier import DiskTier
from cdn.edge.encoder import Claim
from cdn.edge.pull_marks import GroupMarks, Mark
from cdn.edge.pull_visit import PullVisit
from cdn.edge.stored import Content, StoredResponse, StoreOutcome
from cdn.http.tag import OVERFLOW_TAG
from cdn.http.vary import Selecting
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.conftest import MakeStage
from tests.edge.pull_stage import FRESH, STARTED_AT, Gate, Stage, hold_commit, soon, until

ETAG = ("etag", '"1"')


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


# Parts


async def fetch_part(stage: Stage, spec: str, start: int, content: bytes, *lines: tuple[str, str]) -> None:
    """A part of ten bytes' length is asked for, stored, and everything after it is over."""
    client = stage.begin(range=f"bytes={spec}")
    content_range = ("content-range", f"bytes {start}-{start + len(content) - 1}/10")
    (await stage.upstream.next()).answer(206, FRESH, ETAG, content_range, *lines, content=content)
    assert (await soon(client)).status == 206


async def invalidate(stage: Stage, how: str) -> None:
    match how:
        case "group":
            await stage.unsafe("/b", ("cache-group-invalidation", '"g"'))
        case "unsafe":
            await stage.unsafe("/a")
        case "tag":
            stage.purge("tag", "t")
        case _:
            stage.purge("tag", "t", soft=True)


OF_GROUP = (("cache-groups", '"g"'), ("cache-tag", "t"))


@pytest.mark.parametrize("how", ["group", "tag", "soft"])
async def test_an_invalidated_part_is_put_together_with_nothing(stage: Stage, how: str) -> None:
    await fetch_part(stage, "0-4", 0, b"old..", *OF_GROUP)
    await stage.idle()
    await invalidate(stage, how)
    await fetch_part(stage, "5-9", 5, b".new.")
    await stage.idle()
    client = stage.begin()
    (await stage.upstream.next()).answer(200, FRESH, content=b"newer.new.")
    assert (await soon(client)).content == b"newer.new."
    await stage.assert_clean()


@pytest.mark.parametrize("how", ["group", "tag", "soft"])
async def test_a_part_that_is_invalidated_while_it_is_put_together_answers_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    await fetch_part(stage, "0-4", 0, b"old..", *OF_GROUP)
    await stage.idle()
    gate = hold_chunks(stage, monkeypatch)
    await fetch_part(stage, "5-9", 5, b".new.")
    await gate.reached.wait()
    await invalidate(stage, how)
    gate.open()
    await stage.idle()
    client = stage.begin()
    (await stage.upstream.next()).answer(200, FRESH, content=b"newer.new.")
    assert (await soon(client)).content == b"newer.new."
    await stage.assert_clean()


@pytest.mark.parametrize("how", ["group", "tag", "soft"])
async def test_what_parts_were_put_together_to_goes_with_the_tags_of_each(stage: Stage, how: str) -> None:
    await fetch_part(stage, "0-4", 0, b"old..", *OF_GROUP)
    await stage.idle()
    await fetch_part(stage, "5-9", 5, b".new.")
    await stage.idle()
    assert (await stage.get()).content == b"old...new."
    await invalidate(stage, how)
    client = stage.begin()
    (await stage.upstream.next()).answer(200, FRESH, content=b"newer.new.")
    assert (await soon(client)).content == b"newer.new."
    await stage.assert_clean()


@pytest.mark.parametrize("hold", [hold_chunks, hold_commit])
@pytest.mark.parametrize("how", ["group", "unsafe"])
async def test_a_variant_that_is_invalidated_while_it_is_adopted_answers_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, hold: Callable[[Stage, pytest.MonkeyPatch], Gate], how: str
) -> None:
    """Upstream says that the German page suits French readers too; before the copy is stored it is invalidated."""
    await stage.fetch("/a", FRESH, ETAG, ("vary", "accept-language"), *OF_GROUP, accept_language="de")
    gate = hold(stage, monkeypatch)
    client = stage.begin(accept_language="fr")
    exchange = await stage.upstream.next()
    assert exchange.fields.get("if-none-match") == '"1"'
    exchange.answer(304, FRESH, ETAG)
    await gate.reached.wait()
    await invalidate(stage, how)
    gate.open()
    whole = await stage.upstream.next()
    assert "if-none-match" not in whole.fields
    whole.answer(200, FRESH, ("vary", "accept-language"), content=b"two")
    assert (await soon(client)).content == b"two"
    await stage.assert_clean()


# Failures


@pytest.mark.parametrize("lines", [(("retry-after", "30"),), (FRESH,)])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_failure_does_not_take_the_place_of_what_may_be_served_instead(
    stage: Stage, status: int, lines: tuple[tuple[str, str], ...]
) -> None:
    """It says itself how long it may be stored; but then the good response would be gone for the time of the outage."""
    await stage.fetch("/a", ("cache-control", "max-age=1"), ETAG)
    stage.now += 10
    for _ in range(2):
        client = stage.begin()
        (await stage.upstream.next()).answer(status, *lines, content=b"sorry")
        answer = await soon(client)
        assert (answer.status, answer.content) == (200, b"one")
        await stage.idle()
    client = stage.begin()
    (await stage.upstream.next()).answer(304, FRESH, ETAG)
    assert (await soon(client)).content == b"one"
    await stage.assert_clean()


async def test_nor_when_it_comes_behind_a_visitors_back(stage: Stage) -> None:
    await stage.fetch("/a", ("cache-control", "max-age=1, stale-while-revalidate=100"), ETAG)
    stage.now += 10
    for _ in range(2):
        assert (await stage.get()).content == b"one"
        (await stage.upstream.next()).answer(503, ("retry-after", "30"), content=b"sorry")
        await stage.idle()
    await stage.assert_clean()


async def test_where_nothing_may_be_served_instead_a_failure_is_stored(stage: Stage) -> None:
    await stage.fetch("/a", ("cache-control", "max-age=1, must-revalidate"), ETAG)
    stage.now += 10
    client = stage.begin()
    (await stage.upstream.next()).answer(503, ("retry-after", "5"), content=b"sorry")
    assert (await soon(client)).status == 503
    await stage.idle()
    answer = await stage.get()
    assert (answer.status, answer.is_hit) == (503, True)


# What only one client may see


@pytest.mark.parametrize("directive", ["private", "no-cache"])
@pytest.mark.parametrize("status", [200, 500])
async def test_fields_for_one_client_reach_no_other_not_even_as_trailers(
    stage: Stage, status: int, directive: str
) -> None:
    clients = [stage.begin() for _ in range(3)]
    exchange = await stage.upstream.next()
    await until(lambda: stage.flights._all[("s1", stage.key().path)][0]._waiting == 3)
    control = f'max-age=60, {directive}="x-user"' if status == 200 else f'{directive}="x-user"'
    content = exchange.head(status, ("cache-control", control), ("x-user", "one"))
    content.send(b"x")
    responses = [await stage.open() for _ in range(2)] if status == 200 else []
    content.end((("x-user", "one"), ("x-sum", "2")))
    answers = [await soon(client) for client in clients]
    assert sorted("x-user" in answer.fields for answer in answers) == [False, False, True]
    assert stage.arriving[0].trailers == (("x-sum", "2"),)
    for response in responses:
        assert "x-user" not in (await stage.read(response)).fields
    await stage.assert_clean()


# Content that is too large


async def test_what_is_known_to_be_too_large_is_asked_for_by_each(make_stage: MakeStage) -> None:
    """Nobody waits for a slower client's pace, and nobody who comes later for the end of it."""
    stage = await make_stage(max_stored_bytes=CHUNK_BYTES)
    size_bytes = 4 * CHUNK_BYTES
    slow, fast = stage.task(stage.open()), stage.begin()
    exchange = await stage.upstream.next()
    await until(lambda: stage.flights._all[("s1", stage.key().path)][0]._waiting == 2)
    content = exchange.head(200, FRESH, size_bytes=size_bytes)
    content.send(b"s" * size_bytes)
    response = await soon(slow)
    assert "detail=too-large" in dict(response.fields)["cache-status"]
    (await stage.upstream.next()).answer(200, FRESH, content=b"f" * size_bytes)
    assert (await soon(fast)).content == b"f" * size_bytes
    later = [stage.begin(), stage.begin()]
    for exchange in [await stage.upstream.next() for _ in later]:
        exchange.answer(200, FRESH, content=b"l" * size_bytes)
    for client in later:
        assert (await soon(client)).content == b"l" * size_bytes
    content.end()
    assert (await stage.read(response)).content == b"s" * size_bytes
    assert stage.fetcher.not_stored == {"too-large": 4}
    await stage.assert_clean()


# What HEAD and 304 say of what is stored


async def test_head_keeps_parts_of_what_has_not_changed(stage: Stage) -> None:
    """A part is shorter than what HEAD tells the length of."""
    await fetch_part(stage, "0-4", 0, b"old..")
    await stage.idle()
    client = stage.begin(method="HEAD")
    (await stage.upstream.next()).head(200, FRESH, ETAG, ("content-length", "10")).end()
    assert (await soon(client)).status == 200
    await stage.idle()
    answer = await stage.get(range="bytes=1-2")
    assert (answer.status, answer.content, answer.is_hit) == (206, b"ld", True)


async def test_head_of_a_page_that_is_there_now_does_not_prolong_that_it_was_missing(stage: Stage) -> None:
    client = stage.begin()
    (await stage.upstream.next()).answer(404, FRESH)
    assert (await soon(client)).status == 404
    await stage.idle()
    client = stage.begin(method="HEAD", cache_control="no-cache")
    (await stage.upstream.next()).head(200, ("cache-control", "max-age=1000")).end()
    assert (await soon(client)).status == 200
    await stage.idle()
    assert (await stage.fetch("/a", content=b"there")).content == b"there"


async def test_head_of_one_who_is_authorised_takes_nothing_from_others(stage: Stage) -> None:
    await stage.fetch("/a", FRESH, ETAG)
    client = stage.begin(method="HEAD", cache_control="no-cache", authorization="Basic eA==")
    (await stage.upstream.next()).head(200, FRESH, ("etag", '"mine"')).end()
    await soon(client)
    await stage.idle()
    assert (await stage.get()).is_hit


@pytest.mark.parametrize("soft", [False, True])
async def test_a_304_that_takes_a_tag_away_crosses_no_floor_of_that_tag(stage: Stage, soft: bool) -> None:
    await stage.fetch("/a", ("cache-control", "max-age=1"), ETAG, ("cache-tag", "t"))
    stage.now += 10
    client = stage.begin()
    exchange = await stage.upstream.next()
    stage.purge("tag", "t", soft=soft)
    exchange.answer(304, FRESH, ETAG, ("cache-tag", "u"))
    if not soft:
        exchange = await stage.upstream.next()
        assert "if-none-match" not in exchange.fields
        exchange.answer(200, ("cache-control", "max-age=1"), ETAG, content=b"two")
    assert (await soon(client)).content == b"one" if soft else b"two"
    await stage.idle()
    stage.now += 10 * (not soft)
    client = stage.begin()
    exchange = await stage.upstream.next()
    assert exchange.fields.get("if-none-match") == '"1"'
    exchange.answer(304, FRESH, ETAG, ("cache-tag", "u"))
    await soon(client)
    await stage.idle()
    assert (await stage.get()).is_hit


async def test_age_counts_from_when_a_304_came_however_long_the_disk_takes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.fetch("/a", ("cache-control", "max-age=1"), ETAG)
    stage.now += 10
    client = stage.begin()
    exchange = await stage.upstream.next()
    find_all = DiskTier.find_all

    async def slow(self: DiskTier, site_id: str, path: str) -> tuple[StoredResponse, ...]:
        monkeypatch.undo()
        stage.now += 30
        return await find_all(self, site_id, path)

    monkeypatch.setattr(DiskTier, "find_all", slow)
    exchange.answer(304, FRESH, ETAG)
    assert (await soon(client)).fields.get("age") == "30"


async def test_a_304_counts_though_the_wall_clock_was_set_back(stage: Stage) -> None:
    await stage.fetch("/a", ("cache-control", "max-age=1"), ETAG)
    stage.now += 10
    stage.fetcher._clocks = Clocks(lambda: stage.now, lambda: STARTED_AT + stage.now - 3600)
    client = stage.begin()
    (await stage.upstream.next()).answer(304, ("cache-control", "max-age=7200"), ETAG)
    await soon(client)
    await stage.idle()
    assert (await stage.get()).is_hit


# What slow clients cost


async def test_what_is_whole_on_disk_is_not_kept_in_memory_for_slow_clients(stage: Stage) -> None:
    size_bytes = 3 * CHUNK_BYTES + 5
    slow = stage.task(stage.open())
    content = (await stage.upstream.next()).head(200, FRESH, size_bytes=size_bytes)
    response = await soon(slow)
    content.send(b"s" * size_bytes)
    content.end()
    await until(lambda: len(stage.flights) == 0)
    (arriving,) = stage.arriving
    assert not arriving._chunks
    assert (await stage.read(response)).content == b"s" * size_bytes
    await stage.assert_clean()


# What one site leaves to others


async def test_a_site_with_a_slow_upstream_leaves_validations_behind_to_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.edge.pull_road.MAX_BACKGROUND_VALIDATIONS_PER_SITE", 1)
    lines = (("cache-control", "max-age=1, stale-while-revalidate=100"), ETAG)
    for path in ("/a", "/b"):
        await stage.fetch(path, *lines)
    stage.now += 10
    for path in ("/a", "/b"):
        assert (await stage.get(path)).is_hit
    exchange = await stage.upstream.next()
    assert stage.upstream.unseen == 0
    exchange.answer(304)
    await stage.idle()
    assert (await stage.get("/b")).is_hit
    (await stage.upstream.next()).answer(304)
    await stage.assert_clean()


async def test_a_node_that_is_busy_serves_what_is_stale_where_it_may(stage: Stage) -> None:
    await stage.fetch("/a", ("cache-control", "max-age=1"), ETAG)
    await stage.fetch("/b", ("cache-control", "max-age=1, must-revalidate"), ETAG)
    stage.now += 10
    stage.flights._max_per_site = 0
    answer = await stage.get("/a")
    assert (answer.status, answer.content) == (200, b"one")
    assert "too-many-connections" in answer.cache_status
    assert (await stage.get("/b")).status == 503
    await stage.assert_clean()


async def test_a_coded_form_that_finds_no_room_is_not_made_for_every_request(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.fetch("/a", FRESH, ("content-type", "text/plain"), content=b"all work and no play " * 50)
    made = 0
    encode = Claim.encode

    async def counted(self: Claim, content: bytes, coding: str) -> bytes | None:
        nonlocal made
        made += 1
        return await encode(self, content, coding)

    async def full(self: NewContent, number: int, chunk: Content) -> StoreOutcome:
        return StoreOutcome.FULL

    monkeypatch.setattr(Claim, "encode", counted)
    with monkeypatch.context() as disk:
        disk.setattr(NewContent, "write", full)
        for _ in range(3):
            assert "content-encoding" not in (await stage.get(accept_encoding="gzip")).fields
    assert made == 1
    stage.coder._unkept.clear()
    for _ in range(3):
        assert (await stage.get(accept_encoding="gzip")).fields.get("content-encoding") == "gzip"
    assert made == 2
    await stage.assert_clean()


def test_a_site_with_many_marks_pays_for_them_itself() -> None:
    marks = GroupMarks(max_marks=4)
    marks.raise_to("s1", ("a",), Mark(1, 1))
    for number in range(2, 10):
        marks.raise_to("s2", (f"g{number}",), Mark(number, number))
    marks.raise_to("s1", ("b",), Mark(10, 10))
    assert not marks.covers_stored("s1", ("unheard",), 0)
    assert marks.covers_stored("s1", ("a",), 1)
    assert marks.covers_stored("s2", ("unheard",), 7)
    assert not marks.covers_stored("s2", ("unheard",), 8)
    marks.drop_site("s2")
    assert len(marks) == 2
    marks.drop_site("s1")
    assert len(marks) == 0


def test_what_has_too_many_groups_is_covered_by_every_mark_of_its_site() -> None:
    marks = GroupMarks()
    marks.raise_to("s1", ("a",), Mark(1, 1))
    marks.raise_to("s1", ("b",), Mark(2, 2))
    marks.raise_to("s1", ("a",), Mark(3, 3))
    assert marks.covers_stored("s1", ("x", OVERFLOW_TAG), 3)
    assert not marks.covers_stored("s1", ("x", OVERFLOW_TAG), 4)
    assert not marks.covers_stored("s2", ("x", OVERFLOW_TAG), 0)


async def test_variants_are_told_apart_by_reading_the_request_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for language in ("de", "fr", "it"):
        client = stage.begin(accept_language=language)
        (await stage.upstream.next()).answer(200, FRESH, ("vary", "accept-language"), content=language.encode())
        await soon(client)
        await stage.idle()
    read: list[tuple[str, ...]] = []
    selecting = PullVisit.selecting

    def counted(self: PullVisit, names: tuple[str, ...]) -> Selecting:
        read.append(names)
        return selecting(self, names)

    monkeypatch.setattr(PullVisit, "selecting", counted)
    found = await stage.shelf.look(stage.visit(accept_language="fr"))
    assert found.whole is not None
    assert len(found.others) == 2
    assert read == [("accept-language",)]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_304_that_nobody_asked_for_is_a_broken_answer(stage: Stage, method: str) -> None:
    client = stage.begin(method=method)
    (await stage.upstream.next()).head(304, ETAG).end()
    answer = await soon(client)
    assert answer.status == 502
    assert "malformed-head" in answer.cache_status
    client = stage.begin(method=method, cache_control="no-store", if_none_match='"1"', range="bytes=0-1")
    exchange = await stage.upstream.next()
    exchange.head(304, ETAG).end()
    assert (await soon(client)).status == (304 if "if-none-match" in exchange.fields else 502)
    await stage.assert_clean()
