"""What every object store promises, over the directory and over a real S3 server."""

from __future__ import annotations

import asyncio
import random

import pytest

from cdn.errors import InvalidInput
from cdn.origin.store import DigestMismatch, ObjectMissing, ObjectStore, PutOutcome, UploadTarget
from tests.origin.content import pieces, target_of

KEY = "a/b/c"


async def test_what_was_put_is_read_back(store: ObjectStore) -> None:
    assert await store.put(KEY, b"content") is PutOutcome.STORED
    assert await store.get(KEY) == b"content"
    facts = await store.head(KEY)
    assert facts is not None
    assert (facts.key, facts.size_bytes) == (KEY, 7)


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    await store.put(KEY, b"")
    assert await store.get(KEY) == b""
    assert await store.get_range(KEY, 0, 10) == b""
    await store.put_stream(target_of(b"", "empty"), pieces(b""))
    assert await store.get("empty") == b""


async def test_a_put_overwrites_and_the_entity_tag_changes(store: ObjectStore) -> None:
    await store.put(KEY, b"one")
    before = await store.head(KEY)
    await store.put(KEY, b"two")
    after = await store.head(KEY)
    assert before is not None
    assert after is not None
    assert before.entity_tag != after.entity_tag
    assert await store.get(KEY) == b"two"


async def test_if_absent_writes_once(store: ObjectStore) -> None:
    assert await store.put(KEY, b"one", if_absent=True) is PutOutcome.STORED
    assert await store.put(KEY, b"two", if_absent=True) is PutOutcome.PRECONDITION_FAILED
    assert await store.get(KEY) == b"one"


async def test_of_many_that_write_if_absent_one_wins(store: ObjectStore) -> None:
    contents = [f"writer {number}".encode() for number in range(4)]
    outcomes = await asyncio.gather(*(store.put(KEY, content, if_absent=True) for content in contents))
    assert outcomes.count(PutOutcome.STORED) == 1
    assert await store.get(KEY) == contents[outcomes.index(PutOutcome.STORED)]


async def test_if_match_replaces_only_what_was_seen(store: ObjectStore) -> None:
    await store.put(KEY, b"one")
    seen = await store.head(KEY)
    assert seen is not None
    assert await store.put(KEY, b"two", if_match=seen.entity_tag) is PutOutcome.STORED
    assert await store.put(KEY, b"three", if_match=seen.entity_tag) is PutOutcome.PRECONDITION_FAILED
    assert await store.get(KEY) == b"two"


async def test_of_many_that_replace_the_same_one_wins(store: ObjectStore) -> None:
    await store.put(KEY, b"before")
    seen = await store.head(KEY)
    assert seen is not None
    contents = [f"writer {number}".encode() for number in range(4)]
    outcomes = await asyncio.gather(*(store.put(KEY, content, if_match=seen.entity_tag) for content in contents))
    assert outcomes.count(PutOutcome.STORED) == 1
    assert await store.get(KEY) == contents[outcomes.index(PutOutcome.STORED)]


async def test_if_match_of_what_does_not_exist_fails(store: ObjectStore) -> None:
    assert await store.put(KEY, b"one", if_match='"0123456789abcdef0123456789abcdef"') is PutOutcome.PRECONDITION_FAILED
    assert await store.head(KEY) is None


async def test_what_does_not_exist_is_missing(store: ObjectStore) -> None:
    assert await store.head("no/such") is None
    with pytest.raises(ObjectMissing, match="no/such"):
        await store.get("no/such")
    for start, stop in ((0, 5), (0, 0)):
        with pytest.raises(ObjectMissing, match="no/such"):
            await store.get_range("no/such", start, stop)
    await store.delete("no/such")


async def test_a_folder_of_keys_is_not_an_object(store: ObjectStore) -> None:
    await store.put("a/b/c", b"content")
    assert await store.head("a/b") is None
    assert await store.head("a/b/c/d") is None
    with pytest.raises(ObjectMissing):
        await store.get("a/b")
    with pytest.raises(ObjectMissing):
        await store.get("a/b/c/d")


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [(0, 10, b"0123456789"), (0, 1, b"0"), (3, 7, b"3456"), (8, 99, b"89"), (10, 12, b""), (50, 60, b""), (4, 4, b"")],
)
async def test_a_range_is_cut_at_the_end(store: ObjectStore, start: int, stop: int, expected: bytes) -> None:
    await store.put(KEY, b"0123456789")
    assert await store.get_range(KEY, start, stop) == expected


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (5, 4)])
async def test_a_range_that_is_none_is_refused(store: ObjectStore, start: int, stop: int) -> None:
    with pytest.raises(InvalidInput, match="is not a range"):
        await store.get_range(KEY, start, stop)


async def test_a_deleted_object_is_gone(store: ObjectStore) -> None:
    await store.put(KEY, b"content")
    await store.delete(KEY)
    assert await store.head(KEY) is None
    assert await store.put(KEY, b"again", if_absent=True) is PutOutcome.STORED


@pytest.mark.parametrize("size_bytes", [1, 65_536, 3 * 1024 * 1024 + 17])
async def test_a_stream_is_stored_whole(store: ObjectStore, size_bytes: int) -> None:
    content = random.Random(size_bytes).randbytes(size_bytes)
    target = target_of(content)
    await store.put_stream(target, pieces(content))
    assert await store.get(target.key) == content
    await store.put_stream(target, pieces(content))


async def test_a_stream_leaves_an_existing_object_as_it_is(store: ObjectStore) -> None:
    target = target_of(b"content")
    await store.put_stream(target, pieces(b"content"))
    before = await store.head(target.key)
    await store.put_stream(target, pieces(b"content"))
    assert await store.head(target.key) == before


@pytest.mark.parametrize("size_bytes", [1000, 3 * 1024 * 1024])
@pytest.mark.parametrize("damage", ["flipped", "short", "long", "endless"])
async def test_a_stream_of_wrong_bytes_leaves_nothing(store: ObjectStore, damage: str, size_bytes: int) -> None:
    content = random.Random(1).randbytes(size_bytes)
    target = target_of(content)
    wrong = {
        "flipped": content[:-1] + bytes([content[-1] ^ 1]),
        "short": content[:-1],
        "long": content + b"x",
        "endless": content * 4,
    }[damage]
    with pytest.raises(DigestMismatch, match=target.digest):
        await store.put_stream(target, pieces(wrong))
    assert await store.head(target.key) is None
    assert [facts async for facts in store.scan("")] == []
    await store.put_stream(target, pieces(content))
    assert await store.get(target.key) == content


async def test_an_uploader_that_breaks_off_leaves_nothing(store: ObjectStore) -> None:
    content = random.Random(1).randbytes(3 * 1024 * 1024)
    target = target_of(content)

    async def broken() -> object:
        async def content_until_it_breaks() -> object:
            yield content[: 2 * 1024 * 1024]
            raise ConnectionResetError("the uploader went away")

        return content_until_it_breaks()

    with pytest.raises(ConnectionResetError):
        await store.put_stream(target, await broken())  # type: ignore[arg-type]
    assert await store.head(target.key) is None


async def test_a_cancelled_upload_leaves_nothing(store: ObjectStore) -> None:
    content = random.Random(1).randbytes(3 * 1024 * 1024)
    target = target_of(content)
    has_begun = asyncio.Event()

    async def stalled() -> object:
        yield content[: 2 * 1024 * 1024]
        has_begun.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(store.put_stream(target, stalled()))  # type: ignore[arg-type]
    await has_begun.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert await store.head(target.key) is None
    assert [facts async for facts in store.scan("")] == []


async def test_a_scan_lists_exactly_a_prefix(store: ObjectStore) -> None:
    keys = ["m/1", "m/2/x", "m/2/y", "m/20", "n/1", "m2/1", "m/3", "l", "m-1", "m.1"]
    for key in keys:
        await store.put(key, key.encode())
    for prefix in ("", "m", "m/", "m/2", "m/2/", "n/1", "zz/"):
        found = [facts async for facts in store.scan(prefix)]
        assert sorted(facts.key for facts in found) == sorted(key for key in keys if key.startswith(prefix))
        for facts in found:
            assert facts == await store.head(facts.key)


async def test_a_scan_goes_on_after_a_page(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.origin.directory.SCAN_PAGE", 10)
    monkeypatch.setattr("cdn.origin.s3.SCAN_PAGE", 10)
    keys = [f"many/{number:05}" for number in range(35)]
    await asyncio.gather(*(store.put(key, b"x") for key in keys))
    assert [facts.key async for facts in store.scan("many/")] == keys


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "a\\b", "a\0b", "a b", "ä", "a?b", "x" * 256, "ab/" * 400 + "a"],
)
async def test_a_key_that_is_no_plain_path_is_refused(store: ObjectStore, key: str) -> None:
    for call in (
        store.put(key, b"x"),
        store.get(key),
        store.get_range(key, 0, 1),
        store.head(key),
        store.delete(key),
        store.put_stream(UploadTarget(key, "0" * 64, 1), pieces(b"x")),
    ):
        with pytest.raises(InvalidInput, match="key"):
            await call


async def test_the_event_loop_goes_on_while_the_store_works(store: ObjectStore) -> None:
    content = random.Random(2).randbytes(8 * 1024 * 1024)
    target = target_of(content)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await store.put_stream(target, pieces(content, len(content)))
    during_put, turns = turns, 0
    for _ in range(10):  # one alone may be over before the loop's thread has its turn
        await store.get(target.key)
    counting.cancel()
    assert during_put > 20
    assert turns > 20
