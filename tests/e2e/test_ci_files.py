"""What is ready to copy in docs/ci does what it says: its shell is run against a `cdn up`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.running import RunningCdn, write_bundle

CI = Path(__file__).resolve().parents[2] / "docs" / "ci"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def script_of(file: Path) -> str:
    """The block of shell in a YAML file, as the runner would see it."""
    text = file.read_text()
    _, mark, block = text.partition(" |\n")
    assert mark, file
    lines = block.splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines)


@pytest.mark.parametrize("name", ["github-action.yml", "gitlab-ci.yml"])
def test_a_push_is_deployed_to_production_or_as_a_preview(running: RunningCdn, tmp_path: Path, name: str) -> None:
    site = name.partition("-")[0]
    running.run("site", "create", site)
    token = running.run("token", "create", "--scope", f"deploy:{site}")["token"]
    script = script_of(CI / name).replace("/tmp/", f"{tmp_path}/")
    folder = write_bundle(tmp_path / "dist", {"/index.html": b"built"})

    def push(branch: str, slug: str, commit: str = COMMIT, *, secret: str = token) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": os.environ["PATH"],
            "CDN_CONTROL_URL": running.control_url,
            "CDN_SITE": site,
            "CDN_TOKEN": secret,
            "FOLDER": str(folder),
            "RUNNER_TEMP": str(tmp_path),
            "BRANCH": branch,
            "COMMIT": commit,
            "CI_COMMIT_BRANCH": branch,
            "CI_COMMIT_REF_SLUG": slug,
            "CI_DEFAULT_BRANCH": "main",
            "CI_COMMIT_SHA": commit,
        }
        return subprocess.run(
            ["/bin/sh", "-eu", "-c", script], env=environ, capture_output=True, text=True, timeout=60, check=False
        )

    done = push("main", "main")
    assert done.returncode == 0, done.stderr + done.stdout
    assert running.visit(f"{site}.cdn.localhost").content == b"built"
    write_bundle(folder, {"/index.html": b"previewed"})
    done = push("Feature/New--Shop_", "feature-new--shop")
    assert done.returncode == 0, done.stderr + done.stdout
    assert running.visit(f"feature-new-shop--{site}.cdn.localhost").content == b"previewed"
    assert running.visit(f"{site}.cdn.localhost").content == b"built"
    done = push("Production", "production")
    assert done.returncode == 0, done.stderr + done.stdout
    assert running.visit(f"branch-production--{site}.cdn.localhost").content == b"previewed"
    assert running.visit(f"{site}.cdn.localhost").content == b"built"
    listed = running.run("deploys", "--site", site)["deploys"]
    assert {each["commit"] for each in listed} == {COMMIT}

    refused = push("main", "main", secret="cdn_wrong_token")
    assert refused.returncode != 0
    assert "unknown, revoked or expired" in refused.stdout
