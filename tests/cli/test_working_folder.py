"""Where `cdn` is started does not matter: what lies in that folder is not taken for the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = {
    "worker": "from cdn.cli.worker_process import COMMAND",
    "coding": "from cdn.cli.coding_process import COMMAND",
    "answering": "from cdn.cli.answering_process import COMMAND",
    "geography": "from cdn.dns.geo_files import COMPILE as COMMAND",
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_folder_with_the_programs_name_is_not_it(kind: str, tmp_path: Path) -> None:
    """As a clone of the repository is one, seen from the folder that it lies in."""
    for room in ("cli", "dns"):
        (tmp_path / "cdn" / room).mkdir(parents=True)
    (tmp_path / "cdn" / "__init__.py").touch()  # found before an editable installation also without it
    for module in ("cli/worker_process", "cli/coding_process", "cli/answering_process", "dns/geo_compile"):
        (tmp_path / "cdn" / f"{module}.py").write_text("print('not this one')")
    starts = (
        f"import subprocess, sys; {COMMANDS[kind]}; "
        "print(subprocess.run(COMMAND, stdin=subprocess.DEVNULL, capture_output=True).stdout)"
    )
    script = tmp_path / "scripts" / "cdn"
    script.parent.mkdir()
    script.write_text(f"import sys; sys.path[1:1] = {[each for each in sys.path if each]!r}\n{starts}")
    said = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "not this one" not in said.stdout, said
