"""Uploads against a store that fails in chosen ways: it stands in for networks, not for a store."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from cdn.errors import CdnError, Unavailable, Unprocessable
from cdn.publish import upload as upload_module
from cdn.publish.backoff import Backoff
from cdn.publish.blob import SMALL_BYTES, Blob, FileChanged
from cdn.publish.client import ControlClient, UploadSession
from cdn.publish.endpoint import Endpoint
from cdn.publish.upload import MAX_SMALL_IN_FLIGHT, Uploader, UploadRefused, store_connections

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
Fault = tuple[int, str]
"""A status and the content with it; None in its place breaks the connection."""
QUICK = Backoff(attempts=3, first_s=0.001)


@dataclass
class Store:
    """A PUT server and the control that gives out its URLs. `faults` decides, per digest, what goes wrong first."""

    faults: dict[str, list[Fault | None]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    puts: Counter[str] = field(default_factory=Counter)
    fields: list[Mapping[str, str]] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    gate: asyncio.Event | None = None
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/urls"):
            digests = (await request.json())["digests"]
            self.batches.append(digests)
            number = len(self.batches)
            urls = {each: {"url": f"{self.url}/{each}?n={number}", "fields": {"X-Signed": each}} for each in digests}
            return web.json_response({"urls": urls})
        return await self._put(request)

    async def _put(self, request: web.Request) -> web.StreamResponse:
        digest = request.path.rsplit("/", 1)[1]
        self.puts[digest] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.fields.append(dict(request.headers))
        try:
            content = await request.read()
            if self.gate is not None:
                await self.gate.wait()
            if self.faults.get(digest):
                fault = self.faults[digest].pop(0)
                if fault is not None:
                    return web.Response(status=fault[0], text=fault[1])
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            if digest in self.stored:
                return web.Response(status=412)
            if hashlib.sha256(content).hexdigest() != digest:
                return web.Response(status=400, text="<Error><Code>BadDigest</Code><Message>No match</Message></Error>")
            self.stored[digest] = content
            return web.Response()
        finally:
            self.in_flight -= 1


@dataclass
class Recorded:
    """Progress that remembers."""

    total: tuple[int, int] = (0, 0)
    arrived: list[int] = field(default_factory=list)
    is_done: bool = False

    def step(self, sentence: str) -> None:
        raise AssertionError(sentence)

    def notice(self, sentence: str) -> None:
        raise AssertionError(sentence)

    def uploading(self, file_count: int, size_bytes: int) -> None:
        self.total = (file_count, size_bytes)

    def uploaded(self, file_count: int, size_bytes: int) -> None:
        self.arrived.append(size_bytes)

    def uploads_done(self) -> None:
        self.is_done = True


@pytest.fixture
async def store(serve: Serve) -> Store:
    store = Store()
    store.url = await serve(store.handle)
    return store


def blobs_of(folder: Path, *contents: bytes) -> list[Blob]:
    blobs = []
    for number, content in enumerate(contents):
        file = folder / f"file-{number}"
        file.write_bytes(content)
        blobs.append(Blob(hashlib.sha256(content).hexdigest(), len(content), file, f"/{file.name}"))
    return blobs


async def upload(
    store: Store, blobs: list[Blob], *, is_direct: bool = True, progress: Recorded | None = None
) -> Recorded:
    session = UploadSession("u1", tuple(blob.digest for blob in blobs), is_direct, expires_at=0.0)
    progress = progress or Recorded()
    async with ControlClient.open(Endpoint(store.url, "cdn_a_b"), QUICK) as client, store_connections() as http:
        by_digest = {blob.digest: blob for blob in blobs}
        uploader = Uploader(client, "blog", session, by_digest, progress=progress, backoff=QUICK)
        await uploader.run(http)
    return progress


async def test_every_missing_blob_arrives_with_its_signed_fields(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, b"", b"one", b"two" * 1000)
    progress = await upload(store, blobs)
    assert store.stored == {blob.digest: blob.file.read_bytes() for blob in blobs}
    assert {fields["X-Signed"] for fields in store.fields} == {blob.digest for blob in blobs}
    assert progress.total == (3, sum(blob.size_bytes for blob in blobs))
    assert sorted(progress.arrived) == sorted(blob.size_bytes for blob in blobs)
    assert progress.is_done


async def test_the_token_never_goes_to_the_store(store: Store, tmp_path: Path) -> None:
    await upload(store, blobs_of(tmp_path, b"one"))
    assert all("Authorization" not in fields for fields in store.fields)


async def test_through_control_the_token_goes_along(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, b"one", b"two")
    await upload(store, blobs, is_direct=False)
    assert store.batches == []
    assert set(store.stored) == {blob.digest for blob in blobs}
    assert {fields["Authorization"] for fields in store.fields} == {"Bearer cdn_a_b"}


async def test_large_blobs_are_streamed_whole_and_with_their_length(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, b"x" * (SMALL_BYTES + 1), bytes(3 * SMALL_BYTES), b"small")
    await upload(store, blobs)
    assert store.stored == {blob.digest: blob.file.read_bytes() for blob in blobs}
    assert sorted(int(fields["Content-Length"]) for fields in store.fields) == sorted(b.size_bytes for b in blobs)


async def test_what_is_there_already_counts_as_done(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, b"one")
    store.stored[blobs[0].digest] = b"one"
    assert (await upload(store, blobs)).arrived == [3]
    assert store.puts[blobs[0].digest] == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_passing_trouble_is_tried_again(store: Store, tmp_path: Path, status: int) -> None:
    blobs = blobs_of(tmp_path, b"one", b"x" * (SMALL_BYTES + 5))
    store.faults = {blob.digest: [(status, ""), (status, "")] for blob in blobs}
    await upload(store, blobs)
    assert set(store.stored) == {blob.digest for blob in blobs}


async def test_a_broken_connection_is_tried_again(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, b"one")
    store.faults = {blobs[0].digest: [None, None]}
    await upload(store, blobs)
    assert store.puts[blobs[0].digest] == 3


async def test_tries_end_with_the_files_name(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, b"one")
    store.faults = {blobs[0].digest: [(503, "<Code>SlowDown</Code>")] * 9}
    with pytest.raises(Unavailable, match=r"^/file-0 was refused: the store answered with status 503 \(SlowDown\)"):
        await upload(store, blobs)
    assert store.puts[blobs[0].digest] == QUICK.attempts


async def test_a_control_without_room_says_so_with_the_files_name(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, b"one")
    store.faults = {blobs[0].digest: [(503, '{"detail": "The disk is full."}')] * 9}
    with pytest.raises(Unavailable, match=r"^/file-0 was refused: The disk is full\.$"):
        await upload(store, blobs, is_direct=False)


async def test_an_expired_url_is_asked_for_again(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, b"one", b"two")
    store.faults = {blobs[1].digest: [(403, "<Code>AccessDenied</Code>")]}
    await upload(store, blobs)
    assert store.batches == [[blob.digest for blob in blobs], [blobs[1].digest]]


async def test_a_refusal_for_good_is_not_tried_again_and_quotes_the_store(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, b"one")
    store.faults = {blobs[0].digest: [(400, "<Code>EntityTooLarge</Code><Message>Big</Message>")]}
    with pytest.raises(UploadRefused, match=r"status 400 \(EntityTooLarge: Big\)"):
        await upload(store, blobs)
    assert store.puts[blobs[0].digest] == 1


async def test_controls_own_refusal_comes_through(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, b"one")
    store.faults = {blobs[0].digest: [(422, '{"detail": "The session is over."}')]}
    with pytest.raises(Unprocessable, match="The session is over"):
        await upload(store, blobs, is_direct=False)


@pytest.mark.parametrize("is_direct", [True, False])
async def test_same_size_other_bytes_is_a_changed_file(store: Store, tmp_path: Path, is_direct: bool) -> None:
    blobs = blobs_of(tmp_path, b"one")
    blobs[0].file.write_bytes(b"two")
    with pytest.raises(FileChanged, match=r"^/file-0 changed while it was being uploaded"):
        await upload(store, blobs, is_direct=is_direct)


@pytest.mark.parametrize("size", [3, SMALL_BYTES + 100])
@pytest.mark.parametrize("change", [-1, 1])
async def test_another_size_is_a_changed_file(store: Store, tmp_path: Path, size: int, change: int) -> None:
    blobs = blobs_of(tmp_path, b"x" * size)
    blobs[0].file.write_bytes(b"x" * (size + change))
    with pytest.raises(FileChanged):
        await upload(store, blobs)
    assert store.stored == {}
    assert size > SMALL_BYTES or not store.puts  # what is read whole is not even sent


@pytest.mark.parametrize("size", [3, SMALL_BYTES + 100])
async def test_a_file_that_is_gone_is_a_changed_file(store: Store, tmp_path: Path, size: int) -> None:
    blobs = blobs_of(tmp_path, b"x" * size)
    blobs[0].file.unlink()
    with pytest.raises(FileChanged):
        await upload(store, blobs)


async def test_many_go_at_once_but_not_more_than_the_bound(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, *(str(number).encode() for number in range(2 * MAX_SMALL_IN_FLIGHT)))
    store.gate = asyncio.Event()
    running = asyncio.create_task(upload(store, blobs))
    while store.in_flight < MAX_SMALL_IN_FLIGHT:
        await asyncio.wait({running}, timeout=0.001)
        assert not running.done()
    store.gate.set()
    await running
    assert store.most_in_flight == MAX_SMALL_IN_FLIGHT
    assert len(store.stored) == len(blobs)


async def test_urls_are_asked_for_in_batches(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "URL_BATCH", 10)
    blobs = blobs_of(tmp_path, *(str(number).encode() for number in range(95)))
    await upload(store, blobs)
    assert [len(batch) for batch in store.batches] == [10] * 9 + [5]
    assert len(store.stored) == 95


async def test_one_failure_ends_all_and_nothing_is_left_running(store: Store, tmp_path: Path) -> None:
    blobs = blobs_of(tmp_path, *(str(number).encode() for number in range(200)))
    blobs[0].file.write_bytes(b"other")
    with pytest.raises(CdnError):
        await upload(store, blobs)
    assert len(asyncio.all_tasks()) == 1 or all(
        "upload" not in repr(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()
    )


async def test_control_that_forgets_a_url_is_a_sentence(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"urls": {}})

    store = Store(url=await serve(handler))
    with pytest.raises(Unavailable, match="gave no upload URL"):
        await upload(store, blobs_of(tmp_path, b"one"))
