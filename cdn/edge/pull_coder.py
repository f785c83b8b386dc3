"""Coded forms of stored responses: made once, when they are first wanted, and stored beside the identity form."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace

from cdn.edge.collapse import Shared
from cdn.edge.disk_tier import DiskTier
from cdn.edge.encoder import SMALL_BYTES, claim, may_start
from cdn.edge.pull_shelf import Held, PullShelf
from cdn.edge.stored import StoredKey, StoredResponse, StoreOutcome
from cdn.fleet.position import Position
from cdn.sites.manifest import CHUNK_BYTES

MAX_USELESS = 65_536
"""Responses remembered that do not get smaller; one that was forgotten is tried once more."""

RETRY_S = 30.0
"""A coded form that found no room on the disk is made again no sooner: each request would cost an encoding."""

MAX_UNKEPT = 4096
"""Those remembered; one that was forgotten is tried once more."""

Place = tuple[int, str]
"""(incarnation of the identity form, coding)."""


class PullCoder:
    """Finds coded forms, and makes those that are missing."""

    def __init__(self, disk: DiskTier, shelf: PullShelf) -> None:
        self._disk = disk
        self._shelf = shelf
        self._making: Shared[Place, StoredResponse | None] = Shared()
        self._behind: dict[Place, asyncio.Task[StoredResponse | None]] = {}
        self._useless: OrderedDict[Place, None] = OrderedDict()
        self._unkept: OrderedDict[Place, float] = OrderedDict()

    async def coded(self, held: Held, coding: str) -> StoredResponse | None:
        """The coded form; None when the identity form is to be sent, now or for good.

        Small content is waited for; larger content is encoded behind the visitor's back.
        """
        found = await self._shelf.coded(held, coding)
        place = (held.stored.incarnation, coding)
        if found is not None or place in self._useless:
            return found
        size_bytes = held.stored.entry.size_bytes
        if not may_start(size_bytes) or asyncio.get_running_loop().time() < self._unkept.get(place, 0.0):
            return None
        if size_bytes <= SMALL_BYTES:
            return await self._making.join(place, lambda: self._make(held, coding))
        if place not in self._behind:
            task = asyncio.create_task(self._make(held, coding), name=f"encode {held.key.site_id}")
            self._behind[place] = task
            task.add_done_callback(lambda done: self._behind.pop(place, None))
        return None

    def is_useless(self, held: Held, coding: str) -> bool:
        """Whether the coded form is known not to be smaller."""
        return (held.stored.incarnation, coding) in self._useless

    async def aclose(self) -> None:
        """End what is under way."""
        for task in tuple(self._behind.values()):
            task.cancel()
        await asyncio.gather(*self._behind.values(), return_exceptions=True)
        await self._making.aclose()

    async def _make(self, held: Held, coding: str) -> StoredResponse | None:
        stored = held.stored
        room = claim(stored.entry.size_bytes)
        if room is None:
            return None
        with room:
            chunks = [await self._disk.read_chunk(stored, number) for number in range(stored.file_count)]
            if any(chunk is None for chunk in chunks):
                return None
            content = await room.encode(b"".join(chunk for chunk in chunks if chunk is not None), coding)
        if content is None:
            self._note_useless((stored.incarnation, coding))
            return None
        kept = await self._keep(held, coding, content)
        if kept is None:
            self._note_unkept((stored.incarnation, coding))
        return kept

    async def _keep(self, held: Held, coding: str, content: bytes) -> StoredResponse | None:
        stored = held.stored
        # What has been replaced meanwhile needs no coded form, and its would take the place of the newer one's.
        if all(each.incarnation != stored.incarnation for each in await self._shelf.under(held.key)):
            return None
        sink = self._disk.new_content(StoredKey(stored.key.site_id, stored.key.path, f"{stored.key.digest}-{coding}"))
        try:
            for number, start in enumerate(range(0, len(content), CHUNK_BYTES)):
                if await sink.write(number, content[start : start + CHUNK_BYTES]) is not StoreOutcome.STORED:
                    return None
            pulled = replace(held.pulled, coding=coding, base_incarnation=stored.incarnation)
            coded = sink.stored_with(replace(stored, pulled=pulled))

            def may_store(admitted: Position) -> bool:
                return not self._shelf.is_below_hard(held.key, stored)

            return coded if await sink.enter(coded, may_store) is StoreOutcome.STORED else None
        finally:
            await sink.abandon()

    def _note_unkept(self, place: Place) -> None:
        self._unkept.pop(place, None)
        self._unkept[place] = asyncio.get_running_loop().time() + RETRY_S
        if len(self._unkept) > MAX_UNKEPT:
            self._unkept.popitem(last=False)

    def _note_useless(self, place: Place) -> None:
        self._useless[place] = None
        if len(self._useless) > MAX_USELESS:
            self._useless.popitem(last=False)
