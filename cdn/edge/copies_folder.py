"""A node's own copies of objects in the store: a folder for each site, files named by the digest of their bytes."""

from __future__ import annotations

import threading
from pathlib import Path


class CopiesFolder:
    """Made when there is something to keep. All of it blocks: called in threads. Whoever reads a copy checks it."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Beyond `max_bytes` the files written longest ago go first, and come back from the store."""
        self._folder = folder
        self._max_bytes = max_bytes
        self.failed = 0
        """Copies that could not be kept."""

    def read(self, site_id: str, digest: str) -> bytes | None:
        """The copy; None when there is none to be had."""
        try:
            return (self._folder / site_id / digest).read_bytes()
        except OSError:
            return None

    def write(self, site_id: str, digest: str, raw: bytes) -> None:
        """Keep a copy; a full disk only costs the copy."""
        path = self._folder / site_id / digest
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{path.name}.{threading.get_ident()}.new")
            temporary.write_bytes(raw)
            temporary.replace(path)
            self._trim()
        except OSError:
            self.failed += 1

    def remove_site(self, site_id: str) -> None:
        """Forget a removed site's copies. Raises OSError."""
        folder = self._folder / site_id
        if not folder.is_dir():
            return
        for file in folder.iterdir():
            file.unlink(missing_ok=True)
        folder.rmdir()

    def _trim(self) -> None:
        facts = ((file, file.stat()) for file in self._folder.glob("*/*"))
        files = sorted((one.st_mtime, one.st_size, file) for file, one in facts)
        total = sum(size for _, size, _ in files)
        for _, size, file in files:
            if total <= self._max_bytes:
                return
            file.unlink(missing_ok=True)
            total -= size
