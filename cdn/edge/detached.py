"""What an alias answers from while the node has no lease and the site wants that to be validated (DESIGN I9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cachetools import LRUCache

from cdn.edge.clocks import Clocks
from cdn.edge.collapse import Shared
from cdn.edge.site_view import SiteView
from cdn.origin.activation import ActivationPointer, read_pointer
from cdn.origin.store import ObjectStore
from cdn.sites.deploy import AliasState, Deploy, Retained
from cdn.sites.site import Site

READ_EVERY_S = 1.0
"""A pointer is read at most so often: what was activated is shown within this time."""

DETACHED_RECALL_S = 1.0
"""How long a prepared response says that the node is detached: a lease may come back between two looks at it."""

MAX_ALIASES = 4_096
"""Aliases whose pointer is remembered for that time."""

Lease = Callable[[], float]
"""How many more seconds the node may serve without validating; 0 or less: it may not."""


@dataclass(frozen=True, slots=True)
class _Seen:
    read_at: float
    pointer: ActivationPointer | None
    own: AliasState | None
    state: AliasState | None


class DetachedAliases:
    """Asks the store, once for all who ask within a second."""

    def __init__(self, store: ObjectStore, view: SiteView, clocks: Clocks) -> None:
        self._store = store
        self._view = view
        self._clocks = clocks
        self._seen: LRUCache[tuple[str, str], _Seen] = LRUCache(MAX_ALIASES)
        self._reading: Shared[tuple[str, str], _Seen] = Shared()

    async def state(self, site: Site, alias: str, own: AliasState | None) -> AliasState | None:
        """What the alias answers from: `own`, which the node knows from the journal, or what was activated since.

        Raises StoreUnavailable.
        """
        key = (site.id, alias)
        seen = self._seen.get(key)
        if seen is None or seen.own is not own or self._clocks.monotonic() >= seen.read_at + READ_EVERY_S:
            seen = await self._reading.join(key, lambda: self._read(site, alias, own))
        return seen.state

    async def aclose(self) -> None:
        """Wait for what is under way."""
        await self._reading.aclose()

    async def _read(self, site: Site, alias: str, own: AliasState | None) -> _Seen:
        read_at = self._clocks.monotonic()
        pointer = await read_pointer(self._store, site.id, alias)
        before = self._seen.get((site.id, alias))
        if before is not None and before.pointer == pointer and before.own is own:
            seen = replace(before, read_at=read_at)  # the same state, by which retained files are kept
        else:
            seen = _Seen(read_at, pointer, own, self._state(site, alias, own, pointer))
        self._seen[site.id, alias] = seen
        return seen

    def _state(
        self, site: Site, alias: str, own: AliasState | None, pointer: ActivationPointer | None
    ) -> AliasState | None:
        if pointer is None:
            return own
        known = own or AliasState()
        epoch, sequence = pointer.position.epoch, pointer.position.sequence
        if known.active is not None and epoch == self._view.position.epoch and known.activated_sequence >= sequence:
            return own
        if known.active is not None and known.active.id == pointer.deploy_id:
            return own
        now = self._clocks.wall()
        deploy = Deploy(pointer.deploy_id, site.id, alias, pointer.manifest_digest, 0, 0, "", "", now, sequence)
        former = () if known.active is None else (Retained(known.active, now + site.settings.retention_s),)
        return replace(known, active=deploy, activated_sequence=sequence, retained=(*former, *known.retained))
