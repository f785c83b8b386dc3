"""What `cdn up` tells its roles about upstreams: the option, the file of limits, and where the CDN's own bytes are."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdn.cli.address import Address
from cdn.cli.data_folder import OWN_FOLDER, DataFolder, StoreChoice
from cdn.cli.embedded import EmbeddedSettings, control_settings, edge_settings
from cdn.cli.settings_file import NO_FILE, SettingsFile
from cdn.edge.settings import EdgeSettings


def told(tmp_path: Path, *, is_allowed: bool = False) -> EmbeddedSettings:
    here = Address("127.0.0.1", 0)
    return EmbeddedSettings(
        *(tmp_path, here, here, "cdn.localhost", None, None, 1, 2, "local"), allows_private_upstreams=is_allowed
    )


def of_up(tmp_path: Path, limits: SettingsFile, choice: StoreChoice, *, is_allowed: bool) -> EdgeSettings:
    settings = told(tmp_path, is_allowed=is_allowed)
    return edge_settings(settings, limits, choice, EdgeSettings("local", tmp_path, "cdn.localhost", "http://c", "t"))


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("in_option", [False, True])
def test_private_upstreams_are_allowed_by_the_option_or_the_file(
    tmp_path: Path, in_file: bool, in_option: bool
) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(f"[edge]\nallows_private_upstreams = {str(in_file).lower()}\nmax_stored_bytes = 7\n")
    edge = of_up(tmp_path, SettingsFile.read(file), StoreChoice(OWN_FOLDER), is_allowed=in_option)
    assert edge.allows_private_upstreams is (in_file or in_option)
    assert edge.max_stored_bytes == 7


def test_the_edge_knows_the_bucket_that_no_site_may_read(tmp_path: Path) -> None:
    there = of_up(tmp_path, NO_FILE, StoreChoice("s3://own/prefix", "http://127.0.0.1:1"), is_allowed=False)
    assert (there.own_bucket, there.s3_endpoint) == ("own", "http://127.0.0.1:1")
    here = of_up(tmp_path, NO_FILE, StoreChoice(OWN_FOLDER, "http://127.0.0.1:1"), is_allowed=False)
    assert (here.own_bucket, here.s3_endpoint) == (None, "http://127.0.0.1:1")
    assert not here.allows_private_upstreams


def test_control_knows_the_bucket_that_no_site_may_read(tmp_path: Path) -> None:
    for choice, bucket in ((StoreChoice("s3://own/prefix"), "own"), (StoreChoice(OWN_FOLDER), None)):
        control = control_settings(told(tmp_path), DataFolder(tmp_path), NO_FILE, choice)
        assert control.own_bucket == bucket
