"""What is stored for a request: which of several, by which names it is purged, and what is told apart."""

from __future__ import annotations

import pytest

from cdn.edge import pull_shelf
from cdn.edge.pull_shelf import MAX_COPIED_BYTES
from cdn.http.decide import Required
from cdn.journal.record import SiteChanged
from tests.edge.conftest import MakeStage
from tests.edge.pull_stage import FRESH, Stage, soon

ETAG = ("etag", '"1"')


async def add(stage: Stage, content: bytes, *lines: tuple[str, str], **fields: str) -> None:
    """One more variant, whatever upstream is asked."""
    client = stage.begin("/a", **fields)
    (await stage.upstream.next()).answer(200, FRESH, *lines, content=content)
    await soon(client)
    await stage.idle()


async def test_of_several_that_suit_the_most_recent_date_is_taken(stage: Stage) -> None:
    """Vary of one answer may name other fields than that of the next: then both suit."""
    old = ("date", "Tue, 14 Nov 2023 22:00:00 GMT")
    new = ("date", "Tue, 14 Nov 2023 22:10:00 GMT")
    await add(stage, b"new", new, ("vary", "accept-language"), accept_language="de", x_kind="1")
    await add(stage, b"old", old, ("vary", "x-kind"), accept_language="fr", x_kind="2")
    held = (await stage.shelf.look(stage.visit(accept_language="de", x_kind="2"))).whole
    assert held is not None
    assert held.pulled.head.fields.get("date") == new[1]


async def test_of_equal_dates_the_last_that_came_is_taken(stage: Stage) -> None:
    await add(stage, b"one", ("vary", "accept-language"), ("x-n", "1"), accept_language="de", x_kind="1")
    await add(stage, b"two", ("vary", "x-kind"), ("x-n", "2"), accept_language="fr", x_kind="2")
    held = (await stage.shelf.look(stage.visit(accept_language="de", x_kind="2"))).whole
    assert held is not None
    assert held.pulled.head.fields.get("x-n") == "2"


async def test_those_for_other_requests_are_named_with_all_that_tells_them_apart(stage: Stage) -> None:
    await add(stage, b"one", ("vary", "x-kind"), x_kind="1")
    await add(stage, b"two", ("vary", "accept-language"), accept_language="de", x_kind="2")
    on_shelf = await stage.shelf.look(stage.visit(accept_language="fr", x_kind="9"))
    assert on_shelf.whole is None
    assert len(on_shelf.others) == 2
    assert on_shelf.vary == ("accept-language", "x-kind")


async def test_keys_tell_apart_what_upstream_is_told(make_stage: MakeStage) -> None:
    stage = await make_stage()
    assert stage.key("/a?b").path == "http  /a?b"
    stage = await make_stage(site={"upstream_host": "visitor", "query": "drop"})
    assert stage.key("/a?b").path == "http s1.cdn.localhost /a"


@pytest.mark.parametrize(
    "lines",
    [
        (("etag", 'W/"1"'),),
        (("last-modified", "Tue, 14 Nov 2023 22:00:00 GMT"),),
        (),
    ],
)
async def test_only_variants_with_strong_tags_are_asked_about(stage: Stage, lines: tuple[tuple[str, str], ...]) -> None:
    await add(stage, b"one", *lines, ("vary", "x-kind"), x_kind="1")
    on_shelf = await stage.shelf.look(stage.visit(x_kind="2"))
    assert len(on_shelf.others) == 1
    assert stage.shelf.other_variants(stage.key(), on_shelf) == ()


async def test_only_small_and_usable_variants_are_asked_about_and_not_too_many(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    vary = ("vary", "x-kind")
    for number in range(4):
        await add(stage, b"one", ("etag", f'"{number}"'), ("cache-tag", f"t{number}"), vary, x_kind=str(number))
    await add(stage, b"x" * (MAX_COPIED_BYTES + 1), ("etag", '"large"'), vary, x_kind="large")

    async def asked_about() -> list[str | None]:
        on_shelf = await stage.shelf.look(stage.visit(x_kind="new"))
        others = stage.shelf.other_variants(stage.key(), on_shelf)
        return [each.pulled.head.fields.get("etag") for each in others if each.pulled is not None]

    assert await asked_about() == ['"3"', '"2"', '"1"', '"0"']
    stage.purge("tag", "t2")
    assert await asked_about() == ['"3"', '"1"', '"0"']
    monkeypatch.setattr(pull_shelf, "MAX_VALIDATED", 2)
    assert await asked_about() == ['"3"', '"1"']
    stage.change_epoch()
    assert await asked_about() == []


async def test_what_answers_by_another_name_is_purged_by_both(stage: Stage) -> None:
    await stage.fetch("/a?x=1", FRESH, ("no-vary-search", "params"))
    (stored,) = await stage.stored("/a?x=1")
    for name in ("/a?x=1", "/a?x=2"):
        assert (await stage.get(name)).is_hit
        assert stage.shelf.required(stage.key(name), stored) == Required(0, 0)
    stage.purge("url", "/a?x=2")
    sequence = stage.view.position.sequence
    assert stage.shelf.required(stage.key("/a?x=2"), stored) == Required(sequence, 0)
    assert stage.shelf.required(stage.key("/a?x=1"), stored) == Required(0, 0)
    stage.purge("url", "/a?x=1")
    assert stage.shelf.is_below_hard(stage.key("/a?x=2"), stored)


async def test_what_a_later_answer_no_longer_allows_is_forgotten(stage: Stage) -> None:
    await stage.fetch("/a?x=1", ("cache-control", "max-age=1"), ("no-vary-search", "params"))
    stage.now += 2
    assert len(stage.shelf.equivalent_keys(stage.key("/a?x=2"))) == 1
    await stage.fetch("/a?x=1", FRESH)
    assert stage.shelf.equivalent_keys(stage.key("/a?x=2")) == []


async def test_tags_that_rules_give_count_as_they_are_now(stage: Stage) -> None:
    await stage.fetch("/a", FRESH, ETAG)
    (stored,) = await stage.stored()
    rule = {"path": "/*", "fields": [["cache-tag", "late"]]}
    stage.apply(SiteChanged("s1", {"origin": "https://up.example", "header_rules": [rule]}))
    assert not stage.shelf.is_below_hard(stage.key(), stored)
    stage.purge("tag", "late")
    assert stage.shelf.is_below_hard(stage.key(), stored)
