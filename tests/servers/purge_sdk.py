"""Cloudflare's and Fastly's own Python clients, in a process of their own: `make test` installs them into
.venv/clients, so that what they need does not mix with what the product needs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

DRIVER = Path(__file__).with_name("purge_sdk_driver.py")

CALL_TIMEOUT_S = 60.0


class ClientsMissing(RuntimeError):
    """The clients are not installed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client gave back: `result`, or the error that it raised with the status and the document it has."""

    result: Any = None
    error: str = ""
    status: int = 0
    document: Any = None


class PurgeSdk:
    """Calls go in and outcomes come out as lines of JSON, one after the other. Raises ClientsMissing."""

    def __init__(self, control_url: str) -> None:
        program = Path(sys.prefix) / "clients" / "bin" / "python"
        if not program.is_file():
            raise ClientsMissing(f"{program} is missing: `make test` installs requirements-clients.txt there")
        self._process = subprocess.Popen(
            [str(program), str(DRIVER), control_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> PurgeSdk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(CALL_TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.stdout.close()

    def call(self, call: str, token: str, **arguments: Any) -> Outcome:
        """One call, by the names that the driver has for them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": call, "token": token, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process with the clients ended"
        return Outcome(**json.loads(line))
