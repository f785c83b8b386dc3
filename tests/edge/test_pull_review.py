"""Pull sites where several rules meet: parts and invalidation, failures and what is stored, fields for one client."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cdn.edge.disk_tier import DiskTier
from cdn.edge.stored import StoredResponse
from tests.edge.pull_stage import FRESH, Gate, Stage, hold_commit, soon

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
