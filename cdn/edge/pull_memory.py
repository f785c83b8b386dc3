"""Hits of pull sites, prepared: found by what the request says, forgotten by key.

A response that Vary applies to is one of several under its key. What Vary names is remembered by key, so that a
request leads to the prepared response without a look at what is stored.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from cdn.edge.memory_tier import MemoryTier
from cdn.edge.prepared import Prepared
from cdn.edge.pull_key import PullKey
from cdn.http.content_coding import CODINGS, preferred_coding
from cdn.http.fields import Fields
from cdn.http.vary import selecting

MAX_KEYS = 131_072
"""Keys whose way of selecting is remembered: about 60 MiB at worst, and more than the prepared responses that fit."""

MAX_SELECTIONS = 64
"""Prepared responses of one key: a client that makes up values of a field must not fill the tier with them."""

MAX_FORGOTTEN = 4096
"""Keys remembered as forgotten lately; what takes longer to be prepared than so many others to be forgotten, is not."""

WHOLE_SITE = ""
"""Stands for every key of a site where one is told to be forgotten: no key is empty."""

MAX_SELECTION_LENGTH = 128
"""Characters of what selecting fields say; of more a digest is kept."""


@dataclass(slots=True)
class _Way:
    """How requests for one key are told apart."""

    names: tuple[str, ...]
    is_coded: bool
    selections: set[str] = field(default_factory=set)


class PullMemory:
    """The part of the memory tier that pull sites use.

    Whatever makes prepared responses unusable here without a record of the journal is numbered and told to `on_forget`
    (site, path of the key's place or WHOLE_SITE, number), also when nothing was kept: other processes that were given
    such responses forget them too.
    """

    def __init__(self, tier: MemoryTier[Prepared], max_keys: int = MAX_KEYS) -> None:
        self._tier = tier
        self._max_keys = max_keys
        self._ways: OrderedDict[tuple[str, str], _Way] = OrderedDict()
        self._forgets = 0
        self._forgotten: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._forgotten_before = 0
        self.on_forget: Callable[[str, str, int], None] = lambda site_id, path, number: None

    def get(self, key: PullKey, fields: Fields) -> Prepared | None:
        """The prepared response for a request; ask it whether it may still be used."""
        place = key.place
        way = self._ways.get(place)
        if way is None:
            return None
        return self._tier.get((place[0], _selection(way.names, way.is_coded, fields), place[1]))

    def way(self, key: PullKey) -> tuple[tuple[str, ...], bool] | None:
        """How requests for a key are told apart: what Vary names, and whether the content coding counts as well."""
        way = self._ways.get(key.place)
        return None if way is None else (way.names, way.is_coded)

    def mark(self) -> int:
        """A moment, for `put`."""
        return self._forgets

    def put(  # noqa: PLR0917 - what a hit is found by, part by part
        self, key: PullKey, names: tuple[str, ...], is_coded: bool, fields: Fields, prepared: Prepared, since: int
    ) -> None:
        """Keep a response for requests whose fields select like `fields`.

        `names` is what Vary names; with `is_coded` the content coding that the client prefers counts as well. `since`
        is the mark of before it was looked for: when the key has been forgotten after it, nothing is kept, because
        the response may be what it was forgotten for.
        """
        place = key.place
        if since < max(self._forgotten.get(place, 0), self._forgotten_before):
            return
        way = self._ways.get(place)
        if way is None or way.names != names or way.is_coded != is_coded or len(way.selections) >= MAX_SELECTIONS:
            self._forget_place(place)
            way = self._ways[place] = _Way(names, is_coded)
        self._ways.move_to_end(place)
        prepared.selecting = names
        selection = _selection(names, is_coded, fields)
        if self._tier.put((place[0], selection, place[1]), prepared):
            way.selections.add(selection)
        while len(self._ways) > self._max_keys:
            self._forget_place(next(iter(self._ways)))

    def forget(self, key: PullKey) -> None:
        """Nothing that was prepared under this key is sent any more."""
        place = key.place
        self.forget_at(place, self._forgets + 1)
        self.on_forget(*place, self._forgets)

    def forget_site(self, site_id: str) -> None:
        """The site was given a new generation without a record: nothing prepared is left, and others are to know."""
        self._forgets += 1
        self.on_forget(site_id, WHOLE_SITE, self._forgets)

    def forget_at(self, place: tuple[str, str], number: int) -> None:
        """Like `forget` for a place (`PullKey.place`), as another process numbered it. Numbers only rise."""
        self._forget_place(place)
        self._forgets = number
        self._forgotten[place] = number
        self._forgotten.move_to_end(place)
        if len(self._forgotten) > MAX_FORGOTTEN:
            _, self._forgotten_before = self._forgotten.popitem(last=False)

    def drop_site(self, site_id: str) -> None:
        """The site is gone."""
        for place in [place for place in self._ways if place[0] == site_id]:
            self._forget_place(place)

    def _forget_place(self, place: tuple[str, str]) -> None:
        way = self._ways.pop(place, None)
        for selection in way.selections if way is not None else ():
            self._tier.drop((place[0], selection, place[1]))


def _selection(names: tuple[str, ...], is_coded: bool, fields: Fields) -> str:
    """The alias part of the memory tier's key: a pull site has no aliases. It starts with what no alias can be."""
    coding = preferred_coding(fields.get("accept-encoding"), CODINGS) if is_coded else None
    if not names:
        return f"?{coding}"
    said = repr(selecting(names, fields))
    if len(said) > MAX_SELECTION_LENGTH:  # kept for each selection of each key, and visitors write it
        said = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
    return f"?{coding}{said}"
