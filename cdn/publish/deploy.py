"""The deploy road, from a folder or an archive to a receipt."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from cdn.errors import InvalidInput, NotFound
from cdn.origin.bundle.folder import SourceFile, hash_folder, scan_folder
from cdn.publish.backoff import Backoff
from cdn.publish.blob import Blob
from cdn.publish.client import ControlClient, Document, UploadSession
from cdn.publish.kept_digests import KeptDigests
from cdn.publish.local_rules import check_rules
from cdn.publish.notice import warnings_about
from cdn.publish.progress import Progress
from cdn.publish.upload import Uploader, store_connections
from cdn.sites.manifest import BundleLimits, FileEntry, Manifest

MANY_FILES = 1000
"""From here on hashing and comparing take time enough to be told as steps."""

MAX_SESSIONS = 5
"""Uploads opened for one deploy, the first included: more is no accident."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What to publish where. `source` is a folder or an archive; `alias` None means the site's own host.

    `digests_dir` is where digests of folders are kept from one deploy to the next; without it, or with `rehash`, every
    file is read. `commit`: what it was built from. `password` and `expires_s` (seconds from now) are of the preview
    that the alias is; None: as they were.
    """

    source: Path
    site: str
    alias: str | None = None
    message: str = ""
    author: str | None = None
    wait_s: float = 10.0
    digests_dir: Path | None = None
    rehash: bool = False
    commit: str = ""
    password: str | None = field(default=None, repr=False)
    expires_s: float | None = None


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
    """What became of it. `answer` is what control says: the deploy, its URL, the receipt.

    `warnings`: sentences about the bundle. `left_out`: names of files and folders that no bundle takes (`.git`).
    """

    answer: Document
    file_count: int
    size_bytes: int
    uploaded_count: int
    uploaded_bytes: int
    seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


_Source = tuple[int, SourceFile]


@dataclass(frozen=True, slots=True)
class _Hashed:
    """Entries by path, and what may be done beside the activation: keeping the digests for the next time."""

    entries: Mapping[str, FileEntry]
    keep: Callable[[], bool] = lambda: True


async def publish(
    client: ControlClient, publication: Publication, progress: Progress, backoff: Backoff | None = None
) -> Published:
    """Uploads what the site is missing and activates the deploy; see the steps below.

    Raises InvalidInput for a bundle that cannot be one, FileChanged, UploadRefused, or what control says. Until the
    last step nothing visible has changed, and a second run sends only what is still missing.
    """
    patience, timings, scanned_ns = backoff or Backoff(), Timings(), time.time_ns()
    left_out: set[str] = set()
    async with _source_files(publication.source, progress, timings, left_out) as files:
        warnings = _tell(files, left_out, progress)
        warnings = (*warnings, *await _check_rules(client, publication.site, files, progress))
        async with timings.step("hash_s"):
            if len(files) >= MANY_FILES:
                progress.step(f"hashing {len(files)} files")
            hashed = await asyncio.to_thread(_hash, publication, files, scanned_ns)
        manifest, sources = Manifest(hashed.entries), _sources(files, hashed.entries)
        async with timings.step("compare_s"):
            if len(files) >= MANY_FILES:
                progress.step(f"asking which of {len(sources)} contents are missing")
            sizes = {digest: size_bytes for digest, (size_bytes, _) in sources.items()}
            session, content = await asyncio.gather(
                client.open_upload(publication.site, sizes),
                asyncio.to_thread(manifest.to_bytes),
            )
            missing = _missing_of(session, sources)
        async with timings.step("upload_s"):
            session = await _upload(client, publication.site, session, sources, progress, patience)
        async with timings.step("activate_s"):
            progress.step("activating")
            answer, _ = await asyncio.gather(
                _create(client, publication, session, content), asyncio.to_thread(hashed.keep)
            )
    found = [warning for warning in answer.get("warnings", ()) if warning not in warnings]
    for warning in found:
        progress.notice(f"warning: {warning}")
    return Published(
        answer=answer,
        file_count=len(files),
        size_bytes=manifest.total_bytes,
        uploaded_count=len(missing),
        uploaded_bytes=sum(blob.size_bytes for blob in missing.values()),
        seconds=timings.steps,
        warnings=(*warnings, *found),
        left_out=tuple(sorted(left_out)),
    )


@asynccontextmanager
async def _source_files(
    source: Path, progress: Progress, timings: Timings, left_out: set[str]
) -> AsyncIterator[Sequence[SourceFile]]:
    """The bundle's files; those of an archive stay unpacked as long as the context."""
    if source.is_dir():
        async with timings.step("scan_s"):
            progress.step(f"scanning {source}")
            files = await asyncio.to_thread(scan_folder, source, BundleLimits(), left_out)
        yield _some(files, source)
    elif source.is_file():
        with tempfile.TemporaryDirectory(prefix="cdn-bundle-") as staging:
            async with timings.step("unpack_s"):
                progress.step(f"unpacking {source}")
                files = await asyncio.to_thread(_unpack, source, Path(staging))
            yield _some(files, source)
    elif source.exists():
        raise InvalidInput(f"{source} is neither a folder nor an archive", field="source")
    else:
        raise InvalidInput(f"there is no file or folder {source}", field="source")


def _unpack(source: Path, staging: Path) -> list[SourceFile]:
    from cdn.origin.bundle.archive import ArchiveLimits, unpack

    try:
        with source.open("rb") as archive:
            return unpack(archive, staging, ArchiveLimits())
    except OSError as exc:
        raise InvalidInput(f"{source} cannot be read: {exc.strerror or exc}", field="source") from exc
    except InvalidInput as exc:
        exc.message = f"{source}: {exc.message}"
        raise


def _some(files: Sequence[SourceFile], source: Path) -> Sequence[SourceFile]:
    if not files:
        raise InvalidInput(f"{source} holds no files: name the folder that the build wrote", field="source")
    return files


def _tell(files: Sequence[SourceFile], left_out: set[str], progress: Progress) -> tuple[str, ...]:
    """What is worth a warning, said before anything is uploaded."""
    warnings = warnings_about({file.path: None for file in files})
    for warning in warnings:
        progress.notice(f"warning: {warning}")
    if left_out:
        progress.notice(f"left out: {', '.join(sorted(left_out))}")
    return warnings


async def _check_rules(
    client: ControlClient, site: str, files: Sequence[SourceFile], progress: Progress
) -> tuple[str, ...]:
    """What is doubtful about the bundle's rules, said before anything is uploaded. Raises InvalidInput for faults."""
    warnings = await check_rules(client, site, files)
    for warning in warnings:
        progress.notice(f"warning: {warning}")
    return warnings


async def check(client: ControlClient, source: Path, site: str, progress: Progress) -> tuple[str, ...]:
    """The warnings about a bundle and its rules, without uploading a byte. Raises InvalidInput for what keeps it from
    being deployed."""
    left_out: set[str] = set()
    async with _source_files(source, progress, Timings(), left_out) as files:
        return (*_tell(files, left_out, progress), *await _check_rules(client, site, files, progress))


def _hash(publication: Publication, files: Sequence[SourceFile], scanned_ns: int) -> _Hashed:
    """The entry of each file: as kept when the file has not changed, otherwise from its content."""
    workers = os.cpu_count() or 1
    if publication.digests_dir is None or not publication.source.is_dir():
        return _Hashed(hash_folder(files, workers))
    digests = KeptDigests(publication.digests_dir, publication.source)
    entries = {} if publication.rehash else digests.entries(files)
    entries |= hash_folder([file for file in files if file.path not in entries], workers)
    return _Hashed(entries, lambda: digests.keep(files, entries, scanned_ns))


def _sources(files: Sequence[SourceFile], entries: Mapping[str, FileEntry]) -> dict[str, _Source]:
    """Each distinct content once: its size, and one file that has it."""
    sources: dict[str, _Source] = {}
    for file in files:
        entry = entries[file.path]
        sources.setdefault(entry.digest, (entry.size_bytes, file))
    return sources


def _missing_of(session: UploadSession, sources: Mapping[str, _Source]) -> dict[str, Blob]:
    unknown = [digest for digest in session.missing if digest not in sources]
    if unknown:
        raise InvalidInput(f"control asks for {unknown[0]}, which is not in the bundle: is it the right control plane?")
    found = ((digest, *sources[digest]) for digest in session.missing)
    return {digest: Blob(digest, size_bytes, file.file, file.path) for digest, size_bytes, file in found}


async def _upload(  # noqa: PLR0917 - what goes where
    client: ControlClient,
    site: str,
    session: UploadSession,
    sources: Mapping[str, _Source],
    progress: Progress,
    backoff: Backoff,
) -> UploadSession:
    """Returns when everything is there, with the session that says so.

    One that control does not know any more, since it ran out or its control is gone, is opened anew: what has arrived
    is not missing then.
    """
    opened = 1
    while missing := _missing_of(session, sources):
        uploader = Uploader(client, site, session, missing, progress=progress, backoff=backoff)
        try:
            async with store_connections() as http:
                await uploader.run(http)
        except NotFound:
            if opened >= MAX_SESSIONS:
                raise
            opened += 1
            progress.step("control does not know this upload any more: opening it again")
            sizes = {digest: size_bytes for digest, (size_bytes, _) in sources.items()}
            session = await client.open_upload(site, sizes)
        else:
            break
    return session


async def _create(client: ControlClient, publication: Publication, session: UploadSession, manifest: bytes) -> Document:
    """A control of an earlier release knows nothing of commits: it is not told."""
    try:
        request = _request(publication, session, manifest)
        return await client.create_deploy(publication.site, request, wait_s=publication.wait_s)
    except InvalidInput as error:
        if error.field != "commit" or "unknown field" not in error.message:
            raise
    request = _request(replace(publication, commit=""), session, manifest)
    return await client.create_deploy(publication.site, request, wait_s=publication.wait_s)


def _request(publication: Publication, session: UploadSession, manifest: bytes) -> bytes:
    request: dict[str, object] = {
        "upload": session.id,
        "manifest": msgspec.Raw(manifest),
        "message": publication.message,
    }
    if publication.alias is not None:
        request["alias"] = publication.alias
    if publication.author is not None:
        request["author"] = publication.author
    if publication.commit:
        request["commit"] = publication.commit
    if publication.password is not None:
        request["password"] = publication.password
    if publication.expires_s is not None:
        request["expires_s"] = publication.expires_s
    return msgspec.json.encode(request)
