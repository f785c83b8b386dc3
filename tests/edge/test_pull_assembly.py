"""Parts of one representation put together, and what must keep them apart (RFC 9111 sections 3.3 and 3.4)."""

from __future__ import annotations

import os

import pytest

from cdn.edge import pull_assembly
from cdn.edge.disk_tier import DiskTier
from cdn.edge.stored import StoredResponse
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.pull_stage import FRESH, Gate, Stage, hold_commit, soon

ETAG = ("etag", '"1"')
WHOLE = bytes(range(100))


async def fetch_part(
    stage: Stage, start: int, stop: int, *lines: tuple[str, str], whole: bytes = WHOLE, path: str = "/a"
) -> None:
    """A client that asks for a range which the upstream answers with that part."""
    client = stage.begin(path, range=f"bytes={start}-{stop - 1}", if_range='"none"')
    await answer_part(stage, start, stop, *lines, whole=whole)
    assert (await soon(client)).content == whole[start:stop]
    await stage.idle()


async def answer_part(stage: Stage, start: int, stop: int, *lines: tuple[str, str], whole: bytes = WHOLE) -> None:
    exchange = await stage.upstream.next()
    content_range = ("content-range", f"bytes {start}-{stop - 1}/{len(whole)}")
    exchange.answer(206, content_range, *(lines or (FRESH, ETAG)), content=whole[start:stop])


async def spans(stage: Stage) -> list[tuple[int, int, int]]:
    """What is stored: status, first byte and last byte plus one."""
    found = [(each.pulled, each.entry.size_bytes) for each in await stage.stored()]
    return sorted((p.head.status, p.part_start, p.part_start + size) for p, size in found if p is not None)


async def read_whole(stage: Stage) -> bytes:
    (stored,) = await stage.stored()
    return b"".join([bytes(await stage.disk.read_chunk(stored, n) or b"") for n in range(stored.file_count)])


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(0, 10)], [(206, 0, 10)]),
        ([(0, 10), (10, 20)], [(206, 0, 20)]),
        ([(10, 20), (0, 10)], [(206, 0, 20)]),
        ([(0, 10), (11, 20)], [(206, 0, 10), (206, 11, 20)]),
        ([(0, 10), (5, 20)], [(206, 0, 20)]),
        ([(0, 30), (10, 20)], [(206, 0, 30)]),
        ([(0, 10), (20, 30), (10, 20)], [(206, 0, 30)]),
        ([(0, 10), (20, 30), (40, 50), (5, 25)], [(206, 0, 30), (206, 40, 50)]),
        ([(50, 100), (0, 50)], [(200, 0, 100)]),
        ([(0, 60), (40, 100)], [(200, 0, 100)]),
        ([(0, 100)], [(200, 0, 100)]),
    ],
)
async def test_parts_without_a_gap_become_one(
    stage: Stage, parts: list[tuple[int, int]], expected: list[tuple[int, int, int]]
) -> None:
    for start, stop in parts:
        await fetch_part(stage, start, stop)
    assert await spans(stage) == expected
    for status, start, stop in expected:
        asked = {} if status == 200 else {"range": f"bytes={start}-{stop - 1}"}
        answer = await stage.get(**asked)
        assert (answer.content, answer.is_hit) == (WHOLE[start:stop], True)
        if status == 200:
            assert answer.status == 200
            assert "content-range" not in answer.fields
        else:
            assert answer.fields.get("content-range") == f"bytes {start}-{stop - 1}/100"
    await stage.assert_clean()


async def test_parts_of_many_chunks_are_put_together(stage: Stage) -> None:
    whole = os.urandom(3 * CHUNK_BYTES + 11)
    cut = CHUNK_BYTES + 5
    await fetch_part(stage, 0, cut, whole=whole)
    await fetch_part(stage, cut - 3, len(whole), whole=whole)
    assert await read_whole(stage) == whole
    answer = await stage.get()
    assert (answer.status, answer.content) == (200, whole)


@pytest.mark.parametrize(
    "lines",
    [
        (FRESH, ("etag", '"2"')),
        (FRESH, ("etag", 'W/"1"')),
        (FRESH, ("last-modified", "Tue, 14 Nov 2023 22:00:00 GMT")),
        (FRESH, ETAG, ("content-encoding", "gzip")),
        (FRESH, ETAG, ("vary", "accept-language")),
    ],
    ids=["other tag", "weak tag", "no tag", "other coding", "other fields"],
)
async def test_parts_of_what_may_be_another_representation_stay_apart(
    stage: Stage, lines: tuple[tuple[str, str], ...]
) -> None:
    await fetch_part(stage, 0, 10)
    await fetch_part(stage, 10, 20, *lines)
    assert (206, 0, 20) not in await spans(stage)


async def test_two_weak_parts_stay_apart(stage: Stage) -> None:
    for start in (0, 10):
        await fetch_part(stage, start, start + 10, FRESH, ("etag", 'W/"1"'))
    assert await spans(stage) == [(206, 0, 10), (206, 10, 20)]


async def test_parts_of_another_length_stay_apart(stage: Stage) -> None:
    await fetch_part(stage, 0, 10)
    await fetch_part(stage, 10, 20, whole=WHOLE[:50])
    assert await spans(stage) == [(206, 0, 10), (206, 10, 20)]


async def test_what_would_be_too_large_stays_apart(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_assembly, "MAX_ASSEMBLED_BYTES", 19)
    await fetch_part(stage, 0, 10)
    await fetch_part(stage, 10, 20)
    assert await spans(stage) == [(206, 0, 10), (206, 10, 20)]


async def test_the_head_is_that_of_the_newest(stage: Stage) -> None:
    await fetch_part(stage, 0, 50, FRESH, ETAG, ("x-kind", "old"))
    stage.now += 30
    await fetch_part(stage, 50, 100, FRESH, ETAG, ("x-kind", "new"))
    answer = await stage.get()
    assert answer.fields.get_all("x-kind") == ("new",)
    assert answer.fields.get("age") == "0"


# Floors


@pytest.mark.parametrize("kind", [("url", "/a"), ("tag", "t"), ("everything", "")])
async def test_a_part_below_a_hard_floor_is_put_together_with_nothing(stage: Stage, kind: tuple[str, str]) -> None:
    await fetch_part(stage, 0, 50, FRESH, ETAG, ("cache-tag", "t"))
    stage.purge(*kind)
    await fetch_part(stage, 50, 100)
    assert (200, 0, 100) not in await spans(stage)


async def test_the_whole_was_admitted_when_the_oldest_part_was(stage: Stage) -> None:
    """So that a soft purge of that part makes the whole stale as well."""
    await fetch_part(stage, 0, 50)
    stage.purge("url", "/a", soft=True)
    await fetch_part(stage, 50, 100)
    client = stage.begin()
    exchange = await stage.upstream.next()
    assert exchange.fields.get("if-none-match") == '"1"'
    exchange.answer(304)
    assert (await soon(client)).content == WHOLE


async def test_the_whole_has_the_tags_of_all_its_parts(stage: Stage) -> None:
    """A purge of a tag takes what was fetched under it, whatever it was put together with since."""
    await fetch_part(stage, 0, 50, FRESH, ETAG, ("cache-tag", "t"))
    await fetch_part(stage, 50, 100, FRESH, ETAG, ("cache-tag", "u"))
    assert await spans(stage) == [(200, 0, 100)]
    (stored,) = await stage.stored()
    assert set(stored.tags) == {"t", "u"}
    stage.purge("tag", "t")
    client = stage.begin()
    (await stage.upstream.next()).answer(200, FRESH, content=b"new")
    assert (await soon(client)).content == b"new"


async def test_parts_of_another_epoch_are_put_together_with_nothing(stage: Stage) -> None:
    await fetch_part(stage, 0, 50)
    stage.change_epoch()
    await fetch_part(stage, 50, 100)
    assert await spans(stage) == [(206, 0, 50), (206, 50, 100)]


def hold_reading(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Whoever reads a chunk from disk waits with it."""
    gate = Gate()
    read_chunk = DiskTier.read_chunk

    async def held(self: DiskTier, stored: StoredResponse, number: int) -> object:
        chunk = await read_chunk(self, stored, number)
        await gate.pass_through()
        return chunk

    monkeypatch.setattr(DiskTier, "read_chunk", held)
    return gate


@pytest.mark.parametrize("where", ["reading", "entering"])
@pytest.mark.parametrize("how", ["purge", "purge of the older part", "unsafe", "group", "epoch"])
async def test_what_becomes_unusable_while_parts_are_put_together(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, how: str, where: str
) -> None:
    await fetch_part(stage, 0, 50, FRESH, ETAG, ("cache-tag", "t"), ("cache-groups", '"g"'))
    client = stage.begin(range="bytes=50-99")
    gate = hold_reading(monkeypatch)
    await answer_part(stage, 50, 100)
    await soon(client)
    await gate.come()
    if where == "entering":
        commit = hold_commit(stage, monkeypatch)
        gate.open()
        await commit.come()
        gate = commit
    match how:
        case "purge":
            stage.purge("url", "/a")
        case "purge of the older part":
            stage.purge("tag", "t")
        case "unsafe":
            await stage.unsafe("/a")
        case "group":
            await stage.unsafe("/b", ("cache-group-invalidation", '"g"'))
        case _:
            stage.change_epoch()
    gate.open()
    await stage.idle()
    monkeypatch.undo()
    client = stage.begin()
    exchange = await stage.upstream.next()
    exchange.answer(200, FRESH, content=b"new")
    assert (await soon(client)).content == b"new"
    await stage.assert_clean()
    assert (await stage.get()).content == b"new"


async def test_a_part_that_has_left_the_disk_leaves_the_others_as_they_are(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fetch_part(stage, 0, 50)

    async def gone(self: DiskTier, stored: StoredResponse, number: int) -> None:
        return None

    monkeypatch.setattr(DiskTier, "read_chunk", gone)
    await fetch_part(stage, 50, 100)
    monkeypatch.undo()
    assert await spans(stage) == [(206, 0, 50), (206, 50, 100)]
    await stage.assert_clean()


async def test_a_tier_without_room_leaves_the_parts_as_they_are(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await fetch_part(stage, 0, 50)
    client = stage.begin(range="bytes=50-99")
    gate = hold_reading(monkeypatch)
    await answer_part(stage, 50, 100)
    await soon(client)
    await gate.come()
    monkeypatch.setattr(stage.disk._writing, "_max_bytes", 0)
    gate.open()
    await stage.idle()
    assert await spans(stage) == [(206, 0, 50), (206, 50, 100)]
    await stage.assert_clean()


# A variant that suits another request too


async def test_a_variant_that_suits_is_stored_for_this_request_as_well(stage: Stage) -> None:
    vary = ("vary", "accept-language")
    await stage.fetch("/a", FRESH, ETAG, vary, accept_language="de")
    client = stage.begin(accept_language="at")
    exchange = await stage.upstream.next()
    assert exchange.fields.get("if-none-match") == '"1"'
    exchange.answer(304, FRESH, ETAG, vary)
    assert (await soon(client)).content == b"one"
    await stage.idle()
    for language in ("de", "at"):
        assert (await stage.get(accept_language=language)).is_hit
    await stage.assert_clean()


@pytest.mark.parametrize("how", ["purge", "unsafe", "gone"])
async def test_a_variant_that_became_unusable_meanwhile_is_not_copied(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    vary = ("vary", "accept-language")
    await stage.fetch("/a", FRESH, ETAG, vary, accept_language="de")
    client = stage.begin(accept_language="at")
    exchange = await stage.upstream.next()
    gate = hold_reading(monkeypatch)
    exchange.answer(304, FRESH, ETAG, vary)
    await gate.come()
    match how:
        case "purge":
            stage.purge()
        case "unsafe":
            await stage.unsafe("/a")
        case _:
            for stored in await stage.stored():
                stage.disk.drop(stored)
            monkeypatch.setattr(stage.disk._writing, "_max_bytes", 0)
    gate.open()
    again = await stage.upstream.next()
    assert "if-none-match" not in again.fields
    again.answer(200, FRESH, vary, content=b"new")
    assert (await soon(client)).content == b"new"
    await stage.assert_clean()
