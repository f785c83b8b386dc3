"""Control's API over one kept connection, for tests that make many calls; outcomes are told apart."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class OutcomeUnknown(Exception):
    """The connection ended before the answer came: it may have been done or not."""


@dataclass(slots=True)
class Refused(Exception):
    """Control answered that it did not do it."""

    status: int
    problem: dict[str, Any]
    fields: dict[str, str]

    def __str__(self) -> str:
        return f"{self.status}: {self.problem}"


class Calls:
    """One caller with a token. Not for several threads at once."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 30.0) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout_s)
        self._token = token

    @classmethod
    def of(cls, control_url: str, folder: Path, *, timeout_s: float = 30.0) -> Calls:
        """With the admin token that `cdn up` left below `folder`."""
        return cls(control_url, (folder / "data" / "admin-token").read_text().strip(), timeout_s=timeout_s)

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *failure: object) -> None:
        self._connection.close()

    def call(self, method: str, path: str, content: Any = None, *, token: str | None = None) -> Any:
        """The answer's document. Raises OutcomeUnknown, Refused."""
        fields = {"Authorization": f"Bearer {token or self._token}"}
        raw = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
        try:
            self._connection.request(method, path, body=raw, headers=fields)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as exc:
            self._connection.close()
            raise OutcomeUnknown(f"{method} {path}: {exc!r}") from exc
        document = json.loads(answer) if answer else {}
        if response.status >= 400:
            raise Refused(response.status, document, {name.lower(): value for name, value in response.getheaders()})
        return document

    def create_site(self, name: str, **settings: Any) -> Any:
        return self.call("POST", "/v1/sites", {"name": name, "settings": settings})

    def deploy(self, site: str, files: Mapping[str, bytes], *, wait_s: float = 10) -> Any:
        """A whole deploy in one call."""
        return self.call("POST", f"/v1/sites/{site}/deploys?wait={wait_s:g}", packed(files))

    def upload(self, site: str, content: bytes) -> Any:
        """One blob through control."""
        digest = hashlib.sha256(content).hexdigest()
        opened = self.call("POST", f"/v1/sites/{site}/uploads", {"blobs": {digest: len(content)}})
        return self.call("PUT", f"/v1/sites/{site}/uploads/{opened['id']}/blobs/{digest}", content)

    def purge(self, site: str, *, wait_s: float = 10, **what: Any) -> Any:
        return self.call("POST", f"/v1/sites/{site}/purges?wait={wait_s:g}", what)


def packed(files: Mapping[str, bytes]) -> bytes:
    """The files as a tar archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()
