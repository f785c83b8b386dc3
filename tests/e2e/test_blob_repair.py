"""A blob that the store lost or damaged: the page fails, the same folder is deployed again, the page is back."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cdn.fleet.node import NodeFacts
from cdn.journal.wire import FOLLOW_PATH, BlobFault, Hello, encode_message
from cdn.origin.layout import blob_key
from cdn.sites.manifest import CHUNK_BYTES
from tests.e2e.fleet import Fleet
from tests.e2e.running import RunningCdn, write_bundle

PATIENCE_S = 20.0

SMALL = b"<h1>small</h1>"
LARGE = os.urandom(3 * CHUNK_BYTES + 17)
FILES = {"/index.html": SMALL, "/film.bin": LARGE, "/other.txt": b"other"}


def _damage(blob: Path) -> None:
    with blob.open("r+b") as file:
        file.seek(blob.stat().st_size // 2)
        before = file.read(2)
        file.seek(-2, os.SEEK_CUR)
        file.write(bytes(octet ^ 0xFF for octet in before))


def _truncate(blob: Path) -> None:
    os.truncate(blob, blob.stat().st_size - 1)


def _blob_of(root: Path, site_id: str, content: bytes) -> Path:
    return root / "objects" / blob_key(site_id, hashlib.sha256(content).hexdigest())


def _until_counted(cdn: RunningCdn, name: str, count: int) -> None:
    """Control has looked. Asking it is all the waiting there is."""
    for _ in range(40):
        if cdn.run("status")["counters"][name] >= count:
            return
    raise AssertionError(f"{name} did not become {count}: {cdn.run('status')['counters']}")


@pytest.mark.parametrize(
    ("harm", "content", "counted"),
    [
        pytest.param(_damage, SMALL, "blobs_damaged", id="damaged-small"),
        pytest.param(_damage, LARGE, "blobs_damaged", id="damaged-large"),
        pytest.param(_truncate, LARGE, "blobs_damaged", id="truncated-large"),
        pytest.param(Path.unlink, SMALL, "blobs_missing", id="deleted-small"),
        pytest.param(Path.unlink, LARGE, "blobs_missing", id="deleted-large"),
    ],
)
def test_deploying_the_same_folder_again_brings_the_page_back(
    running: RunningCdn, tmp_path: Path, request: pytest.FixtureRequest, harm: Callable[[Path], None], counted: str,
    content: bytes,
) -> None:  # fmt: skip
    site = f"site-{request.node.callspec.id}"
    host, target = f"{site}.cdn.localhost", "/" if content is SMALL else "/film.bin"
    folder = write_bundle(tmp_path / "bundle", FILES)
    site_id = running.run("site", "create", site)["id"]
    running.run("deploy", str(folder), "--site", site)
    blob = _blob_of(running.folder / "data" / "store", site_id, content)
    harm(blob)
    before = running.run("status")["counters"][counted]

    # A large file breaks off where the damage is: ask for that part of it alone.
    part = {"Range": "bytes=-1" if harm is _truncate else f"bytes={len(content) // 2}-{len(content) // 2}"}
    assert running.visit(host, target, **(part if content is LARGE else {})).status == 502
    (node,) = running.run("explain", f"http://{host}{target}")["nodes"]
    assert "serve what is stored" not in str(node)
    assert "has to be fetched from the store" in node["result"]["answer"]
    _until_counted(running, counted, before + 1)
    assert not blob.exists()

    again = running.run("deploy", str(folder), "--site", site)
    assert again["uploaded"] == {"blobs": 1, "size_bytes": len(content)}
    answer = running.visit(host, target)
    assert (answer.status, answer.content) == (200, content)
    assert blob.read_bytes() == content
    assert running.visit(host, "/other.txt").content == b"other"


async def test_what_a_node_makes_up_about_a_good_blob_changes_nothing(tmp_path: Path) -> None:
    fleet = await Fleet(tmp_path).start()
    try:
        await fleet.add("n1")
        site_id = (await fleet.create_site("one"))["id"]
        await fleet.deploy("one", {"/index.html": SMALL})
        blob = _blob_of(tmp_path / "store", site_id, SMALL)
        before = blob.stat()
        headers = {"Authorization": f"Bearer {fleet.node_token}"}
        async with fleet.client.ws_connect(fleet.url + FOLLOW_PATH, headers=headers) as socket:
            await socket.send_str(encode_message(Hello("liar", (1,), None, NodeFacts("0.1"))))
            for digest in (blob.name, "../../../etc/passwd", "0" * 64):
                await socket.send_str(encode_message(BlobFault(site_id, digest)))
            await socket.send_str(encode_message(BlobFault("no-such-site", blob.name)))
            async with asyncio.timeout(PATIENCE_S):
                while (counters := (await fleet.call("GET", "/v1/status"))["counters"])["blobs_missing"] < 1:
                    await asyncio.sleep(0.01)
        assert counters["blobs_sound"] == 1
        assert (counters["blob_faults_told"], counters["blob_faults_dropped"]) == (4, 2)
        assert counters["blobs_damaged"] == counters["blobs_unchecked"] == 0
        after = blob.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert (await fleet.visit("n1", "one.cdn.localhost")).content == SMALL
        assert (await fleet.deploy("one", {"/index.html": SMALL}))["uploaded"]["blobs"] == 0
    finally:
        await fleet.aclose()
