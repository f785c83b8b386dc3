"""Folders that become bundles, and the digests of their files."""

from __future__ import annotations

import hashlib
import io
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.errors import InvalidInput, TooLarge
from cdn.origin.bundle.digest import digest_content
from cdn.origin.bundle.folder import hash_folder, scan_folder
from cdn.sites.manifest import CHUNK_BYTES, BundleLimits, FileEntry

SMALL = BundleLimits(max_files=3, max_file_bytes=1000, max_total_bytes=2000)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "docs" / "deep").mkdir(parents=True)
    (folder / "index.html").write_text("home")
    (folder / "docs" / "index.html").write_text("docs")
    (folder / "docs" / "deep" / "Über.html").write_text("über")
    return folder


def entry_by_hand(content: bytes) -> FileEntry:
    chunks = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)]
    digests = tuple(hashlib.sha256(chunk).hexdigest() for chunk in chunks) if len(chunks) > 1 else ()
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content), digests)


class Dribble(io.RawIOBase):
    def __init__(self, content: bytes, piece_bytes: int) -> None:
        super().__init__()
        self._content = io.BytesIO(content)
        self._piece_bytes = piece_bytes

    def read(self, size_bytes: int = -1) -> bytes:
        return self._content.read(min(size_bytes, self._piece_bytes))


@settings(max_examples=30, deadline=None)
@given(
    size_bytes=st.one_of(
        st.integers(0, 3 * CHUNK_BYTES + 1),
        st.sampled_from([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 1]),
    ),
    piece_bytes=st.sampled_from([9973, CHUNK_BYTES - 1, CHUNK_BYTES, 10 * CHUNK_BYTES]),
)
def test_an_entry_has_the_digest_of_the_whole_and_of_every_chunk(size_bytes: int, piece_bytes: int) -> None:
    content = random.Random(size_bytes).randbytes(size_bytes)
    expected = entry_by_hand(content)
    assert digest_content(content) == expected
    assert digest_content(Dribble(content, piece_bytes)) == expected
    assert len(expected.chunk_digests) == (expected.chunk_count if size_bytes > CHUNK_BYTES else 0)


def test_a_folder_is_scanned_with_all_its_files_sorted(site: Path) -> None:
    found = scan_folder(site)
    assert [source.path for source in found] == ["/docs/deep/Über.html", "/docs/index.html", "/index.html"]
    assert [source.size_bytes for source in found] == [5, 4, 4]
    assert [source.file.read_text() for source in found] == ["über", "docs", "home"]


def test_only_git_and_finder_files_are_left_out(site: Path) -> None:
    for name in (".git/config", "docs/.git/config", ".DS_Store", ".well-known/security.txt", ".gitignore", "_headers"):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text("x")
    assert {source.path for source in scan_folder(site)} == {
        "/index.html",
        "/docs/index.html",
        "/docs/deep/Über.html",
        "/.well-known/security.txt",
        "/.gitignore",
        "/_headers",
    }


@pytest.mark.parametrize("workers", [None, 1, 4])
def test_a_folder_is_hashed_as_by_hand(site: Path, workers: int | None) -> None:
    for number in range(100):
        (site / f"{number}.bin").write_bytes(random.Random(number).randbytes(number * 100))
    (site / "large.bin").write_bytes(random.Random(1).randbytes(2 * CHUNK_BYTES + 1))
    found = scan_folder(site)
    assert hash_folder(found, workers) == {source.path: entry_by_hand(source.file.read_bytes()) for source in found}


def test_a_folder_of_nothing_is_empty(tmp_path: Path) -> None:
    assert scan_folder(tmp_path) == []
    assert hash_folder([]) == {}


def test_links_within_the_folder_count_as_what_they_point_to(site: Path) -> None:
    (site / "home.html").symlink_to("index.html")
    (site / "latest").symlink_to("docs")
    found = {source.path: source.file.read_text() for source in scan_folder(site)}
    assert found["/home.html"] == "home"
    assert found["/latest/index.html"] == "docs"


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("/etc/passwd", "out of the folder"),
        ("../outside", "out of the folder"),
        ("nothing", "nowhere"),
        ("evil", "nowhere"),
        (".", "lies in itself"),
        ("..", "lies in itself"),
    ],
)
def test_links_that_lead_elsewhere_are_refused(site: Path, target: str, word: str) -> None:
    (site.parent / "outside").write_text("secret")
    (site / "docs" / "outside").symlink_to("../../outside")
    (site / "docs" / "outside").unlink()
    evil = site / "docs" / "evil"
    evil.symlink_to(target if target != "../outside" else "../../outside")
    with pytest.raises(InvalidInput, match=word) as caught:
        scan_folder(site)
    assert "'/docs/evil'" in caught.value.message


def test_links_that_go_round_end(site: Path) -> None:
    (site / "x").mkdir()
    (site / "y").mkdir()
    (site / "x" / "to").symlink_to("../y")
    (site / "y" / "to").symlink_to("../x")
    with pytest.raises(InvalidInput, match=r"'/[xy]/to/to' is a link to a folder that it lies in"):
        scan_folder(site)


def test_devices_and_pipes_are_refused(site: Path) -> None:
    os.mkfifo(site / "docs" / "pipe")
    with pytest.raises(InvalidInput, match="'/docs/pipe' is a device, pipe or socket"):
        scan_folder(site)


@pytest.mark.parametrize(
    ("name", "word"), [(b"caf\xe9.html", "UTF-8"), (b"a\\b", "backslash"), (b"line\nbreak", "control")]
)
def test_a_name_that_cannot_be_a_path_is_refused(site: Path, name: bytes, word: str) -> None:
    with open(os.fsencode(site) + b"/" + name, "wb"):  # noqa: PTH123 (pathlib knows no names in bytes)
        pass
    with pytest.raises(InvalidInput, match=word):
        scan_folder(site)


def test_names_that_collide_are_refused(site: Path) -> None:
    (site / "Index.html").write_text("other")
    with pytest.raises(InvalidInput, match="same name") as caught:
        scan_folder(site)
    assert "/Index.html" in caught.value.message
    assert "/index.html" in caught.value.message


@pytest.mark.parametrize(
    "sizes", [{"a": 1, "b": 1, "c": 1, "one-too-many": 1}, {"too-large": 1001}, {"a": 900, "b": 900, "c": 900}]
)
def test_more_than_a_limit_is_refused(tmp_path: Path, sizes: dict[str, int]) -> None:
    for name, size_bytes in sizes.items():
        (tmp_path / name).write_bytes(bytes(size_bytes))
    with pytest.raises(TooLarge, match="/"):
        scan_folder(tmp_path, SMALL)


def test_what_cannot_be_read_is_named(site: Path) -> None:
    found = scan_folder(site)
    (site / "index.html").unlink()
    with pytest.raises(InvalidInput, match=r"index\.html' cannot be read"):
        hash_folder(found)
    with pytest.raises(InvalidInput, match="is not a folder"):
        scan_folder(site / "no such folder")
