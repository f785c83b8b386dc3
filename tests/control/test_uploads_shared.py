"""Uploads that one replica of control opened and another goes on with: nothing is lost, and all is bounded."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cdn.control.kept_upload import (
    KEPT_UPLOADS,
    KeptUpload,
    UnreadableUpload,
    decode_kept,
    encode_kept,
    is_over,
    is_upload_id,
    kept_upload_key,
    new_upload_id,
)
from cdn.control.settings import ControlSettings
from cdn.control.upload_session import UploadSessions
from cdn.control.uploads import CLOCKS_APART_S, STAY_S, Uploads
from cdn.errors import NotFound, Unavailable
from cdn.origin.directory import DirectoryStore
from tests.control.control_room import Clock


def digest(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


BLOBS = {digest(number): number for number in range(5)}


class CountingStore(DirectoryStore):
    """Counts what is read whole, and lets a test hold it up."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gets = 0

    async def get(self, key: str) -> bytes:
        self.gets += 1
        return await super().get(key)


class Replicas:
    """Any number of replicas over one store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Clock()
        self.store = CountingStore(root / "store")
        self.made: list[Uploads] = []

    def add(self, *, shared: bool = True, **limits: Any) -> Uploads:
        settings = ControlSettings("cdn.localhost", self.root, **limits)
        uploads = Uploads(UploadSessions(settings, self.clock), self.store, self.clock, shared=shared)
        self.made.append(uploads)
        return uploads

    async def kept(self) -> set[str]:
        return {facts.key async for facts in self.store.scan(KEPT_UPLOADS)}


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[Replicas]:
    replicas = Replicas(tmp_path)
    yield replicas
    for each in replicas.made:
        await each.aclose()
    await replicas.store.aclose()


async def test_what_one_opened_another_takes_over_with_every_size(replicas: Replicas) -> None:
    first, second = replicas.add(), replicas.add()
    opened = await first.open("s1", BLOBS)
    taken = await second.get("s1", opened.id)
    assert (taken.blobs, taken.expires_at, taken.site_id) == (BLOBS, opened.expires_at, "s1")
    assert taken.proven == {}, "what is proved, the blobs themselves prove"
    taken.proven[digest(1)] = 1
    assert (await second.get("s1", opened.id)).proven == {digest(1): 1}


async def test_no_other_site_reaches_it_and_no_made_up_id_becomes_a_key(replicas: Replicas) -> None:
    first, second = replicas.add(), replicas.add()
    opened = await first.open("s1", BLOBS)
    await second.get("s1", opened.id)
    for uploads in (first, second, replicas.add()):
        for site_id, upload_id in (("s2", opened.id), ("s1", "../s1/" + opened.id), ("s1", ""), ("s1", "A" * 32)):
            with pytest.raises(NotFound, match="no open upload"):
                await uploads.get(site_id, upload_id)
    replicas.made[-1].close("s2", opened.id)
    await replicas.made[-1].aclose()
    assert await replicas.kept() == {kept_upload_key("s1", opened.id)}, "nor does another site end it"


async def test_those_who_ask_at_once_share_one_look(replicas: Replicas) -> None:
    first, second = replicas.add(), replicas.add()
    opened = await first.open("s1", BLOBS)
    found = await asyncio.gather(*(second.get("s1", opened.id) for _ in range(50)))
    assert len({id(each) for each in found}) == 1
    assert replicas.store.gets == 1


async def test_without_other_replicas_nothing_is_written(replicas: Replicas) -> None:
    alone = replicas.add(shared=False)
    opened = await alone.open("s1", BLOBS)
    assert await alone.get("s1", opened.id) is opened
    alone.close("s1", opened.id)
    with pytest.raises(NotFound):
        await alone.get("s1", opened.id)
    assert await replicas.kept() == set()


async def test_it_ends_with_its_time_and_is_swept_after_it(replicas: Replicas) -> None:
    first, second = replicas.add(upload_session_s=100.0), replicas.add()
    opened = await first.open("s1", BLOBS)
    await second.get("s1", opened.id)
    replicas.clock.now += 100.0
    for uploads in (first, second, replicas.add()):
        with pytest.raises(NotFound):
            await uploads.get("s1", opened.id)
    await second.sweep()
    assert await replicas.kept(), "another replica's clock may be behind"
    replicas.clock.now += CLOCKS_APART_S + 2
    later = await first.open("s1", BLOBS)
    await second.sweep()
    assert await replicas.kept() == {kept_upload_key("s1", later.id)}


async def test_deploys_recorded_elsewhere_do_not_count_against_a_site_here(replicas: Replicas) -> None:
    first, second = replicas.add(max_sessions_per_site=2), replicas.add()
    opened = []
    for _ in range(2):
        opened.append(await first.open("s1", BLOBS))
    with pytest.raises(Unavailable, match="2 open uploads"):
        await first.open("s1", BLOBS)
    second.close("s1", opened[0].id)
    await second.aclose()
    await first.open("s1", BLOBS)
    with pytest.raises(Unavailable, match="2 open uploads"):
        await first.open("s1", BLOBS)


async def test_one_being_opened_is_not_taken_for_ended(replicas: Replicas) -> None:
    uploads = replicas.add(max_sessions_per_site=1)
    opening = await uploads.open("s1", BLOBS)
    with pytest.raises(Unavailable):
        await uploads.open("s1", BLOBS)
    assert uploads.find("s1", opening.id) is opening


async def test_adopted_sessions_are_bounded_and_come_back_when_asked_for(replicas: Replicas) -> None:
    first, second = replicas.add(), replicas.add(max_sessions=3, max_session_digests=2 * len(BLOBS))
    opened = [await first.open("s1", BLOBS) for _ in range(6)]
    for each in opened:
        await second.get("s1", each.id)
    assert [second.find("s1", each.id) is not None for each in opened] == [False] * 4 + [True] * 2
    assert (await second.get("s1", opened[0].id)).blobs == BLOBS
    assert (await second.open("s2", BLOBS)).blobs == BLOBS, "they take nothing from those opened here"


async def test_a_removed_site_takes_its_sessions_along(replicas: Replicas) -> None:
    first, second = replicas.add(), replicas.add()
    kept = [await first.open(site, BLOBS) for site in ("s1", "s1", "s2")]
    for each in kept:
        await second.get(each.site_id, each.id)
    second.close_site("s1")
    await second.aclose()
    assert await replicas.kept() == {kept_upload_key("s2", kept[2].id)}
    assert [second.find(each.site_id, each.id) is not None for each in kept] == [False, False, True]


async def test_a_damaged_one_is_opened_anew(replicas: Replicas) -> None:
    uploads = replicas.add()
    upload_id = new_upload_id(replicas.clock() + 100)
    await replicas.store.put(kept_upload_key("s1", upload_id), b"no session")
    with pytest.raises(NotFound, match="Open a new one"):
        await uploads.get("s1", upload_id)


def test_the_form_carries_everything_and_refuses_what_it_does_not_know() -> None:
    kept = KeptUpload(BLOBS, 1_800_000_100.5)
    assert decode_kept(encode_kept(kept)) == kept
    assert decode_kept(encode_kept(KeptUpload({}, 1.0))).blobs == {}
    with pytest.raises(UnreadableUpload, match="damaged"):
        decode_kept(b"{}")
    with pytest.raises(UnreadableUpload, match="cut off"):
        decode_kept(encode_kept(kept)[:-8])


def test_a_newer_form_is_not_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as tomorrow:
        tomorrow.setattr("cdn.control.kept_upload.KEPT_VERSION", 2)
        raw = encode_kept(KeptUpload(BLOBS, 1.0))
    with pytest.raises(UnreadableUpload, match="version 2"):
        decode_kept(raw)


def test_ids_say_when_they_end_and_cannot_be_guessed() -> None:
    ids = {new_upload_id(1_800_000_000.5) for _ in range(100)}
    assert len(ids) == 100
    assert all(map(is_upload_id, ids))
    assert not any(is_over(kept_upload_key("s1", each), 1_800_000_000.9) for each in ids)
    assert all(is_over(kept_upload_key("s1", each), 1_800_000_002.0) for each in ids)
    assert is_over(KEPT_UPLOADS + "s1/something-else", 0.0)


async def test_a_site_stays_as_it_is_at_every_replica_while_one_was_told_what_it_has(replicas: Replicas) -> None:
    one, two = replicas.add(), replicas.add()
    assert not (await two.pinned("a")).is_all
    await one.stay("a")
    for replica in (one, two):
        assert (await replica.pinned("a")).is_all
        assert not (await replica.pinned("b")).is_any
    kept = [facts.key async for facts in replicas.store.scan(KEPT_UPLOADS)]
    await one.stay("a")
    assert [facts.key async for facts in replicas.store.scan(KEPT_UPLOADS)] == kept, "one is good for many calls"
    replicas.clock.now += STAY_S / 2
    await one.stay("a")
    replicas.clock.now += STAY_S / 2 + CLOCKS_APART_S + 2
    assert (await two.pinned("a")).is_all
    replicas.clock.now += STAY_S
    assert not (await one.pinned("a")).is_any
    assert not (await two.pinned("a")).is_any
