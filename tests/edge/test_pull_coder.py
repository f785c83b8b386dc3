"""Coded forms of stored responses: made once, kept beside the identity form, and never past it."""

from __future__ import annotations

import asyncio
import gzip
import os

import pytest
import zstandard

from cdn.edge import encoder, pull_coder
from cdn.edge.disk_tier import DiskTier
from cdn.edge.encoder import MAX_WAITING_BYTES, SMALL_BYTES, Claim
from cdn.edge.stored import StoredResponse
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.pull_stage import FRESH, Answer, Gate, Stage, soon, until

TEXT = b"all work and no play makes a cache a dull node. " * 40
LARGE = TEXT * (SMALL_BYTES // len(TEXT) + 1)
LINES = (FRESH, ("content-type", "text/plain"), ("etag", '"1"'))


class Encodings:
    """Counts what is encoded; while `gate` is there, whoever has encoded something waits with it."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.gate: Gate | None = None


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> Encodings:
    encodings = Encodings()
    encode = Claim.encode

    async def counted(self: Claim, content: bytes, coding: str) -> bytes | None:
        encodings.made.append(coding)
        coded = await encode(self, content, coding)
        if encodings.gate is not None:
            await encodings.gate.pass_through()
        return coded

    monkeypatch.setattr(Claim, "encode", counted)
    return encodings


def decoded(answer: Answer) -> bytes:
    match answer.fields.get("content-encoding"):
        case "gzip":
            return gzip.decompress(answer.content)
        case "zstd":
            return zstandard.ZstdDecompressor().decompress(answer.content)
        case _:
            return answer.content


async def fetch(stage: Stage, content: bytes = TEXT, *lines: tuple[str, str]) -> None:
    await stage.fetch("/a", *(lines or LINES), content=content)


async def made_behind(stage: Stage) -> None:
    await until(lambda: not stage.coder._behind)


async def test_many_want_it_and_it_is_made_once(stage: Stage, encodings: Encodings) -> None:
    await fetch(stage)
    encodings.gate = Gate()
    clients = [stage.begin(accept_encoding="gzip") for _ in range(5)]
    await encodings.gate.come()
    clients += [stage.begin(accept_encoding="gzip") for _ in range(5)]
    encodings.gate.open()
    for client in clients:
        answer = await soon(client)
        assert answer.fields.get("content-encoding") == "gzip"
        assert answer.fields.get("etag") == '"1-gzip"'
        assert (decoded(answer), answer.is_hit) == (TEXT, True)
    assert encodings.made == ["gzip"]
    assert {each.pulled.coding for each in await stage.stored() if each.pulled} == {None, "gzip"}
    await stage.assert_clean()


async def test_each_coding_is_made_for_itself(stage: Stage, encodings: Encodings) -> None:
    await fetch(stage)
    for asked, coding in (("gzip", "gzip"), ("zstd, gzip", "zstd"), ("", None), ("gzip;q=0, *", "zstd")):
        answer = await stage.get(accept_encoding=asked)
        assert answer.fields.get("content-encoding") == coding
        assert answer.fields.get("vary") == "Accept-Encoding"
        assert decoded(answer) == TEXT
    assert encodings.made == ["gzip", "zstd"]


async def test_a_client_that_leaves_leaves_the_others_their_coded_form(stage: Stage, encodings: Encodings) -> None:
    await fetch(stage)
    encodings.gate = Gate()
    first, second = stage.begin(accept_encoding="gzip"), stage.begin(accept_encoding="gzip")
    await encodings.gate.come()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    encodings.gate.open()
    assert decoded(await soon(second)) == TEXT
    assert encodings.made == ["gzip"]
    await stage.assert_clean()


async def test_large_content_is_encoded_behind_the_visitors_back(stage: Stage, encodings: Encodings) -> None:
    await fetch(stage, LARGE)
    encodings.gate = Gate()
    for _ in range(3):
        answer = await stage.get(accept_encoding="zstd")
        assert answer.fields.get("content-encoding") is None
        assert answer.content == LARGE
    encodings.gate.open()
    await made_behind(stage)
    answer = await stage.get(accept_encoding="zstd")
    assert answer.fields.get("content-encoding") == "zstd"
    assert decoded(answer) == LARGE
    assert encodings.made == ["zstd"]
    await stage.assert_clean()


@pytest.mark.parametrize("size_bytes", [2000, CHUNK_BYTES + 9])
async def test_what_does_not_get_smaller_is_tried_once(stage: Stage, encodings: Encodings, size_bytes: int) -> None:
    noise = os.urandom(size_bytes)
    await fetch(stage, noise)
    for _ in range(3):
        answer = await stage.get(accept_encoding="gzip")
        assert (answer.content, answer.fields.get("content-encoding")) == (noise, None)
        await made_behind(stage)
    assert encodings.made == ["gzip"]
    await stage.assert_clean()


async def test_what_is_known_to_be_useless_is_bounded(
    stage: Stage, encodings: Encodings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_coder, "MAX_USELESS", 1)
    for path in ("/a", "/b"):
        await stage.fetch(path, *LINES, content=os.urandom(2000))
        await stage.get(path, accept_encoding="gzip")
    assert len(stage.coder._useless) == 1
    await stage.get("/b", accept_encoding="gzip")
    assert encodings.made == ["gzip"] * 2
    await stage.get("/a", accept_encoding="gzip")
    assert encodings.made == ["gzip"] * 3


async def test_where_there_is_no_room_to_encode_the_identity_form_is_sent(
    stage: Stage, encodings: Encodings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fetch(stage)
    monkeypatch.setattr(encoder, "MAX_WAITING_BYTES", len(TEXT) - 1)
    assert len(TEXT) < MAX_WAITING_BYTES
    assert (await stage.get(accept_encoding="gzip")).content == TEXT
    assert encodings.made == []
    assert stage.road.recall(stage.request(accept_encoding="gzip"), stage.site(), stage.now) is None, "for now only"
    monkeypatch.undo()
    assert decoded(await stage.get(accept_encoding="gzip")) == TEXT
    assert {each.pulled.coding for each in await stage.stored() if each.pulled} == {None, "gzip"}


@pytest.mark.parametrize(
    "lines",
    [
        (FRESH, ("content-type", "image/png")),
        (("cache-control", "max-age=60, no-transform"), ("content-type", "text/plain")),
    ],
)
async def test_what_may_not_be_coded_is_not(
    stage: Stage, encodings: Encodings, lines: tuple[tuple[str, str], ...]
) -> None:
    await fetch(stage, TEXT, *lines)
    assert (await stage.get(accept_encoding="gzip")).content == TEXT
    assert encodings.made == []


async def test_what_is_coded_is_not_coded_again(stage: Stage, encodings: Encodings) -> None:
    client = stage.begin(accept_encoding="gzip")
    coded = ("content-type", "text/plain"), ("content-encoding", "br")
    (await stage.upstream.next()).answer(200, FRESH, *coded, content=TEXT)
    await soon(client)
    await stage.idle()
    assert (await stage.get(accept_encoding="gzip")).content == TEXT
    assert encodings.made == []


# What becomes of the identity form meanwhile


async def replaced(stage: Stage, content: bytes) -> None:
    client = stage.begin(cache_control="no-cache")
    (await stage.upstream.next()).answer(200, FRESH, ("content-type", "text/plain"), content=content)
    await soon(client)
    await stage.idle()


async def test_the_coded_form_of_what_was_replaced_is_not_sent(stage: Stage, encodings: Encodings) -> None:
    await fetch(stage)
    await stage.get(accept_encoding="gzip")
    await replaced(stage, TEXT[1:])
    assert decoded(await stage.get(accept_encoding="gzip")) == TEXT[1:]


async def test_what_is_replaced_while_it_is_encoded_leaves_no_coded_form(stage: Stage, encodings: Encodings) -> None:
    await fetch(stage)
    old_gate = encodings.gate = Gate()
    slow = stage.begin(accept_encoding="gzip")
    await old_gate.come()
    encodings.gate = None
    await replaced(stage, TEXT[1:])
    assert decoded(await stage.get(accept_encoding="gzip")) == TEXT[1:]
    (new,) = [each for each in await stage.stored() if each.pulled is not None and each.pulled.coding is not None]
    old_gate.open()
    answer = await soon(slow)
    assert decoded(answer) == TEXT
    assert answer.fields.get("content-encoding") is None, "its own coded form would take the place of the newer one"
    assert new in await stage.stored()
    assert decoded(await stage.get(accept_encoding="gzip")) == TEXT[1:]
    assert encodings.made == ["gzip"] * 2
    await stage.assert_clean()


@pytest.mark.parametrize("how", ["purge", "unsafe", "group", "epoch"])
async def test_what_becomes_unusable_while_it_is_encoded_is_sent_to_nobody_who_asks_after(
    stage: Stage, encodings: Encodings, how: str
) -> None:
    await fetch(stage, TEXT, *LINES, ("cache-groups", '"g"'))
    gate = encodings.gate = Gate()
    slow = stage.begin(accept_encoding="gzip")
    await gate.come()
    match how:
        case "purge":
            stage.purge("url", "/a")
        case "unsafe":
            await stage.unsafe("/a")
        case "group":
            await stage.unsafe("/b", ("cache-group-invalidation", '"g"'))
        case _:
            stage.change_epoch()
    gate.open()
    encodings.gate = None
    assert decoded(await soon(slow)) == TEXT
    client = stage.begin(accept_encoding="gzip")
    exchange = await stage.upstream.next()
    assert "if-none-match" not in exchange.fields or how == "epoch"
    exchange.answer(200, FRESH, ("content-type", "text/plain"), content=TEXT[1:])
    assert decoded(await soon(client)) == TEXT[1:]
    await stage.idle()
    assert decoded(await stage.get(accept_encoding="gzip")) == TEXT[1:]
    await stage.assert_clean()


async def test_what_was_renewed_keeps_its_coded_form(stage: Stage, encodings: Encodings) -> None:
    await fetch(stage)
    await stage.get(accept_encoding="gzip")
    stage.now += 100
    client = stage.begin(accept_encoding="gzip")
    exchange = await stage.upstream.next()
    assert exchange.fields.get("if-none-match") == '"1"'
    exchange.answer(304, FRESH)
    assert decoded(await soon(client)) == TEXT
    assert encodings.made == ["gzip"]


# Disks


async def test_a_disk_without_room_sends_the_identity_form(
    stage: Stage, encodings: Encodings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fetch(stage)
    monkeypatch.setattr(stage.disk._writing, "_max_bytes", 0)
    assert (await stage.get(accept_encoding="gzip")).content == TEXT
    await stage.assert_clean()


async def test_content_that_left_the_disk_is_asked_for_again(
    stage: Stage, encodings: Encodings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fetch(stage)

    async def gone(self: DiskTier, stored: StoredResponse, number: int) -> None:
        return None

    monkeypatch.setattr(DiskTier, "read_chunk", gone)
    client = stage.begin(accept_encoding="gzip")
    (await stage.upstream.next()).answer(200, *LINES, content=TEXT)
    assert (await soon(client)).content == TEXT
    assert encodings.made == []
    await stage.assert_clean()


async def test_closing_the_node_ends_what_is_encoded(stage: Stage, encodings: Encodings) -> None:
    await fetch(stage, LARGE)
    encodings.gate = Gate()
    await stage.get(accept_encoding="zstd")
    await encodings.gate.come()
    await stage.pull.aclose()
    assert not stage.coder._behind
    assert stage.disk.facts().writing_bytes == 0
