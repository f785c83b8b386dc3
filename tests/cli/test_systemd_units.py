"""The units in config/systemd, judged by systemd itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).resolve().parents[2] / "config" / "systemd").glob("*.service"))
MOST_EXPOSED = 3.0
"""Of 10, as `systemd-analyze security` counts: most services of a distribution are above 9."""


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is missing: run `sh scripts/need.sh systemd-analyze`"
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=60)


def installed(unit: Path, folder: Path) -> Path:
    """A copy of the unit whose program is where it is on this machine."""
    copy = folder / unit.name
    text, count = re.subn(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text())
    assert count == 1
    copy.write_text(text.replace("file:///opt/cdn/docs", "https://www.example.com"))
    return copy


def test_there_are_units() -> None:
    assert [unit.name for unit in UNITS] == ["cdn-control.service", "cdn-dns.service", "cdn-edge.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_accepts_it_without_a_word(unit: Path, tmp_path: Path) -> None:
    verified = analyze("verify", "--man=no", str(installed(unit, tmp_path)))
    about_it = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert (verified.returncode, about_it) == (0, []), verified.stderr


def test_a_fault_in_a_unit_is_seen(tmp_path: Path) -> None:
    unit = installed(UNITS[0], tmp_path)
    unit.write_text(unit.read_text().replace("Type=notify", "Type=notfy"))
    verified = analyze("verify", "--man=no", str(unit))
    assert any(unit.name in line and "notfy" in line for line in verified.stderr.splitlines()), verified.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_it_is_hardened(unit: Path, tmp_path: Path) -> None:
    judged = analyze("security", "--offline=yes", "--no-pager", str(installed(unit, tmp_path)))
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert exposure is not None, judged
    assert float(exposure[1]) <= MOST_EXPOSED, judged.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_is_told_and_watches(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    assert "Type=notify" in lines
    assert "WatchdogSec=30s" in lines
    role = unit.stem.removeprefix("cdn-")
    assert any(line.endswith(f"/cdn {role} --config /etc/cdn/{role}.toml") for line in lines)


def test_an_edge_that_was_hung_up_on_is_started_again() -> None:
    """What rotates its access log may come while it has none; systemd calls an end by SIGHUP a clean one."""
    lines = next(unit for unit in UNITS if unit.stem == "cdn-edge").read_text().splitlines()
    assert "RestartForceExitStatus=SIGHUP" in lines
