"""One exchange with an upstream: what is sent, what is kept of the answer, and what is left when it cannot be kept."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from cdn.edge.pull_fetch import CONDITIONS
from cdn.edge.pull_visit import PullVisit
from cdn.edge.stored import StoreOutcome
from cdn.edge.visitor import Visitor
from cdn.fleet.position import Position
from cdn.http.fields import Fields
from cdn.http.response_head import ResponseHead
from cdn.journal.record import SiteChanged
from cdn.origin.upstream import Upstream
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.conftest import MakeStage
from tests.edge.pull_stage import FRESH, NOT_STORED, NoContent, SentContent, Stage, hold_enter, soon, until

CONDITIONAL = {"if_none_match": '"x"', "if_match": '"y"', "if_modified_since": "Tue, 14 Nov 2023 22:00:00 GMT"}


async def test_who_asks_for_the_whole_sends_no_conditions_of_the_client(stage: Stage) -> None:
    client = stage.begin("/a?q=1", cookie="c", te="trailers", **CONDITIONAL)
    exchange = await stage.upstream.next()
    assert (exchange.request.method, exchange.request.target) == ("GET", "/a?q=1")
    assert not CONDITIONS & {name for name, _ in exchange.request.fields}
    assert exchange.fields.get("cookie") == "c"
    assert exchange.fields.get("te") == "trailers"
    assert exchange.fields.get("host") == "up.example"
    assert "surrogate-capability" in exchange.fields
    assert exchange.request.content is None
    exchange.answer(200, FRESH, ("etag", '"x"'), content=b"one")
    assert (await soon(client)).status == 412, "the conditions are judged here"


async def test_who_asks_alone_sends_them(make_stage: MakeStage) -> None:
    stage = await make_stage(site={"pass_s": 30})
    await stage.fetch("/a", NOT_STORED)
    client = stage.begin(range="bytes=0-1", **CONDITIONAL)
    exchange = await stage.upstream.next()
    assert exchange.fields.get("if-none-match") == '"x"'
    assert exchange.fields.get("range") == "bytes=0-1"
    exchange.answer(412)
    assert (await soon(client)).status == 412


async def test_the_origins_prefix_stands_before_the_target(make_stage: MakeStage) -> None:
    stage = await make_stage(site={"origin": "https://up.example/base", "query": "drop"})
    client = stage.begin("/a?q=1")
    exchange = await stage.upstream.next()
    assert exchange.request.target == "/base/a"
    exchange.answer(200, FRESH)
    await soon(client)


async def test_content_of_a_request_is_passed_on_as_it_comes(stage: Stage) -> None:
    client = stage.begin(method="PUT", sent=SentContent(b"ab", b"c"))
    exchange = await stage.upstream.next()
    assert exchange.request.content is not None
    assert exchange.request.content_size_bytes is None
    assert [part async for part in exchange.request.content] == [b"ab", b"c"]
    exchange.answer(201)
    assert (await soon(client)).status == 201
    await stage.assert_clean()


async def test_interim_responses_reach_the_one_who_asked(stage: Stage) -> None:
    told: list[tuple[int, object]] = []
    visitor = Visitor("192.0.2.1", lambda status, lines: told.append((status, lines)))
    first = stage.task(stage.road.answer(stage.request(), NoContent(), visitor, stage.site()))
    exchange = await stage.upstream.next()
    second = stage.begin()
    exchange.on_interim(ResponseHead(103, Fields((("link", "</a>"), ("connection", "x"), ("x", "y")))))
    exchange.answer(200, FRESH)
    await stage.read(await soon(first))
    await soon(second)
    assert told == [(103, (("link", "</a>"),))]


async def test_trailers_come_with_what_is_streamed(stage: Stage) -> None:
    response_task = stage.task(stage.open())
    content = (await stage.upstream.next()).head(200, FRESH)
    response = await soon(response_task)
    content.send(b"one")
    content.end((("x-sum", "1"), ("connection", "close")))
    assert (await stage.read(response)).content == b"one"
    assert response.content.trailers == (("x-sum", "1"),)  # type: ignore[union-attr]
    await stage.assert_clean()


# What cannot be kept


def refuse_from(stage: Stage, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write = stage.disk._files.write

    def full(name: Any, chunk: Any) -> Any:
        if name.number >= number:
            raise OSError(errno.ENOSPC, "no room")
        return write(name, chunk)

    monkeypatch.setattr(stage.disk._files, "write", full)


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("full_at", [0, 1, 2])
@pytest.mark.parametrize("stops_by", ["disk", "limit"])
async def test_content_that_cannot_be_stored_reaches_all_of_its_readers(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch, full_at: int, stops_by: str, is_known: bool
) -> None:
    limit_bytes = full_at * CHUNK_BYTES if stops_by == "limit" else 1 << 30
    stage = await make_stage(max_stored_bytes=limit_bytes)
    if stops_by == "disk":
        refuse_from(stage, full_at, monkeypatch)
    whole = os.urandom(4 * CHUNK_BYTES + 3)
    slow_task, fast = stage.task(stage.open()), stage.begin()
    exchange = await stage.upstream.next()
    await until(lambda: stage.flights._all[("s1", stage.key().path)][0]._waiting == 2)
    content = exchange.head(200, FRESH, size_bytes=len(whole) if is_known else None)
    is_alone = stops_by == "limit" and is_known
    if is_alone:  # known to be too large from its head: each asks for itself
        other = await stage.upstream.next()
        theirs = other.head(200, FRESH, size_bytes=len(whole))
        theirs.send(whole)
        theirs.end()
    slow = await soon(slow_task)
    for at in range(0, len(whole), CHUNK_BYTES):
        content.send(whole[at : at + CHUNK_BYTES])
    content.end()
    assert (await stage.read(slow)).content == whole
    assert (await soon(fast)).content == whole
    await stage.assert_clean()
    assert await stage.stored() == ()
    assert stage.disk.facts().chunks == 0


async def test_what_has_lost_its_beginning_is_not_joined(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_from(stage, 0, monkeypatch)
    first = stage.begin()
    content = (await stage.upstream.next()).head(200, FRESH)
    for _ in range(4):
        content.send(b"x" * CHUNK_BYTES)
    await until(lambda: content.waiting == 0 and not stage.arriving[0].may_be_joined)
    second = stage.begin()
    (await stage.upstream.next()).answer(200, FRESH, content=b"two")
    assert (await soon(second)).content == b"two"
    content.end()
    assert (await soon(first)).content == b"x" * (4 * CHUNK_BYTES)
    await stage.assert_clean()


@pytest.mark.parametrize("outcome", [each for each in StoreOutcome if each is not StoreOutcome.STORED])
async def test_content_that_the_index_refuses_is_read_to_its_end_and_leaves_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, outcome: StoreOutcome
) -> None:
    whole = os.urandom(2 * CHUNK_BYTES + 1)
    gate = hold_enter(stage, monkeypatch)
    slow_task = stage.task(stage.open())
    exchange = await stage.upstream.next()
    exchange.answer(200, FRESH, content=whole)
    response = await soon(slow_task)
    await gate.come()

    async def refuse(self: object, *args: object) -> StoreOutcome:
        return outcome

    monkeypatch.setattr("cdn.edge.disk_new_content.NewContent._enter", refuse)
    gate.open()
    await until(lambda: stage.fetcher.not_stored.get(outcome.value) == 1)
    assert (await stage.read(response)).content == whole
    await stage.assert_clean()
    assert stage.disk.facts().chunks == 0


async def test_content_of_unknown_length_is_stored_with_the_length_it_had(stage: Stage) -> None:
    client = stage.begin()
    content = (await stage.upstream.next()).head(200, FRESH)
    content.send(b"ab")
    content.send(b"c")
    content.end()
    assert (await soon(client)).content == b"abc"
    await stage.idle()
    (stored,) = await stage.stored()
    assert stored.pulled is not None
    assert (stored.entry.size_bytes, stored.pulled.complete_length) == (3, 3)
    assert (await stage.get(range="bytes=1-1")).content == b"b"


async def test_content_that_breaks_off_is_never_whole(stage: Stage) -> None:
    client = stage.begin()
    content = (await stage.upstream.next()).head(200, FRESH)
    content.send(b"x" * (CHUNK_BYTES + 5))
    await until(lambda: stage.disk.facts().writing_bytes)
    content.break_off()
    with pytest.raises(Exception, match="closed early"):
        await soon(client)
    assert stage.fetcher.faults == {"closed-early": 1}
    await stage.assert_clean()
    assert await stage.stored() == ()
    assert stage.disk.facts().chunks == 0


async def test_why_answers_are_not_stored_is_counted(stage: Stage) -> None:
    await stage.fetch("/a", NOT_STORED)
    await stage.fetch("/b", ("cache-control", "private"))
    await stage.fetch("/c", FRESH, ("vary", "*"))
    await stage.unsafe("/d")
    assert stage.fetcher.not_stored == {"no-store": 1, "private": 1, "vary-star": 1, "method": 1}


async def test_a_stored_answer_is_dated_by_when_it_was_asked_and_came(stage: Stage) -> None:
    client = stage.begin()
    exchange = await stage.upstream.next()
    stage.now += 7
    exchange.answer(200, FRESH, content=b"one")
    await soon(client)
    await stage.idle()
    answer = await stage.get()
    assert answer.fields.get("age") == "7", "a response may have been made when it was asked for (RFC 9111 4.2.3)"


class EveryShield:
    """Asked for everything."""

    def asks_another(self, visit: PullVisit) -> bool:
        return True

    def why_passed(self, visit: PullVisit) -> str | None:
        return None

    def before(self, direct: Upstream, visit: PullVisit, required: Position, on_bypass: Any, *, is_alone: bool) -> Any:
        return direct


@pytest.mark.parametrize(
    ("on_detach", "is_attached", "is_shielded"),
    [("serve", True, True), ("serve", False, True), ("validate", True, True), ("validate", False, False)],
)
async def test_who_validates_because_it_is_cut_off_asks_no_shield(
    stage: Stage, on_detach: str, is_attached: bool, is_shielded: bool
) -> None:
    """It does not know what to require of one, which may not have heard of a purge either."""
    stage.apply(SiteChanged("s1", {"origin": "https://up.example", "on_detach": on_detach}))
    stage.fetcher.shielding = EveryShield()
    stage.is_attached = is_attached
    client = stage.begin()
    exchange = await stage.upstream.next()
    (flight,) = stage.flights.of(stage.key())
    assert flight.is_shielded == is_shielded
    exchange.answer(200, FRESH, content=b"x")
    await soon(client)
