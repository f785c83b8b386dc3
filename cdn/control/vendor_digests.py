"""What files that a site sent are called by other vendors' clients, which name content by digests of their own.

A row says: these bytes, which THIS site sent and control read, have this digest of that kind, and this SHA-256. It
stands in the name of an object below the site, so that replicas add rows without meeting each other, a listing reads
many of them, and none of another site is ever believed (DESIGN I7). Whether the bytes are still there is asked of
`Proofs`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping
from enum import Enum

from cdn.control.proofs import Proofs
from cdn.origin.store import ObjectFacts, ObjectMissing, ObjectStore
from cdn.sites.manifest import CHUNK_BYTES, FileEntry

LOOK_UP_AT_MOST = 64
"""Up to this many digests are looked up one by one; for more all rows of the kind are listed."""
CONCURRENT_CALLS = 16

ROWS_AT_ONCE = 1000
"""Rows worked on before others have their turn: a large site has a hundred thousand, which take seconds."""

_NAME = re.compile(r"([0-9a-f]{8,64})\.([0-9a-f]{64})\.(0|[1-9][0-9]{0,15})")
_CHUNK_DIGEST_BYTES = 32


class DigestKind(Enum):
    """Which digest, and whose."""

    SHA1 = "sha1"  # of the content: Netlify
    PAGES = "pages"  # see `cdn.control.pages_digest`
    PAGES_SAID = "pages-said"  # the same as its sender says: control could not tell without the file's name


class VendorDigests:
    """The rows of all sites. All methods may raise StoreUnavailable."""

    def __init__(self, store: ObjectStore, proofs: Proofs) -> None:
        self._store = store
        self._proofs = proofs
        self._calls = asyncio.Semaphore(CONCURRENT_CALLS)

    async def add(self, site_id: str, kind: DigestKind, digests: Mapping[str, FileEntry]) -> None:
        """Remember what the site has just sent. When it returns every replica knows."""

        async def put(digest: str, entry: FileEntry) -> None:
            async with self._calls:
                content = bytes.fromhex("".join(entry.chunk_digests))
                await self._store.put(_key(site_id, kind, digest, entry), content, if_absent=True)

        await asyncio.gather(*(put(digest, entry) for digest, entry in digests.items()))

    async def forget(self, site_id: str, kind: DigestKind, digest: str, entries: Iterable[FileEntry]) -> None:
        """These contents do not have that digest after all: the site is asked for the right one again."""
        for entry in entries:
            async with self._calls:
                await self._store.delete(_key(site_id, kind, digest, entry))

    async def find(self, site_id: str, kind: DigestKind, digests: Iterable[str]) -> dict[str, FileEntry]:
        """Those of `digests` whose content the site sent and still has."""
        rows = await self.rows(site_id, kind, digests)
        return {digest: entries[0] for digest, entries in rows.items()}

    async def rows(self, site_id: str, kind: DigestKind, digests: Iterable[str]) -> dict[str, list[FileEntry]]:
        """As `find`, with every content that goes by a digest: there are several only where nobody verified them."""
        keys = await self._keys(site_id, kind, set(digests))
        sizes = await self._proofs.sizes(site_id, {_parts(key)[1] for key in keys})
        found: dict[str, list[FileEntry]] = {}
        for start in range(0, len(keys), ROWS_AT_ONCE):
            rows = [(key, *_parts(key)) for key in keys[start : start + ROWS_AT_ONCE]]
            sent = [row for row in rows if sizes.get(row[2]) == row[3]]
            large = await asyncio.gather(*(self._large(*row) for row in sent if row[3] > CHUNK_BYTES))
            small = [(digest, FileEntry(sha256, size)) for _, digest, sha256, size in sent if size <= CHUNK_BYTES]
            for digest, entry in (*small, *large):
                if entry is not None:
                    found.setdefault(digest, []).append(entry)
            await asyncio.sleep(0)
        return found

    async def _keys(self, site_id: str, kind: DigestKind, wanted: Collection[str]) -> list[str]:
        if len(wanted) > LOOK_UP_AT_MOST:
            return await self._listed(_prefix(site_id, kind), wanted)
        some = await asyncio.gather(*(self._listed(f"{_folder(site_id, kind, one)}{one}.", wanted) for one in wanted))
        return [key for keys in some for key in keys]

    async def _listed(self, prefix: str, wanted: Collection[str]) -> list[str]:
        async with self._calls:
            return [facts.key async for facts in self._store.scan(prefix) if _is_row(facts, wanted)]

    async def _large(self, key: str, digest: str, sha256: str, size_bytes: int) -> tuple[str, FileEntry | None]:
        async with self._calls:
            try:
                raw = await self._store.get(key)
            except ObjectMissing:
                return digest, None  # removed just now: the content is sent again
        chunks = tuple(raw[at : at + _CHUNK_DIGEST_BYTES].hex() for at in range(0, len(raw), _CHUNK_DIGEST_BYTES))
        entry = FileEntry(sha256, size_bytes, chunks)
        return digest, entry if len(raw) == _CHUNK_DIGEST_BYTES * entry.chunk_count else None


def _is_row(facts: ObjectFacts, wanted: Collection[str]) -> bool:
    match = _NAME.fullmatch(facts.key.rpartition("/")[2])
    return match is not None and match[1] in wanted


def _parts(key: str) -> tuple[str, str, int]:
    digest, sha256, size_bytes = key.rpartition("/")[2].split(".")
    return digest, sha256, int(size_bytes)


def _prefix(site_id: str, kind: DigestKind) -> str:
    return f"sites/{site_id}/digests/{kind.value}/"


def _folder(site_id: str, kind: DigestKind, digest: str) -> str:
    return f"{_prefix(site_id, kind)}{digest[:2]}/"


def _key(site_id: str, kind: DigestKind, digest: str, entry: FileEntry) -> str:
    return f"{_folder(site_id, kind, digest)}{digest}.{entry.digest}.{entry.size_bytes}"
