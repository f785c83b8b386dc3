"""The floors of one site (DESIGN I1, I2)."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any, assert_never

from cdn.http.decide import NOTHING_REQUIRED, Required
from cdn.http.tag import OVERFLOW_TAG
from cdn.purge.limits import FloorLimits
from cdn.purge.scope import EVERYTHING, Scope, ScopeKind


class SiteFloors:
    """The floors of one site. Stays the same object as long as the site exists; hold it freely."""

    __slots__ = ("_everything", "_limits", "_prefix_lengths", "_prefixes", "_tags", "_urls")

    def __init__(self, horizon: int = 0, limits: FloorLimits | None = None) -> None:
        self._limits = limits or FloorLimits()
        self._everything = NOTHING_REQUIRED
        self._urls: dict[str, Required] = {}
        self._prefixes: dict[str, Required] = {}
        self._tags: dict[str, Required] = {}
        self._prefix_lengths: list[int] = []
        self.raise_floor(EVERYTHING, horizon, soft=False)

    def __len__(self) -> int:
        """Narrow floors kept."""
        return len(self._urls) + len(self._prefixes) + len(self._tags)

    def required(self, names: tuple[str, ...], tags: tuple[str, ...]) -> Required:
        """What the floors demand of a response that answers `names` and carries `tags`.

        The cost depends on the number of names, tags and distinct lengths of prefixes, never on what is stored.
        """
        everything = self._everything
        if not (self._urls or self._prefixes or self._tags):
            return everything
        hard, soft = everything.hard, everything.soft
        if self._urls:
            for name in names:
                floor = self._urls.get(name)
                if floor is not None:
                    hard, soft = max(hard, floor.hard), max(soft, floor.soft)
        for length in self._prefix_lengths:
            for name in names:
                floor = self._prefixes.get(name[:length])
                if floor is not None:
                    hard, soft = max(hard, floor.hard), max(soft, floor.soft)
        if self._tags:
            for tag in tags:
                floor = self._tags.get(tag)
                if floor is not None:
                    hard, soft = max(hard, floor.hard), max(soft, floor.soft)
        return Required(hard, soft)

    @property
    def sweepable(self) -> int:
        """The highest hard floor, 0 without any: a sweep frees something only if this is above the last one."""
        return max(floor.hard for floor in self._all())

    def required_with_any_query(self, path: str) -> Required:
        """What the floors demand of a response that may answer `path` with one query or another.

        It looks at every floor of a URL or a prefix: for sweeps, not for requests.
        """
        start, hard, soft = path + "?", 0, 0
        for name, floor in chain(self._urls.items(), self._prefixes.items()):
            if name.startswith(start):
                hard, soft = max(hard, floor.hard), max(soft, floor.soft)
        return Required(hard, soft)

    @property
    def is_empty(self) -> bool:
        """Nothing is demanded."""
        return self._everything == NOTHING_REQUIRED and not len(self)

    def raise_floor(self, scope: Scope, sequence: int, soft: bool) -> None:
        """Demand `sequence` of everything in `scope`. A sequence below what is demanded already changes nothing."""
        raised = Required(0, sequence) if soft else Required(sequence, 0)
        match scope.kind:
            case ScopeKind.EVERYTHING:
                self._raise_everything(raised)
            case ScopeKind.URL:
                self._raise_in(self._urls, scope.value, raised)
                path, mark, _ = scope.value.partition("?")
                if mark:
                    self._raise_in(self._urls, path, raised)  # answers for every query where a site drops the query
            case ScopeKind.PREFIX:
                self._raise_prefix(scope.value, raised)
            case ScopeKind.TAG:
                self._raise_in(self._tags, scope.value, raised)
                self._raise_in(self._tags, OVERFLOW_TAG, raised)
            case _:
                assert_never(scope.kind)
        if len(self) > self._limits.max_floors_per_site:
            self.compact()

    def compact(self) -> None:
        """Merge the older half of the narrow floors into one over everything, at the highest of their sequences.

        Only ever demands more: hard stays hard, soft becomes soft for everything.
        """
        narrow = [*self._urls.values(), *self._prefixes.values(), *self._tags.values()]
        narrow.sort(key=_newest)
        oldest = narrow[: (len(narrow) + 1) // 2]
        if oldest:
            self._raise_everything(Required(max(floor.hard for floor in oldest), max(floor.soft for floor in oldest)))

    def widen_tags(self) -> None:
        """Merge the floors of tags into one over everything: whether a response carried a tag when that was purged
        cannot be told any more once the rules that give tags have changed. Only ever demands more."""
        for floor in tuple(self._tags.values()):
            self._raise_everything(floor)

    def swept(self, through: int) -> None:
        """Forget hard floors up to `through`: every stored response they forbade has been removed from every tier.

        Soft floors stay: what they made stale is still stored. Fetches that began before the sweep are the tier's to
        refuse.
        """
        self._everything = _without_hard(self._everything, through)
        self._urls = _left_after(self._urls, through)
        self._prefixes = _left_after(self._prefixes, through)
        self._tags = _left_after(self._tags, through)
        self._index_prefixes()

    def dump(self) -> dict[str, Any]:
        """Everything as JSON builtins."""
        return {
            "everything": _pair(self._everything),
            "urls": {key: _pair(floor) for key, floor in self._urls.items()},
            "prefixes": {key: _pair(floor) for key, floor in self._prefixes.items()},
            "tags": {key: _pair(floor) for key, floor in self._tags.items()},
        }

    def load(self, dumped: dict[str, Any] | None, horizon: int) -> None:
        """Replace the state by what `dump` made (None: no floors), and demand `horizon` of everything."""
        dumped = dumped or {}
        self._everything = Required(*dumped.get("everything", (0, 0)))
        self._urls = {key: Required(*pair) for key, pair in dumped.get("urls", {}).items()}
        self._prefixes = {key: Required(*pair) for key, pair in dumped.get("prefixes", {}).items()}
        self._tags = {key: Required(*pair) for key, pair in dumped.get("tags", {}).items()}
        self.raise_floor(EVERYTHING, horizon, soft=False)

    def _all(self) -> Iterator[Required]:
        return chain((self._everything,), self._urls.values(), self._prefixes.values(), self._tags.values())

    def _raise_in(self, floors: dict[str, Required], key: str, raised: Required) -> None:
        floor = _merged(floors.get(key, NOTHING_REQUIRED), raised)
        if not _subsumes(self._everything, floor):
            floors[key] = floor

    def _raise_prefix(self, prefix: str, raised: Required) -> None:
        self._raise_in(self._prefixes, prefix, raised)
        if prefix in self._prefixes and len(prefix) not in self._prefix_lengths:
            insort(self._prefix_lengths, len(prefix))
            if len(self._prefix_lengths) > self._limits.max_prefix_lengths:
                self._cut_closest_lengths()

    def _cut_closest_lengths(self) -> None:
        """Cut the prefixes of one length to the next shorter one, where that loses the fewest characters."""
        shorter, longer = min(pairwise(self._prefix_lengths), key=lambda pair: pair[1] - pair[0])
        for prefix in [prefix for prefix in self._prefixes if len(prefix) == longer]:
            self._raise_in(self._prefixes, prefix[:shorter], self._prefixes.pop(prefix))
        self._prefix_lengths.remove(longer)

    def _raise_everything(self, raised: Required) -> None:
        self._everything = _merged(self._everything, raised)
        for floors in (self._urls, self._prefixes, self._tags):
            subsumed = [key for key, floor in floors.items() if _subsumes(self._everything, floor)]
            for key in subsumed:
                del floors[key]
        self._index_prefixes()

    def _index_prefixes(self) -> None:
        self._prefix_lengths = sorted({len(prefix) for prefix in self._prefixes})


def _merged(one: Required, other: Required) -> Required:
    hard = max(one.hard, other.hard)
    soft = max(one.soft, other.soft)
    return Required(hard, soft if soft > hard else 0)


def _subsumes(wide: Required, narrow: Required) -> bool:
    return wide.hard >= narrow.hard and max(wide.hard, wide.soft) >= narrow.soft


def _without_hard(floor: Required, through: int) -> Required:
    return Required(0, floor.soft) if floor.hard <= through else floor


def _left_after(floors: dict[str, Required], through: int) -> dict[str, Required]:
    left = ((key, _without_hard(floor, through)) for key, floor in floors.items())
    return {key: floor for key, floor in left if floor != NOTHING_REQUIRED}


def _newest(floor: Required) -> int:
    return max(floor.hard, floor.soft)


def _pair(floor: Required) -> list[int]:
    return [floor.hard, floor.soft]
