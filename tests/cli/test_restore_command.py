"""`cdn control restore`: what it says, what it refuses, and what it leaves in the folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cdn.cli import status
from cdn.journal.sqlite import SqliteJournal
from tests.cli.conftest import Cdn


async def _lose(cdn: Cdn) -> Path:
    """A control plane with a site is gone; the folder with its bytes."""
    assert cdn.control is not None
    await cdn("site", "create", "blog")
    await cdn.control.close()
    return cdn.control.root / "store"


async def test_it_says_what_came_back_and_what_may_be_lost(cdn: Cdn, tmp_path: Path) -> None:
    store, data = await _lose(cdn), tmp_path / "data"
    ended = await cdn("control", "restore", "--store", str(store), "--data", str(data))
    assert (ended.status, ended.err) == (0, "")
    assert "restored 1 site, 0 domains and 1 token" in ended.out
    assert "loss bound: everything up to 20" in ended.out
    assert "last second" in ended.out
    assert f"cdn up --data {data}" in ended.out
    assert json.loads((data / "store.json").read_text())["url"] == str(store)
    journal = await SqliteJournal.open(data / "journal.db")
    assert (await journal.position()).sequence == 2
    assert f"the new epoch {journal.epoch}" in ended.out
    await journal.aclose()

    again = await cdn("control", "restore", "--store", str(store), "--data", str(data))
    assert again.status == 1
    assert "never written over" in again.err


async def test_a_store_within_the_data_folder_stays_the_folders_own(cdn: Cdn, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(await _lose(cdn), data / "store")
    ended = await cdn("control", "restore", "--store", str(data / "store"), "--data", str(data), "--json")
    assert ended.status == 0
    assert ended.document["sites"] == 1
    assert json.loads((data / "store.json").read_text())["url"] == "folder"


@pytest.mark.parametrize(
    ("store", "said"),
    [("nowhere", "there is no folder"), ("empty", "no records"), ("s3://", "names no bucket"), ("ftp://x", "neither")],
)
async def test_a_store_that_cannot_be_the_one_is_refused(
    lonely_cdn: Cdn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    ended = await lonely_cdn("control", "restore", "--store", store, "--data", str(tmp_path / "data"))
    assert ended.status == 1
    assert said in ended.err
    assert not (tmp_path / "data" / "journal.db").exists()
    assert not (tmp_path / "data" / "store.json").exists(), "nothing is remembered of a store that was not restored"


async def test_a_folder_that_cannot_be_made_is_one_sentence(cdn: Cdn, tmp_path: Path) -> None:
    store = await _lose(cdn)
    (tmp_path / "file").write_text("")
    ended = await cdn("control", "restore", "--store", str(store), "--data", str(tmp_path / "file" / "data"))
    assert ended.status == 1
    assert "give another folder with --data" in ended.err


async def test_control_without_settings_names_the_option(lonely_cdn: Cdn) -> None:
    ended = await lonely_cdn("control")
    assert ended.status == 2
    assert "--config" in ended.err
    missing = await lonely_cdn("control", "restore")
    assert missing.status == 2
    assert "--store" in missing.err
    shown = await lonely_cdn("control", "--help")
    assert "restore" in shown.out


def test_status_tells_of_records_that_wait_for_the_store() -> None:
    late = {"archived": 5, "lag": 2, "lag_s": 61.4, "failure": "The store does not answer."}
    (line,) = status._behind(late)
    assert line == (
        "archive 2 records behind for 61 s: a loss of control's disk would lose them: The store does not answer."
    )
    assert status._behind({**late, "lag_s": 0.4}) == ()


def _settings(folder: Path, store: Path, more: str = "") -> Path:
    config = folder / "control.toml"
    config.write_text(
        f'[control]\ndata_dir = "data"\nzone = "cdn.localhost"\n{more}\n[store]\nurl = "{store}"\n', encoding="utf-8"
    )
    return config


async def test_the_settings_of_control_may_say_where(cdn: Cdn, tmp_path: Path) -> None:
    config = _settings(tmp_path, await _lose(cdn))
    ended = await cdn("control", "restore", "--config", str(config))
    assert (ended.status, ended.err) == (0, "")
    assert f"cdn control --config {config}" in ended.out
    journal = await SqliteJournal.open(tmp_path / "data" / "journal.db")
    assert (await journal.position()).sequence == 2
    await journal.aclose()
    again = await cdn("control", "restore", "--config", str(config))
    assert again.status == 1
    assert "give another folder with data_dir in [control]" in again.err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("restore", "--data", "x"), 2, "--store"),
        (("restore", "--store", "x"), 2, "--data"),
        (("restore", "--config", "CONFIG", "--data", "x"), 2, "say so already"),
        (("restore", "--store", "x", "--data", "x", "--end-epoch", "e"), 2, "a journal on NATS"),
        (("restore", "--config", "CONFIG", "--end-epoch", "e"), 1, "no servers in [journal]"),
        (("restore", "--config", "missing.toml"), 1, "missing.toml"),
        (("move",), 2, "--config"),
        (("move", "--config", "CONFIG"), 1, "nothing to move to"),
    ],
)
async def test_orders_that_do_not_fit_are_refused(
    lonely_cdn: Cdn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], status: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    config = _settings(tmp_path, tmp_path / "store")
    ended = await lonely_cdn("control", *(str(config) if word == "CONFIG" else word for word in words))
    assert (ended.status, said in " ".join(ended.err.split())) == (status, True), ended.err
    assert not (tmp_path / "data" / "journal.db").exists()


async def test_a_folder_without_a_journal_is_not_moved(lonely_cdn: Cdn, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    servers = '[journal]\nservers = ["nats://127.0.0.1:1"]'
    config = _settings(tmp_path, tmp_path / "store", servers)
    ended = await lonely_cdn("control", "move", "--config", str(config))
    assert ended.status == 1
    assert "has no journal" in ended.err


async def test_a_journal_that_is_there_is_not_restored_but_moved(cdn: Cdn, tmp_path: Path) -> None:
    store = await _lose(cdn)
    ended = await cdn("control", "restore", "--store", str(store), "--data", str(tmp_path / "data"))
    assert ended.status == 0
    config = _settings(tmp_path, store, '[journal]\nservers = ["nats://127.0.0.1:1"]')
    ended = await cdn("control", "restore", "--config", str(config))
    assert ended.status == 1
    assert "`cdn control move` takes all of it to NATS" in ended.err
