"""A certificate authority of a test's own, made with the commands that docs/shield.md names."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, in PEM form."""

    cert_file: Path
    key_file: Path

    def toml(self) -> str:
        """As lines of a settings file."""
        return f'cert_file = "{self.cert_file}"\nkey_file = "{self.key_file}"\n'


class Authority:
    """Signs for as long as its folder is there."""

    def __init__(self, folder: Path, name: str = "nodes") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = name
        self._run("-days", "3", "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE", into=name)

    @property
    def ca_file(self) -> Path:
        return self._folder / f"{self._name}.pem"

    def issue(self, name: str, *names: str) -> Issued:
        """For a server with these names ("IP:127.0.0.1", "DNS:localhost") and for a client alike."""
        into = f"{self._name}-{name}"
        signed_by = ("-CA", str(self.ca_file), "-CAkey", str(self.ca_file.with_suffix(".key")))
        extra = ("-addext", f"subjectAltName={','.join(names)}") if names else ()
        self._run(
            *("-days", "3", "-subj", f"/CN={name}", *signed_by),
            *("-addext", "basicConstraints=critical,CA:FALSE", *extra),
            into=into,
        )
        return Issued(self._folder / f"{into}.pem", self._folder / f"{into}.key")

    def _run(self, *options: str, into: str) -> None:
        words = ["openssl", "req", "-x509", *_KEY, "-keyout", f"{into}.key", "-out", f"{into}.pem", *options]
        subprocess.run(words, cwd=self._folder, check=True, capture_output=True)
