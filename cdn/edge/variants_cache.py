"""The lists of coded forms a node has loaded: in memory, below them a folder, below that the object store.

A list is named by its digest, so a copy is either right or not there. None of it is needed to answer: without its list
a deploy is answered in identity.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cdn.edge.collapse import Shared
from cdn.edge.copies_folder import CopiesFolder
from cdn.errors import CdnError, Unavailable
from cdn.origin.layout import variants_key
from cdn.origin.store import ObjectMissing, ObjectStore
from cdn.sites.manifest import digest_of
from cdn.sites.variants import VariantsIndex, index_variants

MAX_BYTES_IN_MEMORY: Final = 128 * 1024 * 1024
"""Lists held in memory together, one at least: four of the largest bundles', or some thousand ordinary ones'."""

MAX_BYTES_ON_DISK: Final = 1024**3
"""List files kept in the folder."""

RETRY_S: Final = 10.0
"""Before a list that could not be had is asked for again."""

MAX_FAULTS: Final = 4096
"""Lists remembered as not to be had; one that was forgotten costs one more try."""

LIST_OVERHEAD_BYTES: Final = 1024
"""What a list takes beside its text, for the bound."""


class VariantsUnavailable(Unavailable):
    """The list cannot be had now. `is_lost`: the store answered, and has it no more or damaged."""

    def __init__(self, message: str, *, is_lost: bool = False) -> None:
        super().__init__(message)
        self.is_lost = is_lost


class VariantsCache:
    """Loads lists by (site, digest), each at most once at a time."""

    def __init__(self, store: ObjectStore, folder: Path, monotonic: Callable[[], float]) -> None:
        self._store = store
        self.copies = CopiesFolder(folder, MAX_BYTES_ON_DISK)
        self._monotonic = monotonic
        self._loaded: OrderedDict[tuple[str, str], VariantsIndex] = OrderedDict()
        self._bytes = 0
        self._loading: Shared[tuple[str, str], VariantsIndex] = Shared()
        self._not_before: OrderedDict[tuple[str, str], float] = OrderedDict()
        self.loaded = 0
        self.failed = 0

    def get(self, site_id: str, digest: str) -> VariantsIndex | None:
        """The list when it is in memory."""
        index = self._loaded.get((site_id, digest))
        if index is not None:
            self._loaded.move_to_end((site_id, digest))
        return index

    def retry_at(self, site_id: str, digest: str) -> float | None:
        """Until when (monotonic) a list that could not be had is not asked for again; None: it may be asked for now."""
        until = self._not_before.get((site_id, digest))
        return None if until is None or self._monotonic() >= until else until

    async def load(self, site_id: str, digest: str) -> VariantsIndex:
        """The list, from wherever it is nearest. Raises VariantsUnavailable."""
        index = self.get(site_id, digest)
        if index is not None:
            return index
        return await self._loading.join((site_id, digest), lambda: self._load(site_id, digest))

    async def drop_site(self, site_id: str) -> None:
        """Forget a removed site's lists, in memory and on disk."""
        for key in [key for key in self._loaded if key[0] == site_id]:
            self._bytes -= _cost_bytes(self._loaded.pop(key))
        await asyncio.to_thread(self.copies.remove_site, site_id)

    async def aclose(self) -> None:
        """End loads that are under way."""
        await self._loading.aclose()

    async def _load(self, site_id: str, digest: str) -> VariantsIndex:
        index = await asyncio.to_thread(self._read, site_id, digest)
        if index is None:
            try:
                index = await self._from_store(site_id, digest)
            except VariantsUnavailable:
                self._note_fault((site_id, digest))
                raise
        self._keep((site_id, digest), index)
        return index

    async def _from_store(self, site_id: str, digest: str) -> VariantsIndex:
        named = f"the list of coded forms {digest[:12]} of site {site_id}"
        try:
            raw = await self._store.get(variants_key(site_id, digest))
        except (ObjectMissing, Unavailable) as exc:
            raise VariantsUnavailable(
                f"{named} is not to be had: {exc}", is_lost=isinstance(exc, ObjectMissing)
            ) from exc
        try:
            index = await asyncio.to_thread(_checked, raw, digest)
        except CdnError as exc:
            raise VariantsUnavailable(f"{named} cannot be read: {exc}") from exc
        if index is None:
            raise VariantsUnavailable(f"{named} is damaged in the store", is_lost=True)
        await asyncio.to_thread(self.copies.write, site_id, digest, raw)
        return index

    def _note_fault(self, key: tuple[str, str]) -> None:
        self.failed += 1
        self._not_before[key] = self._monotonic() + RETRY_S
        self._not_before.move_to_end(key)
        if len(self._not_before) > MAX_FAULTS:
            self._not_before.popitem(last=False)

    def _keep(self, key: tuple[str, str], index: VariantsIndex) -> None:
        self.loaded += 1
        self._not_before.pop(key, None)
        self._loaded[key] = index
        self._bytes += _cost_bytes(index)
        while self._bytes > MAX_BYTES_IN_MEMORY and len(self._loaded) > 1:
            _, dropped = self._loaded.popitem(last=False)
            self._bytes -= _cost_bytes(dropped)

    def _read(self, site_id: str, digest: str) -> VariantsIndex | None:
        raw = self.copies.read(site_id, digest)
        try:
            return None if raw is None else _checked(raw, digest)
        except CdnError:
            return None  # the store's copy counts, and says why it cannot be read


def _cost_bytes(index: VariantsIndex) -> int:
    return index.cost_bytes + LIST_OVERHEAD_BYTES


def _checked(raw: bytes, digest: str) -> VariantsIndex | None:
    """None: it is damaged. Raises CdnError for what this program does not read."""
    return index_variants(raw) if digest_of(raw) == digest else None
