"""Content to its entry in a manifest: the SHA-256 of the whole and of every chunk, in one pass."""

from __future__ import annotations

import hashlib
import io
from typing import Protocol

from cdn.sites.manifest import CHUNK_BYTES, FileEntry


class Readable(Protocol):
    """What has `read`, as binary files do. A read may give less than was asked for; nothing means the end."""

    def read(self, size_bytes: int, /) -> bytes:
        """At most this many bytes."""
        ...


def digest_content(content: bytes | Readable) -> FileEntry:
    """The entry of this content, read once, a chunk in memory at a time."""
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    chunk = read_exactly(source, CHUNK_BYTES)
    if len(chunk) < CHUNK_BYTES or not (following := read_exactly(source, CHUNK_BYTES)):
        return FileEntry(hashlib.sha256(chunk).hexdigest(), len(chunk))
    whole = hashlib.sha256(chunk)
    size_bytes = len(chunk)
    chunk_digests = [whole.hexdigest()]
    while following:
        whole.update(following)
        size_bytes += len(following)
        chunk_digests.append(hashlib.sha256(following).hexdigest())
        following = read_exactly(source, CHUNK_BYTES) if len(following) == CHUNK_BYTES else b""
    return FileEntry(whole.hexdigest(), size_bytes, tuple(chunk_digests))


def read_exactly(source: Readable, size_bytes: int) -> bytes:
    """This many bytes, fewer only when the source is at its end."""
    piece = source.read(size_bytes)
    if len(piece) == size_bytes or not piece:
        return piece
    pieces = [piece]
    missing_bytes = size_bytes - len(piece)
    while missing_bytes and (piece := source.read(missing_bytes)):
        pieces.append(piece)
        missing_bytes -= len(piece)
    return b"".join(pieces)
