"""Removes what was taken down from a node's disk, in the background: it is answered no more from the record on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from cdn.edge.disk_index import IndexUnavailable
from cdn.edge.disk_tier import DiskTier
from cdn.edge.manifest_cache import ManifestCache, ManifestUnavailable
from cdn.edge.site_view import SiteView
from cdn.edge.stored import StoredResponse
from cdn.edge.variants_cache import VariantsCache
from cdn.errors import CdnError
from cdn.journal.takedown_fold import EVERYWHERE, Takedown, TakedownFold

RETRY_S = 10.0
"""After the index did not take a removal."""

PAUSE_S = 0.02
"""Between two steps, so that it takes a small part of one core."""

_log = logging.getLogger(__name__)


class TakedownEraser:
    """Erases in every form: the content, its chunks that are kept for other nodes, and its coded forms.

    What is to be done is told by the records, so it is bounded by them, and begun anew at every start.
    """

    def __init__(
        self,
        view: SiteView,
        takedowns: TakedownFold,
        disk: DiskTier,
        manifests: ManifestCache,
        variants: VariantsCache,
    ) -> None:
        self._view = view
        self._takedowns = takedowns
        self._disk = disk
        self._manifests = manifests
        self._variants = variants
        self._erased: set[tuple[str, str]] = set()
        self._noted = asyncio.Event()
        self.removed = 0

    def look(self) -> None:
        """Records, or a snapshot, may have told of more. Never waits."""
        self._noted.set()

    async def run(self) -> None:
        """Erase what is told, for ever; cancel to stop."""
        while True:
            self._noted.clear()
            waiting = self._waiting()
            if not waiting:
                await self._noted.wait()
                continue
            try:
                await self._erase(waiting)
            except IndexUnavailable as exc:
                _log.warning("what was taken down is removed from the disk later: %s", exc)
                await asyncio.sleep(RETRY_S)

    def _waiting(self) -> list[Takedown]:
        present = {(one.site_id, one.digest): one for one in self._takedowns.all()}
        self._erased &= present.keys()
        return [one for place, one in present.items() if place not in self._erased]

    async def _erase(self, takedowns: Iterable[Takedown]) -> None:
        """Raises IndexUnavailable."""
        by_site: dict[str, list[Takedown]] = {}
        for one in takedowns:
            by_site.setdefault(one.site_id, []).append(one)
        everywhere = by_site.pop(EVERYWHERE, [])
        on_disk = await self._disk.sites() if everywhere else []
        for site_id in dict.fromkeys((*by_site, *on_disk)):
            mine = [*by_site.get(site_id, ()), *everywhere]
            await self._erase_of(site_id, {one.digest for one in mine})
        self._erased |= {(one.site_id, one.digest) for one in takedowns}

    async def _erase_of(self, site_id: str, digests: set[str]) -> None:
        forms = digests | await self._chunks_of(site_id, digests) | await self._coded_forms_of(site_id, digests)

        def is_taken_down(stored: StoredResponse) -> bool:
            return stored.pulled is None and stored.key.digest in forms

        self.removed += await self._disk.sweep(site_id, self._view.position, is_taken_down, pause_s=PAUSE_S)

    async def _chunks_of(self, site_id: str, digests: set[str]) -> set[str]:
        """Chunks of larger contents: as far as deploys that are answered name them."""
        found = set[str]()
        for state in self._view.catalog.aliases(site_id).values():
            for deploy in (*((state.active,) if state.active else ()), *(one.deploy for one in state.retained)):
                try:
                    manifest = await self._manifests.load(site_id, deploy.manifest_digest)
                except ManifestUnavailable as exc:
                    _log.info("chunks of what was taken down stay until they are evicted: %s", exc)
                    continue
                for entry in manifest.files.values():
                    if entry.digest in digests:
                        found.update(entry.chunk_digests)
        return found

    async def _coded_forms_of(self, site_id: str, digests: set[str]) -> set[str]:
        found = set[str]()
        for variants_digest in self._view.catalog.variants_of(site_id).values():
            try:
                index = await self._variants.load(site_id, variants_digest)
                forms = [entry for digest in digests for entry in index.of(digest).values()]
            except CdnError as exc:
                _log.info("coded forms of what was taken down stay until they are evicted: %s", exc)
                continue
            for entry in forms:
                found.add(entry.digest)
                found.update(entry.chunk_digests)
        return found
