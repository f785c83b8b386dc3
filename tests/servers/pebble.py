"""Real Pebble servers on loopback: Debian's ACME test authority, with its refused nonces and its delays as they are."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from tests.servers.authority import Authority
from tests.servers.ports import free_ports

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
_MISSING = "The program `pebble` is missing: install Debian's package of that name, then run again."
_NO_ACCOUNTS: Mapping[str, str] = MappingProxyType({})


class PebbleMissing(RuntimeError):
    """The server's program is not installed."""


class PebbleFailed(RuntimeError):
    """It ended, or did not become ready in time."""


@dataclass(frozen=True, slots=True)
class PebblePorts:
    """`http` and `tls` are where it looks for http-01 and tls-alpn-01, on every name's address."""

    acme: int
    management: int
    http: int
    tls: int


class Pebble:
    """One server. It keeps nothing on disk: started again it knows no account and no order, and has another root.

    `with Pebble(folder, names="127.0.0.1:5353") as pebble: ...`
    """

    def __init__(
        self,
        folder: Path,
        *,
        names: str,
        http_port: int | None = None,
        tls_port: int | None = None,
        external_accounts: Mapping[str, str] = _NO_ACCOUNTS,
        environment: Mapping[str, str] = _NO_ACCOUNTS,
    ) -> None:
        """`names` is the address of the name server that it asks. `external_accounts`: keys in base64url by their id;
        without them accounts need no binding. `environment`: PEBBLE_VA_NOSLEEP and its kin."""
        acme, management, free_http, free_tls = free_ports(4)
        self.ports = PebblePorts(acme, management, http_port or free_http, tls_port or free_tls)
        self._folder = folder
        self._names = names
        self._environment = {**os.environ, "GOMAXPROCS": "2", **environment}
        authority = Authority(folder, "pebble")
        shown = authority.issue("listener", "IP:127.0.0.1", "DNS:localhost")
        self.ca_file = authority.ca_file
        """The authority of its own listener: what a client of ACME has to trust."""
        self._config = folder / "pebble.json"
        self._config.write_text(
            json.dumps(
                {
                    "pebble": {
                        "listenAddress": f"127.0.0.1:{acme}",
                        "managementListenAddress": f"127.0.0.1:{management}",
                        "certificate": str(shown.cert_file),
                        "privateKey": str(shown.key_file),
                        "httpPort": self.ports.http,
                        "tlsPort": self.ports.tls,
                        "ocspResponderURL": "",
                        "externalAccountBindingRequired": bool(external_accounts),
                        "externalAccountMACKeys": dict(external_accounts),
                    }
                }
            )
        )
        self._tls = ssl.create_default_context(cafile=str(self.ca_file))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def directory_url(self) -> str:
        """What clients begin with."""
        return f"https://127.0.0.1:{self.ports.acme}/dir"

    def start(self) -> None:
        """Returns when it answers. Raises PebbleMissing, PebbleFailed."""
        program = shutil.which("pebble")
        if program is None:
            raise PebbleMissing(_MISSING)
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                [program, "-config", str(self._config), "-dnsserver", self._names],
                stdout=sink,
                stderr=sink,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise PebbleFailed(f"pebble ended with status {self._process.returncode}: {self.last_words()}")
            try:
                self._read(self.directory_url)
            except OSError:
                time.sleep(0.02)  # it has no other way to say that it is ready
            else:
                return
        self.kill()
        raise PebbleFailed(f"pebble did not become ready within {START_TIMEOUT_S:.0f} s: {self.last_words()}")

    def kill(self) -> None:
        """At once, as by kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    @property
    def log(self) -> Path:
        """What it says of each request."""
        return self._folder / "pebble.log"

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]

    def root(self) -> str:
        """The certificate, in PEM form, that signs what signs: what a visitor has to trust."""
        return self._managed("roots/0").decode()

    def status(self, serial: int) -> str:
        """Of a certificate: "Valid" or "Revoked"."""
        found: dict[str, Any] = json.loads(self._managed(f"cert-status-by-serial/{serial:x}"))
        return str(found["Status"])

    def __enter__(self) -> Pebble:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _managed(self, page: str) -> bytes:
        return self._read(f"https://127.0.0.1:{self.ports.management}/{page}")

    def _read(self, url: str) -> bytes:
        with urllib.request.urlopen(url, timeout=5, context=self._tls) as answer:
            content: bytes = answer.read()
            return content
