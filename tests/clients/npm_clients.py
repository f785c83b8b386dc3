"""`python -m tests.clients.npm_clients`: installs other vendors' deploy clients below .venv, those that package.json
names.

They are run as they are: told where control is by their own variables, without telemetry or looks for newer versions,
and with a home of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.node import find_node
from tests.e2e.running import RunningCdn

HERE = Path(__file__).parent
FOLDER = HERE.parent.parent / ".venv" / "clients-npm"
INSTALL_TIMEOUT_S = 900.0
RUN_TIMEOUT_S = 120.0
NOWHERE = "http://127.0.0.1:9/"

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def install() -> None:
    """As npm does it; what is there already stays."""
    node = find_node()
    FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "package.json", FOLDER)
    words = [*node.npm, "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(words, cwd=FOLDER, env={**os.environ, "PATH": _path()}, check=True, timeout=INSTALL_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Run:
    """What a client did, and all that it said."""

    status: int
    text: str
    output: str


@dataclass(frozen=True, slots=True)
class Client:
    """A client's program, with variables of its own."""

    program: str
    home: Path
    environ: dict[str, str]

    def run(self, *words: str, folder: Path) -> Run:
        """One command, run in `folder`."""
        done = subprocess.run(
            [find_node().program, str(FOLDER / "node_modules" / self.program), *words],
            cwd=folder,
            env={"PATH": _path(), "HOME": str(self.home), "CI": "1", "NO_UPDATE_NOTIFIER": "1", **self.environ},
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
        return Run(done.returncode, _COLOUR.sub("", done.stdout + done.stderr), done.stdout)


def netlify(cdn: RunningCdn, home: Path, token: str) -> Client:
    """`netlify`, whose API is control's."""
    settings = home / ".config" / "netlify" / "config.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps({"telemetryDisabled": True}))
    calls = {"NETLIFY_API_URL": cdn.control_url, "NETLIFY_AUTH_TOKEN": token}
    quiet = dict.fromkeys(("TRACK", "IDENTIFY", "ERROR_REPORT"), NOWHERE)
    calls |= {f"NETLIFY_TEST_{name}_URL": url for name, url in quiet.items()}
    return Client("netlify-cli/bin/run.js", home, calls)


def wrangler(cdn: RunningCdn, home: Path, token: str) -> Client:
    """`wrangler`, whose API is control's."""
    return Client(
        "wrangler/bin/wrangler.js",
        home,
        {
            "CLOUDFLARE_API_BASE_URL": f"{cdn.control_url}/client/v4",
            "CLOUDFLARE_API_TOKEN": token,
            "CLOUDFLARE_ACCOUNT_ID": "any",
            "WRANGLER_SEND_METRICS": "false",
            "WRANGLER_HIDE_BANNER": "true",
        },
    )


def _path() -> str:
    return f"{Path(find_node().program).parent}{os.pathsep}{os.environ.get('PATH', '')}"


if __name__ == "__main__":
    install()
