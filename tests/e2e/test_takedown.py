"""`cdn takedown`: the content is answered no more, leaves store and disk, and does not come back."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.running import CommandFailed, RunningCdn, write_bundle

PAGE = b"<!doctype html><title>home</title>"
SECRET = b"TOP-SECRET " * 100
DIGEST = hashlib.sha256(SECRET).hexdigest()
ERASED_S = 30.0
"""Within this the node has removed from its disk what it answers no more."""

KILLED_AFTER_S = (0.0, 0.012, 0.03, None)
"""Counted from the call: the first kill comes before the record, the last after the answer."""

LARGE = b"L" * (3 * 1024 * 1024 + 17)


def deploy(cdn: RunningCdn, folder: Path, name: str, files: dict[str, bytes]) -> str:
    done = cdn.run("deploy", str(write_bundle(folder, files)), "--site", name)
    return str(done["deploy"]["id"])


def holders(root: Path, content: bytes) -> list[Path]:
    """Files below `root` that have the content."""
    return [path for path in root.rglob("*") if path.is_file() and content[:200] in path.read_bytes()]


def test_a_takedown_reaches_nodes_store_and_disk(start_cdn: Callable[..., RunningCdn], tmp_path: Path) -> None:
    cdn = start_cdn()
    for name in ("blog", "other"):
        cdn.run("site", "create", name)
    files = {"/index.html": PAGE, "/leak.txt": SECRET, "/large.bin": LARGE}
    first = deploy(cdn, tmp_path / "1", "blog", files)
    deploy(cdn, tmp_path / "2", "other", {"/index.html": PAGE, "/mine.txt": SECRET})
    host = "blog.cdn.localhost"
    for _ in range(3):
        assert cdn.visit(host, "/leak.txt").content == SECRET
        assert cdn.visit(host, "/large.bin").content == LARGE
        assert cdn.visit("other.cdn.localhost", "/mine.txt").content == SECRET
    done = cdn.run("takedown", f"http://{host}/leak.txt", "--reason", "leaked")
    assert (done["digest"], done["site"]) == (DIGEST, "blog")
    assert done["removed"] >= 1, "its coded forms go too, where they were made already"
    assert done["receipt"]["complete"]
    assert cdn.visit(host, "/leak.txt").status == 410
    assert "taken-down" in cdn.visit(host, "/leak.txt").cache_status
    assert cdn.visit(host).content == PAGE, "the rest of the deploy stays"
    assert cdn.visit("other.cdn.localhost", "/mine.txt").content == SECRET, "another site's is its own"
    blog = cdn.run("site", "list")["sites"][0]["id"]
    assert not holders(cdn.folder / "data" / "store" / "objects" / "sites" / blog, SECRET)

    with pytest.raises(CommandFailed, match="taken down"):
        deploy(cdn, tmp_path / "3", "blog", {"/index.html": b"v2", "/again.txt": SECRET})
    second = deploy(cdn, tmp_path / "4", "blog", {"/index.html": b"v2"})
    with pytest.raises(CommandFailed, match="taken down"):
        cdn.run("rollback", "--site", "blog", "--to", first)
    assert cdn.run("deploys", "--site", "blog")["deploys"][0]["id"] == second

    cdn.run("takedown", "--everywhere", DIGEST)
    assert cdn.visit("other.cdn.localhost", "/mine.txt").status == 410
    cdn.kill()
    cdn.start()
    assert cdn.visit("other.cdn.localhost", "/mine.txt").status == 410, "a restart brings nothing back"
    assert {one["site"] for one in cdn.run("takedown", "--list")["takedowns"]} == {"blog", None}
    assert cdn.run("takedown", "--everywhere", "--lift", DIGEST)["receipt"]["complete"]
    assert cdn.visit("other.cdn.localhost", "/mine.txt").status == 502, "its bytes are gone from the store"
    deploy(cdn, tmp_path / "5", "other", {"/index.html": PAGE, "/mine.txt": SECRET})
    assert cdn.visit("other.cdn.localhost", "/mine.txt").content == SECRET


def test_large_content_leaves_the_disk_too(start_cdn: Callable[..., RunningCdn], tmp_path: Path) -> None:
    cdn = start_cdn()
    cdn.run("site", "create", "blog")
    deploy(cdn, tmp_path / "1", "blog", {"/index.html": PAGE, "/large.bin": LARGE})
    assert cdn.visit("blog.cdn.localhost", "/large.bin").content == LARGE
    assert len(holders(cdn.folder / "data", LARGE)) > 1
    cdn.run("takedown", "http://blog.cdn.localhost/large.bin")
    until = time.monotonic() + ERASED_S
    while left := holders(cdn.folder / "data", LARGE):
        assert time.monotonic() < until, left
        cdn.run("status")


def test_who_may_take_down(running: RunningCdn, tmp_path: Path) -> None:
    running.run("site", "create", "mine")
    deploy(running, tmp_path / "1", "mine", {"/index.html": PAGE})
    token = running.run("token", "create", "--scope", "deploy:mine")["token"]
    url = {"url": "http://mine.cdn.localhost/"}
    assert running.call("POST", "/v1/takedowns", url, token=token).status == 403
    owner = running.run("token", "create", "--scope", "admin:mine")["token"]
    missing = running.call("POST", "/v1/takedowns", {"url": "http://nobody.cdn.localhost/"}, token=owner)
    assert missing.status == 403
    assert running.call("POST", "/v1/takedowns", {**url, "everywhere": True}, token=owner).status == 403
    assert running.call("POST", "/v1/takedowns", {"digest": "x", "site": "mine"}, token=owner).status == 400
    assert running.call("POST", "/v1/takedowns", {"url": "http://mine.cdn.localhost/no"}, token=owner).status == 404
    assert running.call("POST", "/v1/takedowns", url, token=owner).status == 201
    assert running.call("DELETE", f"/v1/takedowns/{'0' * 64}", token=owner).status == 403


def test_a_takedown_survives_kills_at_any_moment(start_cdn: Callable[..., RunningCdn], tmp_path: Path) -> None:
    """Killed a little later each time: what was acknowledged holds, and what was recorded is seen through."""
    cdn = start_cdn()
    cdn.run("site", "create", "blog")
    contents = {f"/{number}.txt": f"content number {number} ".encode() * 20 for number in range(len(KILLED_AFTER_S))}
    deploy(cdn, tmp_path / "1", "blog", {"/index.html": PAGE, **contents})
    acknowledged = set[str]()

    def take_down(path: str) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = cdn.call("POST", "/v1/takedowns?wait=5", {"url": f"http://blog.cdn.localhost{path}"})
            if answer.status == 201:
                acknowledged.add(path)

    for path, killed_after_s in zip(contents, KILLED_AFTER_S, strict=True):
        calling = threading.Thread(target=take_down, args=(path,))
        calling.start()
        calling.join(killed_after_s)
        cdn.kill()
        calling.join()
        cdn.start()
        listed = json.loads(cdn.call("GET", "/v1/takedowns").content)
        recorded = {one["digest"] for one in listed["takedowns"]}
        for each, content in contents.items():
            is_down = hashlib.sha256(content).hexdigest() in recorded
            assert is_down or each not in acknowledged, each
            answer = cdn.visit("blog.cdn.localhost", each)
            assert (answer.status, answer.content == content) == ((410, False) if is_down else (200, True)), each
    assert path in acknowledged
    cdn.run("gc", "--grace", "0s")
    for path in acknowledged:
        assert not holders(cdn.folder / "data" / "store", contents[path]), path
