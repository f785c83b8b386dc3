"""Files that Pages' client sends beside its deployments: what is missing, and batches of them in base64."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from aiohttp import web

from cdn.control.content import decode_json, read_content, read_manifest_json
from cdn.control.pages_digest import (
    digests_that_may_be,
    extension_of,
    is_pages_digest,
    pages_digest,
)
from cdn.control.pages_token import Uploader
from cdn.control.sent_files import SentFiles
from cdn.control.services import Services
from cdn.control.turns import Turns
from cdn.control.vendor_digests import DigestKind, VendorDigests
from cdn.errors import InvalidInput, NotFound, TooLarge, Unprocessable
from cdn.origin.layout import blob_key
from cdn.origin.store import ObjectMissing
from cdn.sites.manifest import FileEntry

MAX_FILE_BYTES = 25 * 1024 * 1024
"""The vendor's limit of one file, which its client keeps too."""

MAX_BATCH_FILES = 5000
"""Files in one batch; clients send 2,000 at most."""

MAX_BRACES_PER_FILE = 4
"""Two for each file of a batch, and some in what its type is said to be: a megabyte of short ones costs a hundred."""

MAX_BATCH_BYTES = 64 * 1024 * 1024
"""A batch as it is sent: the client's 40 MiB in base64, with names and types."""

MAX_BATCHES = 4
"""Batches worked on at one time, half of them of one site: some 200 MB of memory each."""

MAX_WAITING_BATCHES = 64

CONCURRENT_CHECKS = 8
"""Files that are read again at one time, now that their names are known: 200 MB of the largest. A site with a search
index has thousands of a type that nobody knows."""

CHECKS_AT_ONCE = 500
"""Files whose check is begun before others have their turn."""

MAX_TRIED = 8
"""Contents under one digest, and extensions with each, that are tried: a digest is that of one of each."""

MAX_FAULTS = 50


class AskHashes(msgspec.Struct, frozen=True):
    """Digests of a bundle's files."""

    hashes: list[str]


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """What a file is said to be."""

    content_type: Annotated[str, msgspec.Meta(max_length=1024)] = ""


class Asset(msgspec.Struct, frozen=True):
    """One file of a batch."""

    key: str
    value: str
    metadata: Metadata = Metadata()
    base64: bool = False


@dataclass(frozen=True, slots=True)
class _File:
    """A file of a batch, decoded. `is_verified`: its digest is what its content and an extension give."""

    digest: str
    content: bytes
    is_verified: bool


class PagesAssets:
    """The files of all sites."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._digests = VendorDigests(services.store, services.proofs)
        self._sent = SentFiles(services)
        self._checks = asyncio.Semaphore(CONCURRENT_CHECKS)
        self._batches = Turns(
            MAX_BATCHES,
            MAX_BATCHES // 2,
            most_waiting=MAX_WAITING_BATCHES,
            refusal="As many uploads as may wait do so already: try again.",
            retry_after_s=5,
        )

    async def missing(self, uploader: Uploader, request: web.Request) -> list[str]:
        """Which of the digests in the request the site has to send. Raises InvalidInput, TooLarge."""
        wanted = await self._asked(request)
        await self._services.uploads.stay(uploader.site.id)
        found = await self._found(uploader.site.id, wanted)
        return [digest for digest in wanted if digest not in found]

    async def confirm(self, request: web.Request) -> None:
        """The client says that it has sent all of these: there is nothing to do."""
        await self._asked(request)

    async def take(self, uploader: Uploader, request: web.Request) -> int:
        """Keep a batch; how many files it had.

        Raises InvalidInput listing files that cannot be, TooLarge, Gone for what was taken down, Unavailable.
        """
        site_id, services = uploader.site.id, self._services
        async with self._batches.take(site_id):
            raw = await read_content(request, MAX_BATCH_BYTES, patience=services.settings.patience)
            if raw.count(b"{") > MAX_BRACES_PER_FILE * MAX_BATCH_FILES:
                raise TooLarge(f"A batch has at most {MAX_BATCH_FILES} files, this one far more.")
            batch = await decode_json(raw, list[Asset])
            del raw
            if len(batch) > MAX_BATCH_FILES:
                raise TooLarge(f"A batch has at most {MAX_BATCH_FILES} files, not {len(batch)}.")
            files = await asyncio.to_thread(_decoded, batch)
            del batch
            await services.uploads.stay(site_id)
            entries = await asyncio.gather(*(self._sent.keep_content(site_id, one.content) for one in files))
        for kind, is_verified in ((DigestKind.PAGES, True), (DigestKind.PAGES_SAID, False)):
            rows = {
                one.digest: entry for one, entry in zip(files, entries, strict=True) if one.is_verified is is_verified
            }
            await self._digests.add(site_id, kind, rows)
        return len(files)

    async def keep(self, site_id: str, content: bytes) -> FileEntry:
        """Content that came with a deployment."""
        return await self._sent.keep_content(site_id, content)

    async def entries(self, site_id: str, manifest: Mapping[str, str]) -> dict[str, FileEntry]:
        """The files of a deployment by path, for digests by path.

        A digest that nobody has verified yet is computed from the content now that the file's name is known. Raises
        NotFound listing files that the site has not sent, Unprocessable listing those whose digest is another.
        """
        await self._services.uploads.stay(site_id)
        verified = await self._digests.find(site_id, DigestKind.PAGES, manifest.values())
        unsure = {path: digest for path, digest in manifest.items() if digest not in verified}
        said = await self._digests.rows(site_id, DigestKind.PAGES_SAID, unsure.values()) if unsure else {}
        missing = [path for path, digest in unsure.items() if digest not in said]
        if missing:
            raise NotFound(
                f"{len(missing)} of the {len(manifest)} files were not uploaded to this project (any more), "
                f"{missing[0]!r} for one: deploy again."
            )
        extensions: dict[str, dict[str, str]] = {}
        for path, digest in unsure.items():
            extensions.setdefault(digest, {}).setdefault(extension_of(path), path)
        faults = []
        unchecked = tuple(extensions.items())
        for start in range(0, len(unchecked), CHECKS_AT_ONCE):
            some = unchecked[start : start + CHECKS_AT_ONCE]
            checks = (self._matching(site_id, digest, tuple(paths), said[digest]) for digest, paths in some)
            for (digest, paths), entry in zip(some, await asyncio.gather(*checks), strict=True):
                if entry is not None:
                    verified[digest] = entry
                else:
                    path = next(iter(paths.values()))
                    faults.append(f"{path}: its content does not have the digest {digest}")
        if faults:
            raise Unprocessable(
                f"{len(faults)} files are not what their digests say: were they changed while they were being "
                "uploaded? Deploy again.",
                details=tuple(faults[:MAX_FAULTS]),
            )
        return {path: verified[digest] for path, digest in manifest.items()}

    async def _matching(
        self, site_id: str, digest: str, extensions: Sequence[str], entries: Sequence[FileEntry]
    ) -> FileEntry | None:
        """Which of the contents has the digest under one of the extensions. Whatever is found out is remembered."""
        async with self._checks:
            for entry in entries[:MAX_TRIED]:
                try:
                    content = await self._services.store.get(blob_key(site_id, entry.digest))
                except ObjectMissing:
                    continue
                for extension in extensions[:MAX_TRIED]:
                    if await asyncio.to_thread(pages_digest, content, extension) == digest:
                        await self._digests.add(site_id, DigestKind.PAGES, {digest: entry})
                        return entry
            # Otherwise it would be called present for ever, and never come right.
            await self._digests.forget(site_id, DigestKind.PAGES_SAID, digest, entries)
        return None

    async def _asked(self, request: web.Request) -> list[str]:
        settings = self._services.settings
        wanted = await read_manifest_json(request, AskHashes, settings)
        if len(wanted.hashes) > settings.bundle.max_files:
            raise TooLarge(f"A bundle has at most {settings.bundle.max_files} files, not {len(wanted.hashes)}.")
        _require_digests(wanted.hashes)
        return list(dict.fromkeys(wanted.hashes))

    async def _found(self, site_id: str, wanted: Iterable[str]) -> set[str]:
        found = set(await self._digests.find(site_id, DigestKind.PAGES, wanted))
        unsure = [digest for digest in wanted if digest not in found]
        if unsure:
            found |= set(await self._digests.find(site_id, DigestKind.PAGES_SAID, unsure))
        return found


def _decoded(batch: Sequence[Asset]) -> list[_File]:
    """Raises InvalidInput that lists every file that cannot be."""
    files, faults = [], []
    for number, asset in enumerate(batch):
        try:
            files.append(_file_of(asset))
        except InvalidInput as fault:
            faults.append(f"file {number + 1}: {fault.message}")
    if faults:
        raise InvalidInput(
            f"{len(faults)} of {len(batch)} files cannot be taken; nothing was.", details=tuple(faults[:MAX_FAULTS])
        )
    return files


def _file_of(asset: Asset) -> _File:
    _require_digests([asset.key])
    if not asset.base64:
        raise InvalidInput(f"{asset.key}: send its value in base64")
    encoded = asset.value.encode("utf-8", "surrogatepass")
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"{asset.key}: its value is not base64") from error
    if len(content) > MAX_FILE_BYTES:
        raise TooLarge(f"{asset.key}: has {len(content)} bytes, at most {MAX_FILE_BYTES} are allowed")
    canonical = encoded if len(encoded) % 4 == 0 else base64.b64encode(content)
    is_verified = asset.key in digests_that_may_be(canonical, asset.metadata.content_type)
    return _File(asset.key, content, is_verified)


def _require_digests(hashes: Iterable[str]) -> None:
    for one in hashes:
        if not is_pages_digest(one):
            raise InvalidInput(f"{one[:80]!r} is not the digest of a file: 32 hexadecimal digits in lower case")
