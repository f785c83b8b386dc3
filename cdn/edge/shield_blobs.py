"""What bundles consist of, asked of a shield before the store: manifests and chunks, checked by digest (DESIGN I5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cdn.edge.fetch import MAX_CONCURRENT, MAX_CONCURRENT_PER_SITE, BlobChunk, NearChunks, Turns, is_chunk
from cdn.edge.peer_fields import FLOOR
from cdn.edge.peer_paths import chunk_path, manifest_path
from cdn.edge.shield import Shield, ShieldBypassed, Shields
from cdn.fleet.position import Position
from cdn.http.fields import FieldLines
from cdn.http.response_head import ResponseHead
from cdn.origin.upstream import UpstreamBroken, UpstreamRequest
from cdn.sites.manifest import digest_of

MAX_MANIFEST_BYTES = 512 * 1024 * 1024
"""A longer answer is no manifest that control would have taken."""

READ_S = 30.0
"""How long a shield may be silent within the content: as long as the store."""

CHUNK_TIMEOUT_S = 45.0
"""For one chunk, the shield's own wait for the store included."""


class ShieldBlobs:
    """Asks the shield that a manifest or chunk belongs to. `own` answers where that is this node, or where none does.

    `may_ask` says whether a site's bytes may come by these shields (DESIGN I12).
    """

    def __init__(
        self,
        shields: Shields,
        *,
        position: Callable[[], Position],
        may_ask: Callable[[str], bool],
        own: NearChunks | None = None,
    ) -> None:
        self.damaged = 0
        """How often a shield sent something with another digest. Nothing of it was used."""
        self._shields = shields
        self._position = position
        self._may_ask = may_ask
        self._own = own
        self._turns = Turns(MAX_CONCURRENT, MAX_CONCURRENT_PER_SITE)

    async def chunk(self, wanted: BlobChunk, floor: int) -> bytes | None:
        """See NearChunks."""
        if wanted.start < wanted.stop:
            shield = self._chosen(wanted.site_id, wanted.chunk_digest)
            if shield is not None:
                async with self._turns.take(wanted.site_id):
                    content = await self._chunk_from(shield, wanted, floor)
                if content is not None:
                    return content
        return None if self._own is None else await self._own.chunk(wanted, floor)

    async def manifest(self, site_id: str, digest: str) -> bytes | None:
        """A site's manifest, checked; None: the store has to be asked."""
        shield = self._chosen(site_id, digest)
        if shield is None:
            return None
        raw = await self._ask(shield, site_id, manifest_path(site_id, digest), MAX_MANIFEST_BYTES)
        if raw is None or await asyncio.to_thread(digest_of, raw) == digest:
            return raw
        self._note_damage(shield)
        return None

    def _chosen(self, site_id: str, digest: str) -> Shield | None:
        return self._shields.choose(f"{site_id} {digest}") if self._may_ask(site_id) else None

    async def _chunk_from(self, shield: Shield, wanted: BlobChunk, floor: int) -> bytes | None:
        try:
            async with asyncio.timeout(CHUNK_TIMEOUT_S):
                content = await self._ask(
                    shield, wanted.site_id, chunk_path(wanted), wanted.stop - wanted.start, ((FLOOR, str(floor)),)
                )
        except TimeoutError:
            self._shields.note_bypass("shield-slow")
            return None
        if content is None or await is_chunk(content, wanted):
            return content
        self._note_damage(shield)
        return None

    async def _ask(
        self, shield: Shield, site_id: str, path: str, max_bytes: int, more: FieldLines = ()
    ) -> bytes | None:
        """All that it sends; None when that is nothing, not whole, or longer than `max_bytes`."""
        request = UpstreamRequest("GET", path, (("host", shield.endpoint.host),))
        try:
            response = await self._shields.ask(
                shield,
                request,
                site_id=site_id,
                required=self._position(),
                read_s=READ_S,
                on_interim=_ignore,
                more=more,
            )
        except ShieldBypassed as exc:
            self._shields.note_bypass(exc.detail)
            return None
        parts: list[bytes] = []
        left_bytes = max_bytes
        try:
            async for part in response.content:
                left_bytes -= len(part)
                if left_bytes < 0:
                    self._note_damage(shield)
                    return None
                parts.append(part)
        except UpstreamBroken as exc:
            self._shields.note_bypass(f"shield-{exc.fault.value}")
            return None
        finally:
            await response.content.aclose()
        return b"".join(parts)

    def _note_damage(self, shield: Shield) -> None:
        self.damaged += 1
        self._shields.note_damage(shield)


def _ignore(head: ResponseHead) -> None:
    del head
