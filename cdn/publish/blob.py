"""One blob on its way up: where its bytes lie, and the error when they are no longer those."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cdn.errors import InvalidInput

SMALL_BYTES = 1024 * 1024
"""Blobs up to this size are read whole and sent in one write; larger ones are streamed in pieces of this size."""


class FileChanged(InvalidInput):
    """A file is no longer what it was when it was hashed. Nothing of the deploy was activated."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} changed while it was being uploaded: let the build finish, then deploy again")


@dataclass(frozen=True, slots=True)
class Blob:
    """A digest (SHA-256, lower-case hex), its size, and one file that had these bytes when it was hashed.

    `path` is the file's path in the bundle, by which people know it.
    """

    digest: str
    size_bytes: int
    file: Path
    path: str

    @property
    def is_small(self) -> bool:
        """Whether it is read whole."""
        return self.size_bytes <= SMALL_BYTES

    def read(self) -> bytes:
        """All bytes of a small blob. Raises FileChanged when the size is another."""
        try:
            content = self.file.read_bytes()
        except OSError as exc:
            raise FileChanged(self.path) from exc
        if len(content) != self.size_bytes:
            raise FileChanged(self.path)
        return content

    def open_stream(self) -> BlobStream:
        """The bytes of a large blob, to be closed by the caller. Raises FileChanged when there is no such file."""
        try:
            return BlobStream(self, self.file.open("rb"))
        except OSError as exc:
            raise FileChanged(self.path) from exc

    def has_changed(self) -> bool:
        """Whether the file holds other bytes by now (reads all of it)."""
        try:
            with self.file.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() != self.digest
        except OSError:
            return True


class BlobStream:
    """A blob's bytes piece by piece, read on threads; a context manager that closes the file.

    Raises FileChanged when there are more or fewer bytes than announced.
    """

    def __init__(self, blob: Blob, file: BinaryIO) -> None:
        self._blob = blob
        self._file = file
        self._left_bytes = blob.size_bytes

    def __enter__(self) -> BlobStream:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __aiter__(self) -> BlobStream:
        return self

    async def __anext__(self) -> bytes:
        piece = await asyncio.to_thread(self._read)
        self._left_bytes -= len(piece)
        if self._left_bytes < 0 or (not piece and self._left_bytes > 0):
            raise FileChanged(self._blob.path)
        if not piece:
            raise StopAsyncIteration
        return piece

    def _read(self) -> bytes:
        try:
            return self._file.read(SMALL_BYTES)
        except OSError as exc:
            raise FileChanged(self._blob.path) from exc
