"""Keeps the activation pointers of sites that want to be validated when a node is cut off (DESIGN I8, I9)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cachetools import LRUCache

from cdn.errors import Unavailable
from cdn.fleet.position import Position
from cdn.journal.record import DeployActivated, Purged, Record
from cdn.origin.activation import ActivationPointer, write_pointer
from cdn.origin.layout import activation_key
from cdn.origin.store import ObjectStore
from cdn.sites.catalog import Catalog
from cdn.sites.deploy import AliasState

MAX_KNOWN = 100_000
"""Aliases whose pointer is known to be written; one that was forgotten costs a look into the store."""

log = logging.getLogger(__name__)


class ActivationPointers:
    """Writes a pointer when a receipt depends on it.

    A preview with a password or an end has none: a node that goes by a pointer would not know of them.
    """

    def __init__(self, store: ObjectStore, catalog: Callable[[], Catalog]) -> None:
        self._store = store
        self._catalog = catalog
        self._written: LRUCache[tuple[str, str], Position] = LRUCache(MAX_KNOWN)

    async def validates_from(self, record: Record) -> Position | None:
        """From which record on nodes know that they have to validate what `record` changed, once they lose control.

        None: they serve, or validating does not show them this change, or the store does not take the pointer now.
        """
        change = record.change
        if not isinstance(change, DeployActivated | Purged):
            return None
        site = self._catalog().site(change.site_id)
        if site is None or not site.settings.validates_on_detach:
            return None
        if isinstance(change, DeployActivated):
            try:
                if not await self._ensure(change.site_id, change.alias, record.position.epoch):
                    return None
            except Unavailable as exc:
                log.warning("site %s: no node counts as fenced: %s", site.name, exc)
                return None
        return Position(record.position.epoch, site.settings_sequence)

    async def remove(self, site_id: str, alias: str) -> None:
        """Nodes that lost control go by what they know of the alias. Raises StoreUnavailable."""
        self._written.pop((site_id, alias), None)
        await self._store.delete(activation_key(site_id, alias))

    async def _ensure(self, site_id: str, alias: str, epoch: str) -> bool:
        """Whether the pointer says what the alias answers from, or something later."""
        state = self._catalog().alias(site_id, alias)
        if state is None or state.active is None or not _may_be_pointed_at(state):
            return False
        position = Position(epoch, state.activated_sequence)
        written = self._written.get((site_id, alias))
        if written is not None and written.covers(position):
            return True
        pointer = ActivationPointer(position, state.active.id, state.active.manifest_digest)
        await write_pointer(self._store, site_id, alias, pointer)
        present = self._catalog().alias(site_id, alias)
        if present is None or not _may_be_pointed_at(present):
            # It was set meanwhile, and the pointer removed too early.
            await self.remove(site_id, alias)
            return False
        self._written[site_id, alias] = position
        return True


def _may_be_pointed_at(state: AliasState) -> bool:
    return not state.password and state.expires_at is None
