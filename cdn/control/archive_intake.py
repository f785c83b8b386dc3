"""An archive in one HTTP call: unpacked while it arrives, staged in a folder, never whole in memory."""

from __future__ import annotations

import asyncio
import io
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiofiles
from aiohttp import web

from cdn.control.content import pieces
from cdn.control.schema import Uploaded
from cdn.control.services import Services
from cdn.control.settings import Patience
from cdn.control.turns import Turns
from cdn.control.upload_session import UploadSession
from cdn.errors import CdnError, InvalidInput, Unavailable
from cdn.origin.bundle.archive import ArchiveLimits, unpack
from cdn.origin.bundle.folder import SourceFile, hash_folder
from cdn.origin.layout import blob_key
from cdn.origin.store import UploadTarget
from cdn.sites.manifest import FileEntry, Manifest

SNIFF_BYTES = 512
"""A tar header; enough to tell JSON from every kind of archive."""
READ_BYTES = 256 * 1024
HASH_WORKERS = 2
"""Threads that hash one archive's files: control has other things to do."""
_TAR_MAGIC = slice(257, 262)


@dataclass(frozen=True, slots=True)
class Begun:
    """The first bytes of a request's content, and what they say it is."""

    content: bytes
    is_json: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """An archive whose files are all in the store, pinned by `session`."""

    manifest: Manifest
    session: UploadSession
    uploaded: Uploaded


async def sniff(request: web.Request, patience: Patience) -> Begun:
    """Look at the first bytes. The Content-Type is not asked: `curl --data-binary` says form for everything."""
    content = bytearray()
    arriving = pieces(request, 2**63, patience)
    while len(content) < SNIFF_BYTES:
        piece = await anext(arriving, None)
        if piece is None:
            break
        content += piece
    is_tar = bytes(content[_TAR_MAGIC]) == b"ustar"  # its first bytes are a file's name, which may begin with a brace
    is_json = not is_tar and bytes(content[:SNIFF_BYTES]).lstrip()[:1] in (b"{", b"")
    return Begun(bytes(content), is_json)


class ArchiveIntake:
    """Takes archives, a few at a time."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._services = services
        self._turns = Turns(
            settings.max_concurrent_archives,
            settings.max_concurrent_archives_per_site,
            most_waiting=settings.max_waiting_archives,
            refusal="As many archives as may wait to be unpacked do so already: try again.",
            retry_after_s=10,
        )

    async def take(self, site_id: str, request: web.Request, begun: bytes) -> Taken:
        """Everything in the archive, uploaded to the site.

        Raises InvalidInput naming the entry for an archive that is refused (nothing of it is kept), TooLarge,
        Unavailable when too many archives wait or the disk is full, StoreUnavailable.
        """
        async with self._turns.take(site_id), self._staging() as staging:
            files = await self._unpack(request, begun, staging)
            entries = await asyncio.to_thread(hash_folder, files, HASH_WORKERS)
            if not entries:
                raise InvalidInput("The archive holds no files.")
            return await self._upload(site_id, files, entries)

    @asynccontextmanager
    async def _staging(self) -> AsyncIterator[Path]:
        root = self._services.settings.staging_dir
        try:
            staging = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=root))
        except OSError as error:
            raise _no_room(error) from error
        try:
            yield staging
        finally:
            # Also when the caller is gone: what was staged must not stay.
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True))

    async def _unpack(self, request: web.Request, begun: bytes, staging: Path) -> Sequence[SourceFile]:
        settings = self._services.settings
        arriving = pieces(request, settings.max_archive_bytes, settings.patience, len(begun))
        source = ArrivingFile(arriving, begun, asyncio.get_running_loop())
        unpacking = asyncio.ensure_future(
            asyncio.to_thread(unpack, io.BufferedReader(source, READ_BYTES), staging, self._limits())
        )
        try:
            return await asyncio.shield(unpacking)
        except OSError as error:
            raise source.failure or _no_room(error) from error
        except CdnError as error:
            if source.failure is not None and source.failure is not error:
                raise source.failure from error
            raise
        finally:
            source.abandon()
            await asyncio.wait([unpacking])

    def _limits(self) -> ArchiveLimits:
        settings = self._services.settings
        return ArchiveLimits(
            max_files=settings.bundle.max_files,
            max_file_bytes=settings.bundle.max_file_bytes,
            max_total_bytes=min(settings.max_staged_bytes, settings.bundle.max_total_bytes),
            max_ratio=settings.max_archive_ratio,
            max_path_bytes=settings.bundle.max_path_bytes,
            max_folders=settings.bundle.max_folders,
        )

    async def _upload(self, site_id: str, files: Sequence[SourceFile], entries: dict[str, FileEntry]) -> Taken:
        services = self._services
        blobs = {entry.digest: entry.size_bytes for entry in entries.values()}
        session = await services.uploads.open(site_id, blobs)
        try:
            session.proven.update(await services.proofs.sizes(site_id, blobs))
            missing = blobs.keys() - session.proven.keys()
            by_digest = {entries[file.path].digest: file for file in files}
            puts = asyncio.Semaphore(services.settings.max_concurrent_puts)

            async def put(digest: str) -> None:
                target = UploadTarget(blob_key(site_id, digest), digest, blobs[digest])
                async with puts:
                    await services.store.put_stream(target, _content_of(by_digest[digest].file))
                session.proven[digest] = blobs[digest]
                services.proofs.add(site_id, digest, blobs[digest])

            await _all([put(digest) for digest in sorted(missing)])
            manifest = await asyncio.to_thread(Manifest(entries).prepare)  # a second for the largest bundle
        except BaseException:
            services.uploads.close(site_id, session.id)
            raise
        uploaded = Uploaded(len(missing), sum(blobs[digest] for digest in missing))
        return Taken(manifest, session, uploaded)


class ArrivingFile(io.RawIOBase):
    """A request's content as a file that a thread reads; each read waits for the loop to have received something."""

    def __init__(self, arriving: AsyncIterator[bytes], begun: bytes, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._arriving = arriving
        self._loop = loop
        self._left = memoryview(begun)
        self._is_over = False
        self._is_abandoned = False
        self._asked: Future[bytes | None] | None = None
        self.failure: CdnError | None = None
        """Why the content ended early, when it did."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` with what there is, at least one byte unless the content is over."""
        if not self._left and not self._is_over:
            piece = self._next()
            self._is_over = piece is None
            self._left = memoryview(piece or b"")
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def abandon(self) -> None:
        """No more is read: a thread that waits is woken with an error. Called on the loop."""
        self._is_abandoned = True
        if self._asked is not None:
            self._asked.cancel()

    def _next(self) -> bytes | None:
        if self._is_abandoned:
            raise InvalidInput("The upload was given up.")
        self._asked = asyncio.run_coroutine_threadsafe(self._receive(), self._loop)
        try:
            return self._asked.result()
        except CancelledError as error:
            raise InvalidInput("The upload was given up.") from error
        except CdnError as error:
            self.failure = error
            raise

    async def _receive(self) -> bytes | None:
        if self._is_abandoned:
            raise InvalidInput("The upload was given up.")
        return await anext(self._arriving, None)


async def _content_of(file: Path) -> AsyncIterator[bytes]:
    async with aiofiles.open(file, "rb") as opened:
        while piece := await opened.read(READ_BYTES):
            yield piece


async def _all(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all; when one fails the others are cancelled and its own error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _no_room(error: OSError) -> Unavailable:
    return Unavailable(f"The archive could not be staged on disk ({error.strerror or error}).", retry_after_s=30)
