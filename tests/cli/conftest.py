"""The command line against a running control plane: control on the test loop, `cdn` on a thread of this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cdn.cli.main import app
from cdn.dns.zone_file import read_zone_file
from cdn.tls.sealed import KeyRing, SealingKey
from tests.control.control_room import Control
from tests.control.zone_seams import PlainKeys


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


class Cdn:
    """Runs commands with an environment of their own."""

    def __init__(self, control: Control | None, environ: Mapping[str, str]) -> None:
        self.control = control
        self.environ = dict(environ)

    async def __call__(self, *words: str) -> Ended:
        runner = CliRunner(env={"CDN_CONTROL_URL": None, "CDN_TOKEN": None, "COLUMNS": "200", **self.environ})
        result = await asyncio.to_thread(runner.invoke, app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
async def cdn(tmp_path: Path) -> AsyncIterator[Cdn]:
    """Commands for a control plane with one node that applies at once."""
    root = tmp_path / "control"
    root.mkdir()
    keys = KeyRing([SealingKey(b"k" * 32)], "test")
    control = await Control(root, zone_reader=read_zone_file, zone_keys=PlainKeys(), control_keys=keys).open()
    try:
        await control.following_node()
        url = str(control.api.client.make_url("")).rstrip("/")
        environ = {
            "CDN_CONTROL_URL": url,
            "CDN_TOKEN": control.admin_token,
            "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        yield Cdn(control, environ)
    finally:
        await control.close()


@pytest.fixture
def lonely_cdn(tmp_path: Path) -> Cdn:
    """Commands without any control plane."""
    return Cdn(None, {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "XDG_CACHE_HOME": str(tmp_path / "cache")})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small site."""
    folder = tmp_path / "public"
    (folder / "docs").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>Hello</h1>")
    (folder / "docs" / "index.html").write_text("<h1>Docs</h1>")
    return folder
