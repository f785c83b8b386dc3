"""The deploy road against the real control plane, over a folder and over a real S3 server."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import zipfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cdn.errors import InvalidInput, NotFound, Unprocessable
from cdn.origin.bundle.admission import SourceFile
from cdn.origin.bundle.folder import hash_folder
from cdn.origin.layout import blob_key
from cdn.origin.s3 import S3Store
from cdn.origin.store import ObjectStore
from cdn.publish import kept_digests
from cdn.publish.backoff import Backoff
from cdn.publish.client import ControlClient, Document, UploadSession
from cdn.publish.deploy import Publication, Published, publish
from cdn.publish.endpoint import Endpoint
from cdn.publish.progress import Silence
from cdn.sites.manifest import FileEntry
from tests.control.control_room import Control
from tests.servers.seaweed import S3Server

QUICK = Backoff(attempts=2, first_s=0.001)
PAGES = {"index.html": b"<h1>Hello</h1>", "docs/index.html": b"<h1>Docs</h1>", "assets/app.3f2a9c1b.js": b"go()"}


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


class Publisher:
    """Publishes to one running control plane."""

    def __init__(self, control: Control, client: ControlClient) -> None:
        self.control = control
        self.client = client

    async def __call__(self, source: Path, *, site: str = "blog", alias: str | None = None) -> Published:
        publication = Publication(source, site, alias, message="m", wait_s=5.0)
        return await publish(self.client, publication, Silence(), QUICK)


async def publisher_over(root: Path, store: ObjectStore | None) -> AsyncIterator[Publisher]:
    root.mkdir()
    control = await Control(root, store=store).open()
    try:
        await control.following_node()
        endpoint = Endpoint(str(control.api.client.make_url("")), control.admin_token)
        async with ControlClient.open(endpoint, QUICK) as client:
            await client.create_site("blog", {"prepare_timeout_s": 1})
            yield Publisher(control, client)
    finally:
        await control.close()


@pytest.fixture
async def publisher(tmp_path: Path) -> AsyncIterator[Publisher]:
    async for publisher in publisher_over(tmp_path / "control", None):
        yield publisher


async def test_a_folder_becomes_an_active_deploy(publisher: Publisher, tmp_path: Path) -> None:
    published = await publisher(write_files(tmp_path / "site", PAGES))
    assert (published.file_count, published.uploaded_count) == (3, 3)
    assert published.size_bytes == published.uploaded_bytes == sum(map(len, PAGES.values()))
    assert published.answer["receipt"]["complete"]
    assert published.answer["deploy"]["message"] == "m"
    assert list(published.seconds) == ["scan_s", "hash_s", "compare_s", "upload_s", "activate_s"]
    active = await publisher.client.site("blog")
    assert active["active"] == published.answer["deploy"]["id"]


async def test_a_second_deploy_uploads_only_what_changed(publisher: Publisher, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "site", PAGES)
    await publisher(folder)
    (folder / "index.html").write_bytes(b"<h1>Hello again</h1>")
    published = await publisher(folder)
    assert (published.uploaded_count, published.uploaded_bytes) == (1, len(b"<h1>Hello again</h1>"))
    assert (await publisher(folder)).uploaded_count == 0


async def test_files_that_did_not_change_are_not_read_again_unless_asked(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_digests, "SETTLED_NS", -(10**10))  # files of this very moment count as settled
    hashed: list[set[str]] = []

    def recording(files: Sequence[SourceFile], workers: int | None = None) -> dict[str, FileEntry]:
        hashed.append({file.path for file in files})
        return hash_folder(files, workers)

    monkeypatch.setattr("cdn.publish.deploy.hash_folder", recording)
    site = write_files(tmp_path / "site", PAGES)
    publication = Publication(site, "blog", wait_s=5.0, digests_dir=tmp_path / "digests")
    first = await publish(publisher.client, publication, Silence(), QUICK)
    (site / "index.html").write_bytes(b"<h1>Other</h1>")
    second = await publish(publisher.client, publication, Silence(), QUICK)
    third = await publish(publisher.client, replace(publication, rehash=True), Silence(), QUICK)
    everything = {f"/{name}" for name in PAGES}
    assert hashed == [everything, {"/index.html"}, everything]
    assert [each.uploaded_count for each in (first, second, third)] == [3, 1, 0]


async def test_equal_contents_are_uploaded_once(publisher: Publisher, tmp_path: Path) -> None:
    files = {f"copy-{number}.txt": b"same" for number in range(5)}
    published = await publisher(write_files(tmp_path / "site", files))
    assert (published.file_count, published.uploaded_count) == (5, 1)


async def test_a_large_file_keeps_its_chunk_digests(publisher: Publisher, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # 2.5 MB
    published = await publisher(write_files(tmp_path / "site", {"film.bin": content}))
    site = await publisher.client.site("blog")
    key = blob_key(site["id"], hashlib.sha256(content).hexdigest())
    assert await publisher.control.store.get(key) == content
    assert published.answer["deploy"]["size_bytes"] == len(content)


async def test_an_alias_is_another_place(publisher: Publisher, tmp_path: Path) -> None:
    published = await publisher(write_files(tmp_path / "site", PAGES), alias="next")
    assert published.answer["alias"] == "next"
    assert "next--blog." in published.answer["url"]
    assert (await publisher.client.site("blog"))["active"] is None


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("pack", [zipped, tarred])
async def test_an_archive_deploys_like_its_folder(
    publisher: Publisher, tmp_path: Path, pack: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(pack)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    archive = tmp_path / "site.archive"
    archive.write_bytes(pack(PAGES))
    of_archive = await publisher(archive)
    of_folder = await publisher(write_files(tmp_path / "site", PAGES))
    assert of_archive.answer["deploy"]["manifest_digest"] == of_folder.answer["deploy"]["manifest_digest"]
    assert of_folder.uploaded_count == 0
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil.html", "/etc/passwd"])
async def test_a_hostile_archive_is_refused_by_name_and_sends_nothing(
    publisher: Publisher, tmp_path: Path, name: str
) -> None:
    archive = tmp_path / "site.tar.gz"
    archive.write_bytes(tarred({**PAGES, name: b"x"}))
    with pytest.raises(InvalidInput) as caught:
        await publisher(archive)
    assert name in caught.value.message
    assert (await publisher.client.deploys("blog"))["deploys"] == []


async def test_what_cannot_be_a_bundle_is_a_sentence(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    os.mkfifo(tmp_path / "pipe")
    for source, sentence in (
        ("none", "there is no file or folder .*none"),
        ("empty", "holds no files"),
        ("text", "text: This is no archive"),
        ("pipe", "pipe is neither a folder nor an archive"),
    ):
        with pytest.raises(InvalidInput) as caught:
            await publisher(tmp_path / source)
        assert re.search(sentence, caught.value.message)


async def test_what_becomes_public_and_what_is_left_out_is_said(publisher: Publisher, tmp_path: Path) -> None:
    names = ("dist/index.html", ".env", ".git/config", ".well-known/security.txt", "a/.DS_Store")
    published = await publisher(write_files(tmp_path / "site", dict.fromkeys(names, b"x")))
    assert published.file_count == 3
    assert published.left_out == (".DS_Store", ".git")
    assert published.warnings == (
        "hidden files become public: /.env",
        "there is no index.html at the top, so / answers 404; is 'dist' in it the folder to deploy?",
    )


async def test_an_unknown_site_is_a_sentence(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nosite"):
        await publisher(write_files(tmp_path / "site", PAGES), site="nosite")


async def test_a_file_that_changes_after_hashing_is_never_activated(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_files(tmp_path / "site", PAGES)
    open_upload = publisher.client.open_upload

    async def change_then_open(site: str, blobs: dict[str, int]) -> object:
        (folder / "index.html").write_bytes(b"<h1>Jello</h1>")
        return await open_upload(site, blobs)

    monkeypatch.setattr(publisher.client, "open_upload", change_then_open)
    with pytest.raises(InvalidInput, match=r"index.html changed while it was being uploaded"):
        await publisher(folder)
    assert (await publisher.client.deploys("blog"))["deploys"] == []


async def test_a_control_that_asks_for_other_digests_is_a_sentence(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def other(site: str, blobs: dict[str, int]) -> UploadSession:
        return UploadSession("u1", ("0" * 64,), direct=False, expires_at=0.0)

    monkeypatch.setattr(publisher.client, "open_upload", other)
    with pytest.raises(InvalidInput, match="is it the right control plane"):
        await publisher(write_files(tmp_path / "site", PAGES))


async def test_a_control_of_an_earlier_release_is_told_no_commit(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_deploy, asked = publisher.client.create_deploy, []

    async def older(site: str, content: bytes, *, wait_s: float) -> Document:
        asked.append(content)
        if b'"commit"' in content:
            raise InvalidInput("Object contains unknown field `commit`.", field="commit")
        return await create_deploy(site, content, wait_s=wait_s)

    monkeypatch.setattr(publisher.client, "create_deploy", older)
    publication = Publication(write_files(tmp_path / "site", PAGES), "blog", commit="0123abc")
    published = await publish(publisher.client, publication, Silence(), QUICK)
    assert published.answer["deploy"]["commit"] == ""
    assert len(asked) == 2

    async def refusing(site: str, content: bytes, *, wait_s: float) -> Document:
        raise InvalidInput("commit is one line of text", field="commit")

    monkeypatch.setattr(publisher.client, "create_deploy", refusing)
    with pytest.raises(InvalidInput, match="one line"):
        await publish(publisher.client, publication, Silence(), QUICK)


async def test_another_size_under_a_known_digest_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    await publisher(write_files(tmp_path / "site", PAGES))
    digest = hashlib.sha256(PAGES["index.html"]).hexdigest()
    with pytest.raises(Unprocessable) as caught:
        await publisher.client.open_upload("blog", {digest: 99})
    assert any(digest in detail for detail in caught.value.details)


async def test_straight_to_s3(tmp_path: Path, s3_server: S3Server) -> None:
    store = S3Store(s3_server.new_bucket(), "cdn", session=s3_server.session, endpoint_url=s3_server.endpoint_url)
    try:
        async for publisher in publisher_over(tmp_path / "control", store):
            folder = write_files(tmp_path / "site", {**PAGES, "film.bin": b"f" * 3_000_000, "empty.txt": b""})
            session = await publisher.client.open_upload("blog", {hashlib.sha256(b"x").hexdigest(): 1})
            assert session.direct, "the server refuses wrong bytes and overwriting, so uploads go straight to it"
            first = await publisher(folder)
            assert (first.uploaded_count, first.answer["receipt"]["complete"]) == (5, True)
            (folder / "index.html").write_bytes(b"<h1>Hello again</h1>")
            assert (await publisher(folder)).uploaded_count == 1
    finally:
        await store.aclose()
