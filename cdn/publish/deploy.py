"""The deploy road, from a folder or an archive to a receipt."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cdn.errors import InvalidInput
from cdn.origin.bundle.archive import ArchiveLimits, unpack
from cdn.origin.bundle.folder import SourceFile, hash_folder, scan_folder
from cdn.publish.backoff import Backoff
from cdn.publish.blob import Blob
from cdn.publish.client import ControlClient, Document, UploadSession
from cdn.publish.kept_digests import KeptDigests
from cdn.publish.progress import Progress
from cdn.publish.upload import Uploader, store_connections
from cdn.sites.manifest import BundleLimits, FileEntry, Manifest


@dataclass(frozen=True, slots=True)
class Publication:
    """What to publish where. `source` is a folder or an archive; `alias` None means the site's own host.

    `digests_dir` is where digests of folders are kept from one deploy to the next; without it, or with `rehash`, every
    file is read.
    """

    source: Path
    site: str
    alias: str | None = None
    message: str = ""
    author: str | None = None
    wait_s: float = 10.0
    digests_dir: Path | None = None
    rehash: bool = False


@dataclass(slots=True)
class Timings:
    """Seconds that each step took, in order."""

    steps: dict[str, float] = field(default_factory=dict)

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """Measures the block."""
        started = time.monotonic()
        yield
        self.steps[name] = round(time.monotonic() - started, 4)


@dataclass(frozen=True, slots=True)
class Published:
    """What became of it. `answer` is what control says: the deploy, its URL, the receipt."""

    answer: Document
    file_count: int
    size_bytes: int
    uploaded_count: int
    uploaded_bytes: int
    seconds: Mapping[str, float]


async def publish(
    client: ControlClient, publication: Publication, progress: Progress, backoff: Backoff | None = None
) -> Published:
    """Uploads what the site is missing and activates the deploy; see the steps below.

    Raises InvalidInput for a bundle that cannot be one, FileChanged, UploadRefused, or what control says. Until the
    last step nothing visible has changed, and a second run sends only what is still missing.
    """
    patience, timings, scanned_ns = backoff or Backoff(), Timings(), time.time_ns()
    async with _source_files(publication.source, progress, timings) as files:
        async with timings.step("hash_s"):
            progress.step(f"hashing {_counted(len(files))}")
            entries = await asyncio.to_thread(_entries, publication, files, scanned_ns)
        manifest, blobs = Manifest(entries), _blobs(files, entries)
        async with timings.step("compare_s"):
            progress.step(f"asking which of {_counted(len(blobs))} are missing")
            session = await client.open_upload(
                publication.site, {digest: blob.size_bytes for digest, blob in blobs.items()}
            )
            missing = _missing_of(session, blobs)
        async with timings.step("upload_s"):
            if missing:
                await _upload(Uploader(client, publication.site, session, blobs, progress=progress, backoff=patience))
        async with timings.step("activate_s"):
            progress.step("activating")
            request = _request(publication, session, manifest)
            answer = await client.create_deploy(publication.site, request, wait_s=publication.wait_s)
    return Published(
        answer=answer,
        file_count=len(entries),
        size_bytes=manifest.total_bytes,
        uploaded_count=len(missing),
        uploaded_bytes=sum(blob.size_bytes for blob in missing),
        seconds=timings.steps,
    )


@asynccontextmanager
async def _source_files(source: Path, progress: Progress, timings: Timings) -> AsyncIterator[Sequence[SourceFile]]:
    """The bundle's files; those of an archive stay unpacked as long as the context."""
    if source.is_dir():
        async with timings.step("scan_s"):
            progress.step(f"scanning {source}")
            files = await asyncio.to_thread(scan_folder, source, BundleLimits())
        yield _some(files, source)
    elif source.is_file():
        with tempfile.TemporaryDirectory(prefix="cdn-bundle-") as staging:
            async with timings.step("unpack_s"):
                progress.step(f"unpacking {source}")
                files = await asyncio.to_thread(_unpack, source, Path(staging))
            yield _some(files, source)
    else:
        raise InvalidInput(f"{source} is neither a folder nor an archive that can be read", field="source")


def _unpack(source: Path, staging: Path) -> list[SourceFile]:
    with source.open("rb") as archive:
        return unpack(archive, staging, ArchiveLimits())


def _some(files: Sequence[SourceFile], source: Path) -> Sequence[SourceFile]:
    if not files:
        raise InvalidInput(f"{source} holds no files: name the folder that the build wrote", field="source")
    return files


def _entries(publication: Publication, files: Sequence[SourceFile], scanned_ns: int) -> Mapping[str, FileEntry]:
    """The entry of each file: as kept when the file has not changed, otherwise from its content."""
    workers = os.cpu_count() or 1
    if publication.digests_dir is None or not publication.source.is_dir():
        return hash_folder(files, workers)
    digests = KeptDigests(publication.digests_dir, publication.source)
    entries = {} if publication.rehash else digests.entries(files)
    entries |= hash_folder([file for file in files if file.path not in entries], workers)
    digests.keep(files, entries, scanned_ns)
    return entries


def _blobs(files: Sequence[SourceFile], entries: Mapping[str, FileEntry]) -> dict[str, Blob]:
    """Each distinct content once, with one file that has it."""
    blobs: dict[str, Blob] = {}
    for file in files:
        entry = entries[file.path]
        if entry.digest not in blobs:
            blobs[entry.digest] = Blob(entry.digest, entry.size_bytes, file.file)
    return blobs


def _missing_of(session: UploadSession, blobs: Mapping[str, Blob]) -> list[Blob]:
    unknown = [digest for digest in session.missing if digest not in blobs]
    if unknown:
        raise InvalidInput(f"control asks for {unknown[0]}, which is not in the bundle: is it the right control plane?")
    return [blobs[digest] for digest in session.missing]


async def _upload(uploader: Uploader) -> None:
    async with store_connections() as http:
        await uploader.run(http)


def _request(publication: Publication, session: UploadSession, manifest: Manifest) -> bytes:
    request: dict[str, object] = {
        "upload": session.id,
        "manifest": msgspec.Raw(manifest.to_bytes()),
        "message": publication.message,
    }
    if publication.alias is not None:
        request["alias"] = publication.alias
    if publication.author is not None:
        request["author"] = publication.author
    return msgspec.json.encode(request)


def _counted(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
