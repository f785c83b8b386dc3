"""Which blobs a site has proved by uploading them (DESIGN I7).

The proof is the object below the site's own prefix; this only keeps looking it up cheap. What was seen once is
remembered, so a redeploy of a large site costs no call to the store for what did not change.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from cdn.origin.layout import blob_key, blob_prefix, digest_of_blob_key
from cdn.origin.store import ObjectStore

HEAD_AT_MOST = 64
"""Up to this many unknown digests are looked up one by one; for more the prefix is listed."""
CONCURRENT_HEADS = 16
OBJECTS_PER_PAGE = 1000
"""What a page of a listing holds in S3: listing is cheaper while it reads fewer pages than there are digests."""


class Proofs:
    """Sizes of proven digests by site, the least recently used sites forgotten first."""

    def __init__(self, store: ObjectStore, max_digests: int) -> None:
        self._store = store
        self._max_digests = max_digests
        self._sites: OrderedDict[str, dict[bytes, int]] = OrderedDict()
        self._count = 0
        self._under_way: dict[object, tuple[str, set[str]]] = {}
        self._heads = asyncio.Semaphore(CONCURRENT_HEADS)

    def __len__(self) -> int:
        return self._count

    async def sizes(self, site_id: str, digests: Iterable[str]) -> dict[str, int]:
        """The sizes of those `digests` that the site has proved. Raises StoreUnavailable."""
        wanted = set(digests)
        known = self._known(site_id)
        sizes = {digest: size for digest in wanted if (size := known.get(bytes.fromhex(digest))) is not None}
        unknown = wanted - sizes.keys()
        if not unknown:
            return sizes
        found = await self._look_up_unforgotten(site_id, unknown)
        self._remember(site_id, found)
        return sizes | found

    def add(self, site_id: str, digest: str, size_bytes: int) -> None:
        """The site has just proved this digest."""
        self._remember(site_id, {digest: size_bytes})

    def forget(self, site_id: str, digest: str) -> bool:
        """The object is gone: the next question asks the store. Whether it was remembered.

        A look at the store that is under way may have seen the object before it went: it forgets it too.
        """
        for looked_at, forgotten in self._under_way.values():
            if looked_at == site_id:
                forgotten.add(digest)
        known = self._sites.get(site_id, {})
        is_known = known.pop(bytes.fromhex(digest), None) is not None
        self._count -= is_known
        return is_known

    def forget_site(self, site_id: str) -> None:
        """The site is gone."""
        self._count -= len(self._sites.pop(site_id, {}))

    async def _look_up_unforgotten(self, site_id: str, digests: set[str]) -> dict[str, int]:
        look, forgotten = object(), set[str]()
        self._under_way[look] = (site_id, forgotten)
        try:
            found = await self._look_up(site_id, digests)
        finally:
            del self._under_way[look]
        return {digest: size_bytes for digest, size_bytes in found.items() if digest not in forgotten}

    async def _look_up(self, site_id: str, digests: set[str]) -> dict[str, int]:
        if len(digests) <= HEAD_AT_MOST:
            return await self._heads_of(site_id, digests)
        found: dict[str, int] = {}
        remaining = set(digests)
        listed = 0
        async for facts in self._store.scan(blob_prefix(site_id)):
            listed += 1
            digest = digest_of_blob_key(facts.key)
            if digest in remaining:
                remaining.discard(digest)
                found[digest] = facts.size_bytes
                if not remaining:
                    return found
            if listed >= OBJECTS_PER_PAGE * len(digests):
                return found | await self._heads_of(site_id, {each for each in remaining if each > digest})
        return found

    async def _heads_of(self, site_id: str, digests: set[str]) -> dict[str, int]:
        async def head(digest: str) -> tuple[str, int] | None:
            async with self._heads:
                facts = await self._store.head(blob_key(site_id, digest))
            return None if facts is None else (digest, facts.size_bytes)

        pairs = await asyncio.gather(*(head(digest) for digest in digests))
        return dict(pair for pair in pairs if pair is not None)

    def _known(self, site_id: str) -> Mapping[bytes, int]:
        known = self._sites.get(site_id)
        if known is None:
            return {}
        self._sites.move_to_end(site_id)
        return known

    def _remember(self, site_id: str, sizes: Mapping[str, int]) -> None:
        known = self._sites.setdefault(site_id, {})
        self._sites.move_to_end(site_id)
        before = len(known)
        for digest, size_bytes in sizes.items():
            known[bytes.fromhex(digest)] = size_bytes
        self._count += len(known) - before
        while self._count > self._max_digests and len(self._sites) > 1:
            _, forgotten = self._sites.popitem(last=False)
            self._count -= len(forgotten)
        while self._count > self._max_digests:
            known.pop(next(iter(known)))
            self._count -= 1
