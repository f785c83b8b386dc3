"""An object store in memory that takes its time, and at times does not answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

from cdn.origin.store import (
    ObjectFacts,
    ObjectMissing,
    PresignedPut,
    PutOutcome,
    StoreUnavailable,
    UploadTarget,
)


class Objects:
    """What is in the store, whoever looks."""

    def __init__(self) -> None:
        self.content: dict[str, tuple[bytes, int]] = {}
        self.writes = 0


class SimulatedStore:
    """One machine's way to the store. A write whose answer was lost may have happened."""

    def __init__(self, objects: Objects, rng: random.Random) -> None:
        self.is_away = False
        self._objects = objects
        self._rng = rng

    async def put(
        self, key: str, content: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> PutOutcome:
        await self._way()
        present = self._objects.content.get(key)
        if (if_absent and present is not None) or (
            if_match is not None and (present is None or str(present[1]) != if_match)
        ):
            outcome = PutOutcome.PRECONDITION_FAILED
        else:
            self._objects.writes += 1
            self._objects.content[key] = (content, self._objects.writes)
            outcome = PutOutcome.STORED
        await self._way()
        return outcome

    async def get(self, key: str) -> bytes:
        await self._way()
        found = self._objects.content.get(key)
        await self._way()
        if found is None:
            raise ObjectMissing(f"no object {key}")
        return found[0]

    async def get_range(self, key: str, start: int, stop: int) -> bytes:
        return (await self.get(key))[start:stop]

    async def head(self, key: str) -> ObjectFacts | None:
        await self._way()
        found = self._objects.content.get(key)
        await self._way()
        return None if found is None else ObjectFacts(key, len(found[0]), str(found[1]))

    async def scan(self, prefix: str) -> AsyncIterator[ObjectFacts]:
        await self._way()
        for key in sorted(key for key in self._objects.content if key.startswith(prefix)):
            content, tag = self._objects.content[key]
            yield ObjectFacts(key, len(content), str(tag))

    async def delete(self, key: str) -> None:
        await self._way()
        self._objects.content.pop(key, None)

    async def put_stream(self, target: UploadTarget, content: AsyncIterator[bytes]) -> None:
        await self.put(target.key, b"".join([piece async for piece in content]), if_absent=True)

    async def takes_direct_uploads(self) -> bool:
        return False

    async def presign(self, targets: Sequence[UploadTarget], *, expires_s: int) -> list[PresignedPut]:
        raise StoreUnavailable("nothing is presigned here")

    async def aclose(self) -> None:
        pass

    async def _way(self) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, 0.01))
        if self.is_away:
            await asyncio.sleep(self._rng.uniform(0.0, 0.5))
            raise StoreUnavailable("the store does not answer")
