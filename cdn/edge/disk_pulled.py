"""The disk tier's responses of pull sites: found by primary key, updated by validation, dropped at once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cdn.edge import disk_rows as rows
from cdn.edge.collapse import Shared
from cdn.edge.disk_families import Family, KnownFamilies
from cdn.edge.disk_holds import HeldFiles
from cdn.edge.disk_index import DiskIndex, IndexUnavailable
from cdn.edge.disk_pulled_head import pack_head
from cdn.edge.disk_rows import Gone
from cdn.edge.disk_writes import Remove, UpdateHead, file_names
from cdn.edge.stored import PulledHead, StoredResponse, StoreOutcome
from cdn.fleet.position import Position

MAX_UNWRITTEN = 65_536
"""Changes known here that the index has not taken yet, or could not take; beyond it the oldest are forgotten."""


class PulledResponses:
    """What is stored for pull sites, as the index has it with what it is about to take.

    Whatever the writer reports makes a family unknown here, and the next request looks it up: the order of reports does
    not matter. Changes made on this side (`update_head`, `drop`) hold from the moment they are made.
    """

    def __init__(self, index: DiskIndex, files: HeldFiles, pool: ThreadPoolExecutor) -> None:
        self._index = index
        self._files = files
        self._pool = pool
        self._families = KnownFamilies()
        self._lookups: Shared[Family, tuple[StoredResponse, ...]] = Shared()
        self._is_closed = False
        self._unwritten: OrderedDict[int, StoredResponse | None] = OrderedDict()

    async def find_all(self, site_id: str, path: str) -> tuple[StoredResponse, ...]:
        """All that are stored under a primary key, newest incarnation first; () when the index cannot be read."""
        family = (site_id, path)
        found = self._families.get(family)
        if found is not None:
            return found
        try:
            return await self._lookups.join(family, lambda: self._look_up(family))
        except IndexUnavailable:
            return ()

    async def _look_up(self, family: Family) -> tuple[StoredResponse, ...]:
        while True:
            self._families.begin(family)
            try:
                stored = await self._index.read(_family_query(family))
            except BaseException:
                self._families.give_up(family)
                raise
            found = tuple(self._as_it_stands(stored))
            if self._families.end(family, found):
                return found

    def _as_it_stands(self, stored: Iterable[StoredResponse]) -> Iterable[StoredResponse]:
        for each in stored:
            now = self._unwritten.get(each.incarnation, each)
            if now is not None:
                yield now

    async def update_head(  # noqa: PLR0917 - a response's new state, part by part
        self,
        stored: StoredResponse,
        pulled: PulledHead,
        names: tuple[str, ...],
        tags: tuple[str, ...],
        admitted: Position,
        validated_at: float,
        hard: int,
    ) -> StoredResponse | None:
        """See DiskTier.update_head."""
        current = next(
            (
                each
                for each in await self.find_all(stored.key.site_id, stored.key.path)
                if each.incarnation == stored.incarnation
            ),
            None,
        )
        if current is None or current.pulled is None or current.is_below(hard, admitted.epoch):
            return None
        if validated_at < current.validated_at:
            return current
        if current.admitted.covers(admitted):
            admitted = current.admitted
        if pack_head(pulled) is None:
            return None
        again = replace(
            current,
            pulled=pulled,
            names=names,
            tags=tags,
            admitted=admitted,
            validated_at=validated_at,
        )
        if self._index.is_busy:
            self._families.replace(again.incarnation, (again.key.site_id, again.key.path), again)
        else:
            self._change(again, again, UpdateHead(again))
        return again

    def drop(self, stored: StoredResponse) -> None:
        """See DiskTier.drop."""
        remove = Remove((stored.incarnation,))
        self._change(stored, None, remove).add_done_callback(lambda done: self._dropped(stored, done))

    def _change(
        self, stored: StoredResponse, now: StoredResponse | None, write: UpdateHead | Remove
    ) -> asyncio.Future[StoreOutcome]:
        incarnation = stored.incarnation
        self._families.replace(incarnation, (stored.key.site_id, stored.key.path), now)
        self._unwritten[incarnation] = now
        self._unwritten.move_to_end(incarnation)
        if len(self._unwritten) > MAX_UNWRITTEN:
            self._unwritten.popitem(last=False)
        done = self._index.hand_over(write)
        done.add_done_callback(lambda each: self._written(stored, now, each))
        return done

    def _written(self, stored: StoredResponse, now: StoredResponse | None, done: asyncio.Future[StoreOutcome]) -> None:
        incarnation = stored.incarnation
        # What the index could not take goes on counting here, for as long as this process remembers it.
        is_written = not done.cancelled() and done.result() is StoreOutcome.STORED
        if is_written and incarnation in self._unwritten and self._unwritten[incarnation] is now:
            del self._unwritten[incarnation]
            # A lookup that read before it was written would not find it here any more.
            self._families.look_again((stored.key.site_id, stored.key.path))

    def _dropped(self, stored: StoredResponse, done: asyncio.Future[StoreOutcome]) -> None:
        if done.cancelled() or done.result() is StoreOutcome.STORED or self._is_closed:
            return
        # A disk that takes no writes still lets go of files: without them the response does not outlive this process.
        for name in file_names(stored):
            self._pool.submit(self._files.remove, name)

    # What the index reports

    def entered(self, entered: list[StoredResponse]) -> None:
        """These came in."""
        for stored in entered:
            self._families.forget((stored.key.site_id, stored.key.path))

    def drop_gone(self, gone: list[Gone]) -> None:
        """These left."""
        for each in gone:
            self._unwritten.pop(each.incarnation, None)
            if each.key is not None:
                self._families.forget((each.key.site_id, each.key.path))

    def forget_site(self, site_id: str) -> None:
        """A site was swept."""
        self._families.forget_site(site_id)

    def clear(self) -> None:
        """The index was begun anew."""
        self._families.clear()
        self._unwritten.clear()

    async def aclose(self) -> None:
        """Wait for lookups under way; the threads are about to end."""
        self._is_closed = True
        await self._lookups.aclose()


def _family_query(family: Family) -> Callable[[sqlite3.Connection], list[StoredResponse]]:
    fingerprint = rows.family_of(*family)

    def query(connection: sqlite3.Connection) -> list[StoredResponse]:
        return [rows.read_stored(row) for row in connection.execute(rows.SELECT_BY_FAMILY, (fingerprint,))]

    return query
