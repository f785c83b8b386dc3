"""The memory tier: prepared responses, bounded in bytes; the least recently used goes first.

It knows nothing of floors or deploys: whoever takes a value out asks the value itself whether it may still be used.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

ENTRY_OVERHEAD_BYTES = 600
"""What an entry costs beside its value: its place in two maps, the key's strings."""

SITE_SHARE = 0.5
"""The part of the tier that one site may fill, so that a crawl over one site cannot empty all others (DESIGN I10)."""

MemoryKey = tuple[str, str, str]
"""(site_id, alias, path of the target). A plain tuple: a lookup by one costs a seventh of one by a dataclass."""


class Kept(Protocol):
    """A value that knows its cost and is told when it is given up."""

    @property
    def cost_bytes(self) -> int: ...

    def retire(self) -> None: ...


V = TypeVar("V", bound=Kept)


@dataclass(slots=True)
class _Shelf(Generic[V]):
    """One site's part, in the order of its own use."""

    values: OrderedDict[MemoryKey, tuple[V, int]]
    cost_bytes: int = 0


class MemoryTier(Generic[V]):
    """A bounded map from MemoryKey. `get` and `put` take time that does not depend on how much is kept.

    A value that leaves (evicted, replaced, dropped) is retired: copies of the reference elsewhere become unusable, so
    the bound holds for them as well.
    """

    def __init__(self, max_bytes: int, *, site_share: float = SITE_SHARE) -> None:
        self.max_bytes = max_bytes
        self.max_site_bytes = int(max_bytes * site_share)
        self.cost_bytes = 0
        self.evicted = 0
        self._order: OrderedDict[MemoryKey, None] = OrderedDict()
        self._shelves: dict[str, _Shelf[V]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def get(self, key: MemoryKey) -> V | None:
        """The value, which becomes the most recently used."""
        shelf = self._shelves.get(key[0])
        if shelf is None:
            return None
        found = shelf.values.get(key)
        if found is None:
            return None
        shelf.values.move_to_end(key)
        self._order.move_to_end(key)
        return found[0]

    def put(self, key: MemoryKey, value: V) -> bool:
        """Keep `value`, evicting others for it. False when it is larger than a site's share; then it is not kept.

        A value that was not kept is not retired: the caller may still send it.
        """
        cost = value.cost_bytes + ENTRY_OVERHEAD_BYTES + len(key[2])
        self.drop(key, unless=value)
        if cost > self.max_site_bytes:
            return False
        shelf = self._shelves.get(key[0])
        while shelf is not None and shelf.cost_bytes + cost > self.max_site_bytes:
            self._evict(next(iter(shelf.values)))
            shelf = self._shelves.get(key[0])
        while self.cost_bytes + cost > self.max_bytes:
            self._evict(next(iter(self._order)))
        shelf = self._shelves.setdefault(key[0], _Shelf(OrderedDict()))
        shelf.values[key] = (value, cost)
        shelf.cost_bytes += cost
        self._order[key] = None
        self.cost_bytes += cost
        return True

    def drop(self, key: MemoryKey, *, unless: V | None = None) -> None:
        """Forget one value; it is retired, except when it is `unless`."""
        shelf = self._shelves.get(key[0])
        if shelf is None:
            return
        found = shelf.values.pop(key, None)
        if found is None:
            return
        value, cost = found
        del self._order[key]
        self.cost_bytes -= cost
        shelf.cost_bytes -= cost
        if not shelf.values:
            del self._shelves[key[0]]
        if value is not unless:
            value.retire()

    def drop_site(self, site_id: str) -> None:
        """Forget all of one site's values. Takes time in proportion to them: for removing a site, never for a purge."""
        shelf = self._shelves.get(site_id)
        for key in tuple(shelf.values) if shelf is not None else ():
            self.drop(key)

    def clear(self) -> None:
        """Forget everything."""
        for site_id in tuple(self._shelves):
            self.drop_site(site_id)

    def _evict(self, key: MemoryKey) -> None:
        self.drop(key)
        self.evicted += 1
