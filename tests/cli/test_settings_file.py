"""The limits file: complete, checked in full, and used."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from cdn.cli.settings_file import NO_FILE, SECTIONS, SettingsFile, settable
from cdn.control.settings import ControlSettings
from cdn.edge.limits import HttpLimits
from cdn.edge.settings import EdgeSettings
from cdn.errors import InvalidInput

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "limits.toml"


def test_the_example_names_every_setting_with_its_default() -> None:
    document = tomllib.loads(EXAMPLE.read_text())
    for name, settings in SECTIONS.items():
        table = document
        for part in name.split("."):
            table = table[part]
        defaults = {field.name: field.default for field in fields(settings) if field.name in settable(settings)}
        named = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
        assert {key: value for key, value in named.items() if not isinstance(value, dict)} == defaults, name


def test_the_example_can_be_read_and_changes_nothing() -> None:
    assert SettingsFile.read(EXAMPLE).applied("edge.http", HttpLimits()) == HttpLimits()
    assert NO_FILE.applied("edge.http", HttpLimits()) == HttpLimits()


def test_a_setting_is_used(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text("[edge.http]\nmax_fields = 7\n")
    assert SettingsFile.read(file).applied("edge.http", HttpLimits()) == HttpLimits(max_fields=7)


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(
        "[edge.http]\nmax_feilds = 7\nidle_timeout_s = 'long'\nhead_timeout_s = 0\n[contrl]\nx = 1\n[edge.h9]\n"
    )
    with pytest.raises(InvalidInput) as refused:
        SettingsFile.read(file)
    faults = "\n".join(refused.value.details)
    assert "edge.http.max_feilds: there is no such setting; did you mean max_fields?" in faults
    assert "edge.http.idle_timeout_s: Expected `float`, got `str`" in faults
    assert "edge.http.head_timeout_s: 0.0 is not above 0" in faults or "head_timeout_s: 0 is not" in faults
    assert "[contrl]: there is no such setting; did you mean control?" in faults
    assert "[edge.h9]" in faults


def test_networks_are_read_and_their_faults_named(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    edge = EdgeSettings("n1", tmp_path, "cdn.localhost", "http://c", "t")
    file.write_text(
        "[edge]\nallows_private_upstreams = true\nallowed_upstream_networks = ['10.1.0.0/16', 'fd00::/8']\n"
    )
    applied = SettingsFile.read(file).applied("edge", edge)
    assert applied.allows_private_upstreams
    assert applied.allowed_upstream_networks == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    for wrong in ("['10.1.0.1/16']", "['intranet']", "'10.1.0.0/16'", "[1]"):
        file.write_text(f"[edge]\nallowed_upstream_networks = {wrong}\n")
        with pytest.raises(InvalidInput) as refused:
            SettingsFile.read(file)
        assert refused.value.details[0].startswith("line 2: edge.allowed_upstream_networks: ")
    file.write_text("[edge]\nallows_private_upstreams = 1\n")
    with pytest.raises(InvalidInput) as refused:
        SettingsFile.read(file)
    assert refused.value.details == ("line 2: edge.allows_private_upstreams: Expected `bool`, got `int`",)


@pytest.mark.parametrize("content", [b"not toml", b"\xff\xfe"])
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "limits.toml"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match="is not TOML"):
        SettingsFile.read(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        SettingsFile.read(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(("number", "is_right"), [(0, True), (8, True), (256, True), (-1, False), (257, False)])
def test_coding_processes_may_be_none_and_not_any_number(tmp_path: Path, number: int, is_right: bool) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(f"[control]\ncoding_processes = {number}\n")
    if is_right:
        control = ControlSettings("cdn.localhost", tmp_path)
        assert SettingsFile.read(file).applied("control", control).coding_processes == number
    else:
        with pytest.raises(InvalidInput) as refused:
            SettingsFile.read(file)
        assert "is no number of processes from 0 to 256" in "".join(refused.value.details)


def test_a_hook_may_take_any_number_of_messages(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    file.write_text("[control]\nmax_hook_messages_per_minute = 0\n")
    control = ControlSettings(zone="cdn.example", data_dir=tmp_path)
    assert SettingsFile.read(file).applied("control", control).max_hook_messages_per_minute == 0
