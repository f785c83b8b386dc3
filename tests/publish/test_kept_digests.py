"""Digests kept between deploys of a folder: unchanged files are not read, changed ones always are."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import msgspec
import pytest

from cdn.origin.bundle.folder import hash_folder, scan_folder
from cdn.publish import kept_digests
from cdn.publish.kept_digests import SETTLED_NS, KeptDigests
from cdn.sites.manifest import CHUNK_BYTES, FileEntry


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "docs").mkdir(parents=True)
    (folder / "index.html").write_text("home")
    (folder / "docs" / "Über.html").write_text("über")
    (folder / "large.bin").write_bytes(bytes(CHUNK_BYTES + 1))
    return folder


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "digests"


def keep(directory: Path, site: Path, *, later_ns: int = 2 * SETTLED_NS) -> dict[str, FileEntry]:
    """Hash the folder and keep the digests, as a scan would that begins so much later."""
    files = scan_folder(site)
    entries = hash_folder(files)
    assert KeptDigests(directory, site).keep(files, entries, time.time_ns() + later_ns)
    return entries


def kept(directory: Path, site: Path) -> dict[str, FileEntry]:
    return KeptDigests(directory, site).entries(scan_folder(site))


def test_files_that_were_left_alone_have_their_entries(directory: Path, site: Path) -> None:
    assert kept(directory, site) == {}
    entries = keep(directory, site)
    assert kept(directory, site) == entries
    assert entries["/large.bin"].chunk_digests


def test_a_file_that_changed_is_not_kept_even_with_its_size_and_time_set_back(directory: Path, site: Path) -> None:
    entries = keep(directory, site)
    before = (site / "index.html").stat()
    (site / "index.html").write_text("HOME")
    os.utime(site / "index.html", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert kept(directory, site) == {path: entry for path, entry in entries.items() if path != "/index.html"}


def test_a_file_that_was_replaced_is_not_kept(directory: Path, site: Path, tmp_path: Path) -> None:
    keep(directory, site)
    (tmp_path / "other").write_text("Home")
    (tmp_path / "other").replace(site / "index.html")
    assert "/index.html" not in kept(directory, site)


def test_a_file_that_changed_just_now_is_read_next_time(directory: Path, site: Path) -> None:
    keep(directory, site, later_ns=0)
    assert kept(directory, site) == {}


def test_a_file_that_grew_while_it_was_hashed_is_not_kept(directory: Path, site: Path) -> None:
    files = scan_folder(site)
    (site / "index.html").write_text("home and more")
    entries = hash_folder(files)
    assert entries["/index.html"].digest == hashlib.sha256(b"home and more").hexdigest()
    assert KeptDigests(directory, site).keep(files, entries, time.time_ns() + 2 * SETTLED_NS)
    assert "/index.html" not in kept(directory, site)


def test_what_is_gone_from_the_folder_is_forgotten(directory: Path, site: Path) -> None:
    keep(directory, site)
    (site / "index.html").unlink()
    assert keep(directory, site).keys() == {"/docs/Über.html", "/large.bin"}
    (path,) = directory.iterdir()
    assert msgspec.json.decode(path.read_bytes())["files"].keys() == {"/docs/Über.html", "/large.bin"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version":1,"root":"/elsewhere","files":{}}', b"\xff"])
def test_what_cannot_be_read_is_passed_over_and_written_anew(directory: Path, site: Path, content: bytes) -> None:
    entries = keep(directory, site)
    (path,) = directory.iterdir()
    path.write_bytes(content)
    assert kept(directory, site) == {}
    keep(directory, site)
    assert kept(directory, site) == entries


def test_another_version_is_passed_over(directory: Path, site: Path) -> None:
    keep(directory, site)
    (path,) = directory.iterdir()
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))
    assert kept(directory, site) == {}


def test_folders_do_not_share_what_is_kept(directory: Path, site: Path, tmp_path: Path) -> None:
    keep(directory, site)
    site.rename(tmp_path / "moved")
    assert kept(directory, tmp_path / "moved") == {}


def test_only_so_many_folders_are_kept_and_only_their_owner_reads_them(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_digests, "MAX_FOLDERS", 2)
    sites = [tmp_path / name for name in "abc"]
    for number, site in enumerate(sites):
        site.mkdir()
        (site / "index.html").write_text(site.name)
        keep(directory, site)
        for path in directory.iterdir():
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9 * (3 - number)))
    assert [bool(kept(directory, site)) for site in sites] == [False, True, True]
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, site: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    files = scan_folder(site)
    digests = KeptDigests(tmp_path / "file" / "digests", site)
    assert digests.entries(files) == {}
    assert not digests.keep(files, hash_folder(files), time.time_ns() + 2 * SETTLED_NS)


def test_reading_everything_mends_a_digest_that_was_kept_wrong(directory: Path, site: Path) -> None:
    entries = keep(directory, site)
    (path,) = directory.iterdir()
    path.write_bytes(path.read_bytes().replace(entries["/index.html"].digest.encode(), b"0" * 64))
    assert kept(directory, site)["/index.html"].digest == "0" * 64
    keep(directory, site)
    assert kept(directory, site) == entries
