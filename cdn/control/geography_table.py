"""The table of places for name servers: its bytes in the object store, its digest in the journal."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from cdn.control.state import ControlState
from cdn.errors import NotFound, Unavailable
from cdn.journal.record import GeographySet, Record
from cdn.journal.zone_fold import ZoneFold
from cdn.origin.store import ObjectMissing, ObjectStore, UploadTarget

PREFIX = "control/geography/"

PIECE_BYTES = 1024 * 1024
"""Read from the store at once while a table is handed out."""

log = logging.getLogger(__name__)


class GeographyTable:
    """The bytes are durable in the store before the record that names them. The table before the present one stays
    there too, for a name server that is still fetching it."""

    def __init__(self, store: ObjectStore, state: ControlState, zones: ZoneFold) -> None:
        self._store = store
        self._state = state
        self._zones = zones

    @property
    def present(self) -> GeographySet:
        """What name servers go by; the digest "" stands for the table that comes with the program."""
        return self._zones.geography or GeographySet("", 0, "")

    async def replace(
        self, digest: str, size_bytes: int, note: str, content: AsyncIterator[bytes], actor: str
    ) -> Record:
        """Keep the content and make it what name servers go by.

        Raises DigestMismatch, and then nothing has changed; Unavailable, and as `ControlState.append`.
        """
        await self._store.put_stream(UploadTarget(_key(digest), digest, size_bytes), content)
        former = self.present.digest
        record = await self._state.append("geography", lambda: GeographySet(digest, size_bytes, note), actor)
        await self._forget(keep=(digest, former, self.present.digest))
        if await self._store.head(_key(digest)) is None:
            # Another upload, which was recorded between our bytes and our record, took ours for an old one.
            raise Unavailable("Two tables were uploaded at one time: send this one again.")
        return record

    async def reset(self, actor: str) -> Record:
        """Name servers go by the table that comes with the program. Raises as `ControlState.append`."""
        former = self.present.digest
        record = await self._state.append("geography", lambda: GeographySet("", 0, ""), actor)
        await self._forget(keep=(former, self.present.digest))
        return record

    async def size_bytes(self, digest: str) -> int:
        """Of a table that is in the store. Raises NotFound, StoreUnavailable."""
        facts = await self._store.head(_key(digest))
        if facts is None:
            raise NotFound(f"There is no table with the digest {digest} (any more).")
        return facts.size_bytes

    async def pieces(self, digest: str, size_bytes: int) -> AsyncIterator[bytes]:
        """The table's bytes in order. Raises NotFound, StoreUnavailable."""
        for start in range(0, size_bytes, PIECE_BYTES):
            try:
                yield await self._store.get_range(_key(digest), start, min(start + PIECE_BYTES, size_bytes))
            except ObjectMissing as error:
                raise NotFound(f"The table with the digest {digest} was replaced meanwhile.") from error

    async def _forget(self, keep: tuple[str, ...]) -> None:
        """Tables that nobody needs any more are removed; what cannot be now is with the next one."""
        kept = {_key(digest) for digest in keep}
        try:
            for key in [facts.key async for facts in self._store.scan(PREFIX)]:
                if key not in kept:
                    await self._store.delete(key)
        except Unavailable as error:
            log.info("former tables of places are removed later: %s", error)


def _key(digest: str) -> str:
    return f"{PREFIX}{digest}"
