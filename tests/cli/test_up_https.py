"""What `cdn up` makes of its options of https: who signs, and whose keys are made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cdn.cli.address import Address
from cdn.cli.data_folder import DataFolder
from cdn.cli.embedded import EmbeddedSettings, announced_protocols, is_local, issuing_role
from cdn.cli.main import app
from cdn.control.acme_settings import AcmeSettings
from cdn.edge.h2_limits import H2Limits

DIRECTORY = "https://acme.example/directory"


def settings(folder: Path, *, https: bool = True, zone: str = "cdn.localhost", acme: bool = False) -> EmbeddedSettings:
    return EmbeddedSettings(
        data_dir=folder,
        control=Address("127.0.0.1", 0),
        http=Address("127.0.0.1", 0),
        zone=zone,
        store_url=None,
        s3_endpoint=None,
        memory_bytes=1,
        disk_bytes=1,
        node_id="local",
        https=Address("127.0.0.1", 0) if https else None,
        acme=AcmeSettings(directories=(DIRECTORY,)) if acme else AcmeSettings(),
    )


@pytest.mark.parametrize(
    ("zone", "acme", "signs_itself", "directories"),
    [
        ("cdn.localhost", False, True, ()),
        ("cdn.example.net", False, True, ()),
        ("cdn.localhost", True, True, (DIRECTORY,)),  # no public authority signs names below localhost
        ("cdn.example.net", True, False, (DIRECTORY,)),
    ],
)
def test_who_signs(tmp_path: Path, zone: str, acme: bool, signs_itself: bool, directories: tuple[str, ...]) -> None:
    folder = DataFolder(tmp_path)
    role = issuing_role(settings(tmp_path, zone=zone, acme=acme), folder)
    assert (role.development_dir is not None) == signs_itself
    assert role.acme.directories == directories
    assert role.development_zone == zone
    assert set(role.rings) == {""}
    assert role.own_zone == signs_itself, "without a name server of ours no public authority signs for the zone"


def test_without_https_nobody_signs_and_keys_are_there_all_the_same(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    role = issuing_role(settings(tmp_path, https=False, acme=True), folder)
    assert role.development_dir is None
    assert role.acme == AcmeSettings()
    before = folder.edge_key.read_bytes()
    issuing_role(settings(tmp_path), folder)
    assert folder.edge_key.read_bytes() == before, "a key that is there stays"
    assert folder.control_key.read_bytes() != before


@pytest.mark.parametrize(("zone", "local"), [("localhost", True), ("cdn.localhost", True), ("notlocalhost", False)])
def test_local_zones(zone: str, local: bool) -> None:
    assert is_local(zone) == local


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--acme", "letsencript"), "letsencrypt-staging"),
        (("--https", "nowhere"), "--https"),
        (("--resolver", "resolver.example"), "--resolver"),
        (("--name-server-port", "70000"), "--name-server-port"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["up", "--data", str(tmp_path / "data"), *words], env={"COLUMNS": "200"})
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("zone", "acme", "port", "http2", "announced"),
    [
        ("cdn.example.net", True, 443, True, ("h2",)),
        ("cdn.example.net", True, 443, False, ()),
        ("cdn.example.net", True, 8443, True, ()),  # browsers would go to 443
        ("cdn.example.net", False, 443, True, ()),  # and would distrust the certificate
        ("cdn.localhost", True, 443, True, ()),
        ("cdn.example.net", True, None, True, ()),
    ],
)
def test_https_records_lead_nobody_astray(
    tmp_path: Path, zone: str, acme: bool, port: int | None, http2: bool, announced: tuple[str, ...]
) -> None:
    https = None if port is None else Address("192.0.2.1", port)
    told = replace(settings(tmp_path, zone=zone, acme=acme), https=https)
    assert announced_protocols(told, H2Limits(enabled=http2)) == announced
