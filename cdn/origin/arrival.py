"""Content that arrives piece by piece, held against what was announced."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from cdn.origin.store import DigestMismatch, UploadTarget


class Arrival:
    """Counts and hashes the content of one target. Not for several threads at once."""

    def __init__(self, target: UploadTarget) -> None:
        self._target = target
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0

    def update(self, content: bytes) -> None:
        """Take the next piece. Raises DigestMismatch as soon as more came than was announced."""
        self._size_bytes += len(content)
        if self._size_bytes > self._target.size_bytes:
            raise DigestMismatch(
                f"Blob {self._target.digest} was announced with {self._target.size_bytes} bytes "
                f"but {self._size_bytes} or more came. Announce the size of what is sent."
            )
        self._sha256.update(content)

    def finish(self) -> None:
        """Raises DigestMismatch unless exactly the announced bytes came."""
        if self._size_bytes != self._target.size_bytes:
            raise DigestMismatch(
                f"Blob {self._target.digest} was announced with {self._target.size_bytes} bytes "
                f"but only {self._size_bytes} came. Send it again."
            )
        digest = self._sha256.hexdigest()
        if digest != self._target.digest:
            raise DigestMismatch(
                f"The content sent for blob {self._target.digest} has the SHA-256 {digest}. Send it again."
            )


async def gathered(content: AsyncIterator[bytes], at_least_bytes: int) -> AsyncIterator[bytes]:
    """The same bytes in pieces of at least this size, but for the last."""
    waiting: list[bytes] = []
    size_bytes = 0
    async for piece in content:
        waiting.append(piece)
        size_bytes += len(piece)
        if size_bytes >= at_least_bytes:
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting, size_bytes = [], 0
    if waiting:
        yield b"".join(waiting)
