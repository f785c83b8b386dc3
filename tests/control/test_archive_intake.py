"""An archive in one HTTP call."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard
from aiohttp.test_utils import make_mocked_request

from cdn.control.content import read_content
from cdn.errors import TooLarge
from cdn.origin.store import StoreUnavailable
from tests.control.control_room import Api, Control, ControlMaker, entry_of

FILES = {"/index.html": b"<h1>hello</h1>", "/docs/index.html": b"docs", "/copy.html": b"docs"}


def tar_of(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path.lstrip("/"), data)
    return content.getvalue()


ARCHIVES = {
    "tar": tar_of(FILES),
    "tar.gz": gzip.compress(tar_of(FILES)),
    "tar.zst": zstandard.compress(tar_of(FILES)),
    "zip": zip_of(FILES),
}
AS_A_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def blog(api: Api) -> Api:
    await api.post("/v1/sites", {"name": "blog"})
    return api


def staged(control: Control) -> list[Path]:
    return list(control.plane.services.settings.staging_dir.iterdir())


@pytest.mark.parametrize("kind", ARCHIVES)
async def test_every_kind_is_taken_whatever_type_is_sent(control: Control, blog: Api, kind: str) -> None:
    for fields in (AS_A_FORM, {"Content-Type": "application/json"}, {}):
        answer = await blog.post("/v1/sites/blog/deploys?message=once", data=ARCHIVES[kind], fields=fields)
        assert answer.status == 201, answer
        assert answer.document["deploy"]["file_count"] == 3
        assert answer.document["deploy"]["message"] == "once"
    assert staged(control) == []


async def test_only_what_is_new_is_uploaded(blog: Api) -> None:
    first = await blog.post("/v1/sites/blog/deploys", data=ARCHIVES["tar.gz"])
    assert first.document["uploaded"] == {"blobs": 2, "size_bytes": 18}
    changed = tar_of({**FILES, "/new.html": b"new"})
    second = await blog.post("/v1/sites/blog/deploys?alias=next", data=changed)
    assert second.document["uploaded"] == {"blobs": 1, "size_bytes": 3}
    assert second.document["alias"] == "next"


async def test_a_file_named_like_json_does_not_make_a_tar_json(blog: Api) -> None:
    answer = await blog.post("/v1/sites/blog/deploys", data=tar_of({'{"manifest".html': b"x"}))
    assert answer.status == 201


async def test_an_archive_that_arrives_in_crumbs_is_the_same_archive(control: Control, blog: Api) -> None:
    files = {"/big.bin": os.urandom(3 * 1024 * 1024 + 5), "/index.html": b"x"}
    content = gzip.compress(tar_of(files), 1)

    async def crumbs() -> Any:
        for start in range(0, 600):
            yield content[start : start + 1]
        for start in range(600, len(content), 7001):
            yield content[start : start + 7001]

    answer = await blog.post("/v1/sites/blog/deploys", data=crumbs())
    assert answer.status == 201, answer
    site_id = (await blog.get("/v1/sites/blog")).document["id"]
    proven = await control.plane.services.proofs.sizes(site_id, [entry_of(files["/big.bin"]).digest])
    assert list(proven.values()) == [len(files["/big.bin"])]


def link_to(target: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        entry = tarfile.TarInfo("evil-link")
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        archive.addfile(entry)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (tar_of({"/ok.html": b"x", "../../evil.html": b"x"}), "evil.html"),
        (zip_of({"/ok.html": b"x", "../evil.html": b"x"}), "evil.html"),
        (link_to("/etc/passwd"), "evil-link"),
        (tar_of({"/a.html": b"1", "/A.html": b"2"}), "A.html"),
        (ARCHIVES["tar.gz"][:-30], None),
        (ARCHIVES["zip"][:-30], None),
        (b"MZ this is not an archive", None),
        (tar_of({}), None),
    ],
)
async def test_a_bad_archive_is_refused_whole(control: Control, blog: Api, content: bytes, named: str | None) -> None:
    answer = await blog.post("/v1/sites/blog/deploys", data=content)
    assert answer.status == 400, answer
    assert answer.is_problem
    assert named is None or named in answer.document["detail"]
    assert staged(control) == []
    assert (await blog.get("/v1/sites/blog/deploys")).document == {"deploys": []}
    assert [facts async for facts in control.store.scan("sites/")] == []


BOMB = gzip.compress(tar_of({"/zeros": bytes(17 * 1024 * 1024)}))
TOO_MUCH = gzip.compress(tar_of({f"/{number}": os.urandom(1000) * 20 for number in range(60)}))
TOO_LONG = tar_of({"/noise": os.urandom(250_000)})


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (BOMB, {"max_archive_ratio": 50.0}),
        (TOO_MUCH, {"max_staged_bytes": 1_000_000}),
        (TOO_LONG, {"max_archive_bytes": 200_000}),
        (TOO_LONG, {"max_archive_bytes": 200_000, "is_chunked": True}),
    ],
)
async def test_limits_on_what_is_sent_and_unpacked(
    make_control: ControlMaker, data: bytes, limits: dict[str, Any]
) -> None:
    async def chunked() -> Any:
        for start in range(0, len(data), 10_000):
            yield data[start : start + 10_000]

    sent = chunked() if limits.pop("is_chunked", False) else data
    control = await make_control(**limits)
    await control.api.post("/v1/sites", {"name": "blog"})
    answer = await control.api.post("/v1/sites/blog/deploys", data=sent)
    assert answer.status == 413, answer
    assert answer.is_problem
    assert staged(control) == []


async def test_what_was_read_to_tell_what_it_is_counts_against_the_limit() -> None:
    """It may be all there is: a busy control finds much of the content waiting at its first look."""
    request = make_mocked_request("POST", "/", {"Transfer-Encoding": "chunked"})
    assert await read_content(request, 10, begun=b"x" * 10) == b"x" * 10
    with pytest.raises(TooLarge):
        await read_content(request, 10, begun=b"x" * 11)


async def test_a_sender_that_stops_frees_its_slot(make_control: ControlMaker) -> None:
    control = await make_control(stall_timeout_s=0.1, max_concurrent_archives=1, max_waiting_archives=0)
    api = control.api
    await api.post("/v1/sites", {"name": "blog"})
    begun, over = asyncio.Event(), asyncio.Event()

    async def stalls() -> Any:
        yield ARCHIVES["tar"][:600]
        begun.set()
        await over.wait()

    stalling = asyncio.create_task(api.post("/v1/sites/blog/deploys", data=stalls()))
    await begun.wait()
    while not staged(control):
        await asyncio.sleep(0)
    refused = await api.post("/v1/sites/blog/deploys", data=ARCHIVES["tar"])
    assert refused.status == 503
    assert refused.fields["Retry-After"] == "10"
    assert (await stalling).status == 400
    assert (await api.post("/v1/sites/blog/deploys", data=ARCHIVES["tar"])).status == 201


async def test_what_a_killed_control_left_staged_is_removed_at_start(control: Control) -> None:
    left = control.plane.services.settings.staging_dir / "left"
    left.mkdir()
    (left / "file").write_bytes(b"x")
    await control.reopen()
    assert staged(control) == []


async def test_an_archive_whose_deploy_fails_leaves_no_upload_open(make_control: ControlMaker) -> None:
    """Its sender never learns of the upload, and could not end it."""
    control = await make_control(max_sessions_per_site=1)
    api = control.api
    await api.post("/v1/sites", {"name": "blog"})
    put = control.store.put

    async def refuse(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("The store takes no manifests now.")

    for _ in range(2):
        control.store.put = refuse
        refused = await api.post("/v1/sites/blog/deploys", data=ARCHIVES["tar"])
        assert (refused.status, "no manifests" in refused.document["detail"]) == (503, True), refused
        control.store.put = put
    assert (await api.post("/v1/sites/blog/uploads", {"blobs": {}})).status == 201
