"""Content for stores to keep."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from cdn.origin.store import UploadTarget


def target_of(content: bytes, key: str | None = None) -> UploadTarget:
    digest = hashlib.sha256(content).hexdigest()
    return UploadTarget(key or f"sites/s1/blobs/{digest[:2]}/{digest}", digest, len(content))


async def pieces(content: bytes, size_bytes: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size_bytes):
        yield content[start : start + size_bytes]
