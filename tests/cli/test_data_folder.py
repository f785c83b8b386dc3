"""The data folder: one user, one store, tokens for its owner only."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cdn.cli.data_folder import OWN_FOLDER, DataFolder, StoreChoice
from cdn.errors import Conflict


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    with folder.locked():
        pass
    return folder


def test_only_one_at_a_time(folder: DataFolder) -> None:
    with folder.locked(), pytest.raises(Conflict, match="another cdn uses"), DataFolder(folder.path).locked():
        pass
    with folder.locked():
        pass


def test_the_store_is_remembered_with_its_endpoint(folder: DataFolder) -> None:
    first = folder.settle_store("s3://bucket/a", "http://127.0.0.1:1")
    assert first == StoreChoice("s3://bucket/a", "http://127.0.0.1:1")
    assert folder.settle_store(None, None) == first
    assert folder.settle_store("s3://bucket/a", None) == first
    moved = folder.settle_store("s3://bucket/a", "http://127.0.0.1:2")
    assert folder.settle_store(None, None) == moved == StoreChoice("s3://bucket/a", "http://127.0.0.1:2")
    assert folder.store_url(moved) == "s3://bucket/a"


def test_a_store_in_a_bucket_says_which() -> None:
    assert StoreChoice("s3://bucket/a/b").bucket == "bucket"
    assert StoreChoice("s3://bucket").bucket == "bucket"
    assert StoreChoice(OWN_FOLDER).bucket is None
    assert StoreChoice("/srv/s3").bucket is None


def test_another_store_is_refused(folder: DataFolder) -> None:
    assert folder.settle_store(None, None) == StoreChoice(OWN_FOLDER)
    assert folder.store_url(StoreChoice(OWN_FOLDER)) == str(folder.path / "store")
    with pytest.raises(Conflict, match="keeps its bytes in its own folder, not in s3://bucket"):
        folder.settle_store("s3://bucket", None)
    assert folder.settle_store(None, None) == StoreChoice(OWN_FOLDER)


def test_a_damaged_note_of_the_store_is_named(folder: DataFolder) -> None:
    (folder.path / "store.json").write_text("{")
    with pytest.raises(Conflict, match=r"store\.json is damaged"):
        folder.settle_store(None, None)


def test_tokens_are_for_the_owner_only(folder: DataFolder) -> None:
    assert folder.token("admin") is None
    folder.keep_token("admin", "cdn_1_2")
    assert folder.token("admin") == "cdn_1_2"
    assert stat.S_IMODE((folder.path / "admin-token").stat().st_mode) == 0o600
    (folder.path / "admin-token").write_bytes(b"\xff\xfe")
    assert folder.token("admin") is None
