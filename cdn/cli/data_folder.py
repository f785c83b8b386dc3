"""The folder of one control plane: who uses it, which store it belongs to, and the tokens kept in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cdn.errors import Conflict

OWN_FOLDER = "folder"
"""How the store inside the data folder itself is written down: the folder may be moved as a whole."""


@dataclass(frozen=True, slots=True)
class StoreChoice:
    """Where the bytes are: OWN_FOLDER, a path, or s3://BUCKET/PREFIX with the endpoint of an S3 that is not AWS."""

    url: str
    endpoint_url: str | None = None

    @property
    def bucket(self) -> str | None:
        """The bucket's name; None of a folder."""
        return self.url.removeprefix("s3://").partition("/")[0] if self.url.startswith("s3://") else None


class DataFolder:
    """Paths and small files below `path`; made by `locked`.

    `option` and `store_option` are how users give the folder and the store: faults name them.
    """

    def __init__(self, path: Path, *, option: str = "--data", store_option: str = "--store") -> None:
        self.path = path
        self.option = option
        self._store_option = store_option
        self.journal = path / "journal.db"
        self.nodes = path / "nodes.db"
        self.control = path / "control"
        self.edge = path / "edge"
        self.dns = path / "dns"
        self.dns_key = path / "dns-key"
        self.control_key = path / "control-key"
        self.edge_key = path / "edge-key"
        self.development_authority = path / "authority"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process per folder; the lock goes with the process, however that ends. Raises Conflict, OSError."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                raise Conflict(
                    f"another cdn uses {self.path}: stop it, or give this one another {self.option}"
                ) from exc
            yield

    def settle_store(self, url: str | None, endpoint_url: str | None) -> StoreChoice:
        """The store this folder belongs to: the one given now for the first time, the one remembered afterwards.

        Raises Conflict for another one: the journal here names blobs that only the first one has.
        """
        remembered = self._remembered_store()
        chosen = StoreChoice(url or (remembered.url if remembered else OWN_FOLDER), endpoint_url)
        if remembered is not None:
            if chosen.url != remembered.url:
                there = "its own folder" if remembered.url == OWN_FOLDER else remembered.url
                raise Conflict(
                    f"{self.path} keeps its bytes in {there}, not in {chosen.url}: leave "
                    f"{self._store_option} as it was, or give this store a data folder of its own with {self.option}"
                )
            if endpoint_url is None:
                chosen = remembered
        if chosen != remembered:
            self._write(self.path / "store.json", json.dumps({"url": chosen.url, "endpoint_url": chosen.endpoint_url}))
        return chosen

    def store_url(self, choice: StoreChoice) -> str:
        """What `open_store` takes."""
        return str(self.path / "store") if choice.url == OWN_FOLDER else choice.url

    def token(self, scope: str) -> str | None:
        """The token kept for `scope`, whether it still works or not."""
        try:
            return (self.path / f"{scope}-token").read_text(encoding="utf-8").strip() or None
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def keep_token(self, scope: str, token: str) -> None:
        """Keep it, readable by the owner only."""
        self._write(self.path / f"{scope}-token", token + "\n")

    def keep_control_url(self, url: str) -> None:
        """For people and scripts that look."""
        self._write(self.path / "control-url", url + "\n")

    def _remembered_store(self) -> StoreChoice | None:
        try:
            document = json.loads((self.path / "store.json").read_text(encoding="utf-8"))
            return StoreChoice(str(document["url"]), document["endpoint_url"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as exc:
            raise Conflict(
                f"{self.path / 'store.json'} is damaged: remove it and give {self._store_option} once more"
            ) from exc

    @staticmethod
    def _write(path: Path, text: str) -> None:
        """Whole or not at all."""
        temporary = path.with_name(path.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
