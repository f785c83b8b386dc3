"""One blob on its way up: where its bytes lie, and the error when they are no longer those."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiofiles

from cdn.errors import InvalidInput

SMALL_BYTES = 1024 * 1024
"""Blobs up to this size are read whole and sent in one write; larger ones are streamed in pieces of this size."""


class FileChanged(InvalidInput):
    """A file is no longer what it was when it was hashed. Nothing of the deploy was activated."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} changed while it was being uploaded: let the build finish, then deploy again")


@dataclass(frozen=True, slots=True)
class Blob:
    """A digest (SHA-256, lower-case hex), its size, and one file that had these bytes when it was hashed."""

    digest: str
    size_bytes: int
    file: Path

    @property
    def is_small(self) -> bool:
        """Whether it is read whole."""
        return self.size_bytes <= SMALL_BYTES

    def read(self) -> bytes:
        """All bytes of a small blob. Raises FileChanged when the size is another."""
        try:
            content = self.file.read_bytes()
        except OSError as exc:
            raise FileChanged(self.file) from exc
        if len(content) != self.size_bytes:
            raise FileChanged(self.file)
        return content

    async def stream(self) -> AsyncIterator[bytes]:
        """The bytes of a large blob, in pieces. Raises FileChanged when there are more or fewer than announced."""
        left = self.size_bytes
        try:
            async with aiofiles.open(self.file, "rb") as file:
                while piece := await file.read(SMALL_BYTES):
                    left -= len(piece)
                    if left < 0:
                        break
                    yield piece
        except OSError as exc:
            raise FileChanged(self.file) from exc
        if left != 0:
            raise FileChanged(self.file)

    def has_changed(self) -> bool:
        """Whether the file holds other bytes by now (reads all of it)."""
        try:
            with self.file.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() != self.digest
        except OSError:
            return True
