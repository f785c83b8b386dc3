"""Files that arrive without their SHA-256 being known before: read once, into memory or a file, then into the store."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cdn.control.services import Services
from cdn.errors import Gone, Unavailable
from cdn.origin.bundle.digest import digest_content
from cdn.origin.layout import blob_key
from cdn.origin.store import UploadTarget
from cdn.sites.manifest import FileEntry

IN_MEMORY_BYTES = 1024 * 1024
"""Longer content waits in a file: most files of a site are shorter, and writing them twice would cost more."""
READ_BYTES = 256 * 1024

INLINE_BYTES = 32 * 1024
"""Shorter content is hashed where it is, in a tenth of a millisecond: a thread's turn costs as much."""


@dataclass(frozen=True, slots=True)
class SentFile:
    """Content that was read to its end. `sha1` in lower-case hex; `file` is closed by whoever received it."""

    entry: FileEntry
    sha1: str
    file: tempfile.SpooledTemporaryFile[bytes]


class SentFiles:
    """Takes files, a bounded number at a time, and puts them below the site."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @asynccontextmanager
    async def received(self, site_id: str, content: AsyncIterator[bytes]) -> AsyncIterator[SentFile]:
        """The content as it arrived, until the block is left. Raises Unavailable when there is no room for it, and what
        `content` raises."""
        async with self._services.blobs.take(site_id):
            with _staged(self._services.settings.staging_dir) as file:
                sha1 = await _receive(content, file)
                entry = _digested(file) if file.tell() <= INLINE_BYTES else await asyncio.to_thread(_digested, file)
                yield SentFile(entry, sha1, file)

    async def keep(self, site_id: str, sent: SentFile) -> None:
        """Put it into the store. Raises Gone for content that was taken down, StoreUnavailable."""
        await self._put(site_id, sent.entry, _read_again(sent.file))

    async def keep_content(self, site_id: str, content: bytes) -> FileEntry:
        """Put content that is in memory into the store; its entry. Raises as `keep`."""
        is_short = len(content) <= INLINE_BYTES
        entry = digest_content(content) if is_short else await asyncio.to_thread(digest_content, content)
        await self._put(site_id, entry, _once(content))
        return entry

    async def _put(self, site_id: str, entry: FileEntry, content: AsyncIterator[bytes]) -> None:
        services, digest = self._services, entry.digest
        if services.takedowns.of(site_id, digest) is not None:
            raise Gone(f"The content with the digest {digest} was taken down: it cannot be uploaded again.")
        async with services.puts:
            await services.store.put_stream(UploadTarget(blob_key(site_id, digest), digest, entry.size_bytes), content)
        services.proofs.add(site_id, digest, entry.size_bytes)


def _staged(folder: Path) -> tempfile.SpooledTemporaryFile[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=str(folder))


async def _receive(content: AsyncIterator[bytes], file: tempfile.SpooledTemporaryFile[bytes]) -> str:
    digest = hashlib.sha1(usedforsecurity=False)

    def write(piece: bytes) -> None:
        digest.update(piece)
        file.write(piece)

    waiting, waiting_bytes = list[bytes](), 0
    try:
        async for piece in content:
            waiting.append(piece)
            waiting_bytes += len(piece)
            if waiting_bytes >= READ_BYTES:
                await asyncio.to_thread(write, b"".join(waiting))
                waiting, waiting_bytes = [], 0
        if waiting_bytes <= INLINE_BYTES:
            write(b"".join(waiting))
        else:
            await asyncio.to_thread(write, b"".join(waiting))
    except OSError as error:
        raise Unavailable(
            f"The file could not be staged on disk ({error.strerror or error}).", retry_after_s=30
        ) from error
    return digest.hexdigest()


def _digested(file: tempfile.SpooledTemporaryFile[bytes]) -> FileEntry:
    file.seek(0)
    return digest_content(file)


async def _read_again(file: tempfile.SpooledTemporaryFile[bytes]) -> AsyncIterator[bytes]:
    file.seek(0, io.SEEK_END)
    is_short = file.tell() <= IN_MEMORY_BYTES  # then it is in memory
    file.seek(0)
    while piece := file.read(READ_BYTES) if is_short else await asyncio.to_thread(file.read, READ_BYTES):
        yield piece


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
