"""What the event loop knows of pulled responses without asking the index: all that are stored under a primary key."""

from __future__ import annotations

from collections import OrderedDict

from cdn.edge.stored import StoredResponse

MAX_KNOWN_FAMILIES = 32_768
"""Primary keys remembered, with or without responses: a walk over all of them stays in the tens of milliseconds."""

MAX_KNOWN_BYTES = 96 * 1024 * 1024
"""What their responses may take in memory, counted roughly: some 30,000 with heads of 25 fields."""

RESPONSE_BYTES = 1024
"""A response in memory beside its texts."""

TEXT_BYTES = 60
"""What a text takes in memory beside its characters."""

Family = tuple[str, str]
"""(site id, primary key)."""


class KnownFamilies:
    """Recently asked primary keys with their responses. Bounded, least recently used first.

    A lookup announces itself with `begin`; when anything of its family changes before it ends, `end` refuses what it
    found, since that may be from before the change.
    """

    def __init__(self, max_families: int = MAX_KNOWN_FAMILIES, max_bytes: int = MAX_KNOWN_BYTES) -> None:
        self._max_families = max_families
        self._max_bytes = max_bytes
        self._known: OrderedDict[Family, tuple[StoredResponse, ...]] = OrderedDict()
        self._bytes = 0
        self._looking: dict[Family, bool] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, family: Family) -> tuple[StoredResponse, ...] | None:
        """Its responses, None when they are not known."""
        found = self._known.get(family)
        if found is not None:
            self._known.move_to_end(family)
        return found

    def begin(self, family: Family) -> None:
        """A lookup begins; there is one at a time for a family."""
        self._looking[family] = True

    def end(self, family: Family, found: tuple[StoredResponse, ...]) -> bool:
        """A lookup found this: remember it, or say that it has to look again."""
        if not self._looking.pop(family):
            return False
        self._put(family, found)
        return True

    def give_up(self, family: Family) -> None:
        """A lookup failed."""
        self._looking.pop(family, None)

    def look_again(self, family: Family) -> None:
        """What a running lookup has read may be from before a change."""
        if family in self._looking:
            self._looking[family] = False

    def forget(self, family: Family) -> None:
        """Something has changed: it has to be looked up again."""
        self.look_again(family)
        dropped = self._known.pop(family, None)
        if dropped is not None:
            self._bytes -= _weight(family, dropped)

    def replace(self, incarnation: int, family: Family, now: StoredResponse | None) -> None:
        """One of a family's responses is like this now, or gone; a running lookup looks again."""
        found = self._known.get(family)
        self.forget(family)
        if found is not None:
            changed = (now if each.incarnation == incarnation else each for each in found)
            self._put(family, tuple(each for each in changed if each is not None))

    def forget_site(self, site_id: str) -> None:
        """Anything of a site may have changed."""
        for family in [*self._known, *self._looking]:
            if family[0] == site_id:
                self.forget(family)

    def clear(self) -> None:
        """Know nothing."""
        self._known.clear()
        self._bytes = 0
        for family in self._looking:
            self._looking[family] = False

    def _put(self, family: Family, found: tuple[StoredResponse, ...]) -> None:
        self._known[family] = found
        self._bytes += _weight(family, found)
        while len(self._known) > self._max_families or (self._bytes > self._max_bytes and len(self._known) > 1):
            oldest, dropped = self._known.popitem(last=False)
            self._bytes -= _weight(oldest, dropped)


def _weight(family: Family, found: tuple[StoredResponse, ...]) -> int:
    """Also one without responses: visitors write its key."""
    return TEXT_BYTES + len(family[1]) + sum(_weight_of(stored) for stored in found)


def _weight_of(stored: StoredResponse) -> int:
    texts = [*stored.names, *stored.tags, stored.key.path]
    if stored.pulled is not None:
        texts += [text for line in stored.pulled.head.fields.lines for text in line]
        texts += [value or "" for _, value in stored.pulled.selecting]
    texts += stored.entry.chunk_digests
    return RESPONSE_BYTES + sum(TEXT_BYTES + len(text) for text in texts)
