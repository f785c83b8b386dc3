"""Which objects of a site something names: the *mark* half of the sweep."""

from __future__ import annotations

import asyncio

from cdn.errors import InvalidInput, Unavailable
from cdn.journal.takedown_fold import TakedownFold
from cdn.origin.layout import blob_key, manifest_key, variants_key
from cdn.origin.store import ObjectMissing, ObjectStore
from cdn.sites.catalog import Catalog
from cdn.sites.manifest import load_manifest
from cdn.sites.variants import parse_variants


class CannotMark(Unavailable):
    """What a deploy names cannot be read now, so nothing of the site may be removed."""


class NamedObjects:
    """The keys of one site that its deploys name, read once; `mark` again adds what came since."""

    def __init__(self, store: ObjectStore, catalog: Catalog, takedowns: TakedownFold, site_id: str) -> None:
        self._store = store
        self._catalog = catalog
        self._takedowns = takedowns
        self._site_id = site_id
        self._digests: set[str] = set()
        self._manifests: set[str] = set()
        self._lists: set[str] = set()
        self.dropped: set[str] = set()
        """Coded forms that were named by what was taken down."""

    async def mark(self) -> None:
        """Read what the deploys that the catalog has now name, and was not read before.

        Raises CannotMark, StoreUnavailable.
        """
        deploys = self._catalog.deploys(self._site_id)
        for digest in dict.fromkeys(one.manifest_digest for one in deploys):
            if digest not in self._manifests:
                self._digests |= await self._digests_of_manifest(digest)
                self._manifests.add(digest)
        for digest in self._catalog.variants_of(self._site_id).values():
            if digest not in self._lists:
                self._digests |= await self._digests_of_list(digest)
                self._lists.add(digest)

    def has(self, key: str) -> bool:
        """Whether something names the object with this key; of keys that are none of a deploy's always."""
        kind, digest = _parts_of(key, self._site_id)
        match kind:
            case "blobs":
                return self._has_blob(digest)
            case "digests":  # what another vendor's client calls a blob goes with it: `VendorDigests`
                return self._has_blob(digest.partition(".")[2].partition(".")[0])
            case "manifests":
                return digest in self._manifests
            case "variants":
                return digest in self._lists
            case _:
                return True

    def _has_blob(self, digest: str) -> bool:
        return digest in self._digests and self._takedowns.of(self._site_id, digest) is None

    async def _digests_of_manifest(self, digest: str) -> set[str]:
        raw = await self._get(manifest_key(self._site_id, digest))
        try:
            manifest = await asyncio.to_thread(load_manifest, raw)
        except InvalidInput as exc:
            raise CannotMark(f"the manifest {digest} of site {self._site_id} cannot be read: {exc}") from exc
        return {entry.digest for entry in manifest.files.values()}

    async def _digests_of_list(self, digest: str) -> set[str]:
        raw = await self._get(variants_key(self._site_id, digest))
        try:
            variants = await asyncio.to_thread(parse_variants, raw)
        except InvalidInput as exc:
            raise CannotMark(f"the list {digest} of site {self._site_id} cannot be read: {exc}") from exc
        kept = set[str]()
        for source, forms in variants.coded.items():  # what was taken down goes in every form
            is_gone = self._takedowns.of(self._site_id, source) is not None
            (self.dropped if is_gone else kept).update(entry.digest for entry in forms.values())
        return kept

    async def _get(self, key: str) -> bytes:
        try:
            return await self._store.get(key)
        except ObjectMissing as exc:
            raise CannotMark(f"a deploy names {key}, which is not in the store") from exc


def digest_in(key: str, site_id: str) -> str:
    """The digest of a blob's key, "" for other keys."""
    kind, digest = _parts_of(key, site_id)
    return digest if kind == "blobs" and blob_key(site_id, digest) == key else ""


def _parts_of(key: str, site_id: str) -> tuple[str, str]:
    kind, _, rest = key.removeprefix(f"sites/{site_id}/").partition("/")
    return kind, rest.rpartition("/")[2]
