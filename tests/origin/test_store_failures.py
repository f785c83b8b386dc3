"""The disk full, the store down, processes killed: a clear error, nothing half-written, recovery without a restart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.errors import InvalidInput, Unavailable
from cdn.origin import directory
from cdn.origin.directory import DirectoryStore
from cdn.origin.opening import open_store
from cdn.origin.s3 import S3Store
from cdn.origin.store import PutOutcome, StoreUnavailable
from tests.origin.content import pieces, target_of
from tests.servers.seaweed import S3Server

ROOT = Path(__file__).resolve().parents[2]

_FULL_DISK = """
import asyncio, hashlib, resource, sys
from pathlib import Path
from cdn.origin import directory
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import StoreUnavailable, UploadTarget

async def content():
    for _ in range(100):
        yield bytes(1024)

async def main():
    root = Path(sys.argv[1])
    store = DirectoryStore(root)
    digest = hashlib.sha256(bytes(102400)).hexdigest()
    target = UploadTarget("a/streamed", digest, 102400)
    await store.put("a/before", b"before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    for call in (lambda: store.put("a/before", bytes(102400)), lambda: store.put_stream(target, content())):
        try:
            await call()
        except StoreUnavailable as exc:
            assert "has no room" in exc.message and "Make room" in exc.message, exc.message
        else:
            raise AssertionError("no error")
    assert await store.get("a/before") == b"before"
    assert await store.head("a/streamed") is None
    assert list((root / "incoming").iterdir()) == []
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.put_stream(target, content())
    assert await store.get("a/streamed") == bytes(102400)
    await store.aclose()

asyncio.run(main())
"""

_STALLED = """
import asyncio, sys
from pathlib import Path
from cdn.origin import directory
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import UploadTarget

async def content():
    yield bytes(2 << 20)
    print("writing", flush=True)
    await asyncio.Event().wait()

async def main():
    store = DirectoryStore(Path(sys.argv[1]))
    await store.put("a/acknowledged", b"kept")
    await store.put_stream(UploadTarget("a/half", "0" * 64, 1 << 30), content())

asyncio.run(main())
"""


def test_a_full_disk_is_an_error_that_passes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _FULL_DISK, str(tmp_path / "store")], check=True, cwd=ROOT, timeout=60)


async def test_what_a_killed_process_left_is_removed_but_not_what_one_still_writes(tmp_path: Path) -> None:
    root = tmp_path / "store"
    command = [sys.executable, "-c", _STALLED, str(root)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"writing\n"
    (left,) = (root / "incoming").iterdir()
    long_ago = time.time() - 3600
    os.utime(left, (long_ago, long_ago))
    await DirectoryStore(root).aclose()
    assert left.exists()
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    store = DirectoryStore(root)
    assert not left.exists()
    assert await store.get("a/acknowledged") == b"kept"
    assert await store.head("a/half") is None
    await store.aclose()


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="/file cannot be used as a store"):
        DirectoryStore(tmp_path / "file")


async def test_a_key_below_an_object_is_refused(directory_store: DirectoryStore) -> None:
    await directory_store.put("a/b", b"content")
    for key in ("a/b/c", "a"):
        for is_absent in (False, True):
            with pytest.raises(InvalidInput, match="another key"):
                await directory_store.put(key, b"content", if_absent=is_absent)


async def test_two_stores_of_one_folder_see_one_another(directory_store: DirectoryStore, tmp_path: Path) -> None:
    other = DirectoryStore(tmp_path / "store")
    await directory_store.put("pointer", b"one")
    seen = await other.head("pointer")
    assert seen is not None
    assert await other.put("pointer", b"two", if_match=seen.entity_tag) is PutOutcome.STORED
    assert await directory_store.put("pointer", b"three", if_match=seen.entity_tag) is PutOutcome.PRECONDITION_FAILED
    await other.aclose()


async def test_a_writer_looks_and_replaces_while_no_other_does(
    directory_store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both writers are held between look and rename for as long as it takes the other to come, if it can."""
    both_have_looked = threading.Barrier(2)
    looks = directory._matches

    def look_and_wait(path: Path, entity_tag: str) -> bool:
        found = looks(path, entity_tag)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_have_looked.wait(timeout=0.3)
        return found

    other = DirectoryStore(tmp_path / "store")
    await directory_store.put("pointer", b"before")
    seen = await other.head("pointer")
    assert seen is not None
    monkeypatch.setattr(directory, "_matches", look_and_wait)
    outcomes = await asyncio.gather(
        *(store.put("pointer", b"after", if_match=seen.entity_tag) for store in (directory_store, other))
    )
    assert sorted(outcome.name for outcome in outcomes) == ["PRECONDITION_FAILED", "STORED"]
    await other.aclose()


async def test_entity_tags_carry_the_nanosecond_of_the_write(
    directory_store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the kernel's time of change, which stands still for milliseconds on many systems."""
    tags = set()
    for nanosecond in range(50):
        monkeypatch.setattr("time.time_ns", lambda now_ns=1_700_000_000_123_456_700 + nanosecond: now_ns)
        await directory_store.put("pointer", b"same")
        facts = await directory_store.head("pointer")
        assert facts is not None
        assert f"{1_700_000_000_123_456_700 + nanosecond:x}" in facts.entity_tag
        tags.add(facts.entity_tag)
    assert len(tags) == 50


class _Switch:
    """A relay to the S3 server that can be taken down and put up again on the same port."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def down(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, back_writer}
        await asyncio.gather(_copy(reader, back_writer), _copy(back_reader, writer))
        self._writers -= {writer, back_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass  # that is what the test asked for
    finally:
        writer.close()


@pytest.fixture
async def switch(s3_server: S3Server) -> AsyncIterator[_Switch]:
    relay = _Switch(int(s3_server.endpoint_url.rpartition(":")[2]))
    await relay.up()
    yield relay
    await relay.down()


async def test_a_store_that_is_down_says_so_and_comes_back(
    s3_server: S3Server, s3_bucket: str, switch: _Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.origin.s3.ATTEMPTS", 1)
    store = S3Store(s3_bucket, "switched", endpoint_url=f"http://127.0.0.1:{switch.port}", session=s3_server.session)
    content = b"content" * 1000
    target = target_of(content)
    await store.put("before", b"before")
    await switch.down()
    for call in (
        store.get("before"),
        store.get_range("before", 0, 1),
        store.head("before"),
        store.put("after", b"after"),
        store.delete("before"),
        store.put_stream(target, pieces(content)),
        store.takes_direct_uploads(),
        anext(store.scan("")),
    ):
        with pytest.raises(StoreUnavailable, match="s3://"):
            await call
    await switch.up()
    assert await store.get("before") == b"before"
    await store.put_stream(target, pieces(content))
    assert await store.get(target.key) == content
    assert await store.takes_direct_uploads()
    await store.aclose()


async def test_a_bucket_that_does_not_exist_is_named(s3_server: S3Server) -> None:
    store = S3Store("no-such-bucket", endpoint_url=s3_server.endpoint_url, session=s3_server.session)
    with pytest.raises(StoreUnavailable, match=r"no bucket no-such-bucket .*NoSuchBucket.*create the bucket first"):
        await store.get("key")
    await store.aclose()


async def test_wrong_keys_are_refused_in_one_sentence(s3_server: S3Server, s3_bucket: str) -> None:
    import boto3

    session = boto3.Session("wrong", "keys", region_name="us-east-1")
    store = S3Store(s3_bucket, endpoint_url=s3_server.endpoint_url, session=session)
    with pytest.raises(StoreUnavailable, match=r"refused key: InvalidAccessKeyId.*set AWS_ACCESS_KEY_ID and "):
        await store.get("key")
    await store.aclose()


@pytest.fixture
def without_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("without_credentials")
async def test_missing_credentials_are_said_with_the_way_out() -> None:
    store = S3Store("bucket", endpoint_url="http://127.0.0.1:9")
    for call in (store.get("key"), store.takes_direct_uploads()):
        with pytest.raises(StoreUnavailable, match="s3://bucket/: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            await call
    await store.aclose()


@pytest.mark.usefixtures("without_credentials")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("AWS_ACCESS_KEY_ID", "half", "set AWS_ACCESS_KEY_ID and AWS_SECRET"), ("AWS_PROFILE", "no-such", "no-such")],
)
def test_credentials_that_cannot_be_used_are_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnavailable, match=said):
        S3Store("bucket", endpoint_url="http://127.0.0.1:9")


async def test_stores_are_opened_by_their_url(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    by_argument = open_store(f"s3://{s3_bucket}/opened/", s3_server.endpoint_url, s3_server.region)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint_url)
    by_environment = open_store(f"s3://{s3_bucket}/opened")
    await by_argument.put("key", b"content")
    assert await by_environment.get("key") == b"content"
    directory = open_store(str(tmp_path / "opened"))
    await directory.put("key", b"content")
    assert (tmp_path / "opened/objects/key").read_bytes() == b"content"
    for store in (by_argument, by_environment, directory):
        await store.aclose()


@pytest.mark.parametrize("url", ["", "s3://", "s3:///prefix", "https://bucket.example", "gs://bucket"])
def test_a_url_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="s3://BUCKET/PREFIX"):
        open_store(url)


def test_a_store_that_is_down_is_unavailable() -> None:
    assert issubclass(StoreUnavailable, Unavailable)
