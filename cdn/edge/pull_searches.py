"""Which stored queries of a path may answer others, by what their responses said of it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from functools import lru_cache

from cdn.edge.pull_key import PullKey
from cdn.http.no_vary_search import NoVarySearch, canonical_query

MAX_SEARCH_PATHS = 16_384
"""Paths for which No-Vary-Search is remembered; one that was forgotten costs a fetch per query."""

MAX_SEARCHES = 64
"""Stored queries tried per path, the newest first."""

MAX_SEARCH_BYTES = 32 * 1024 * 1024
"""What these queries and rules may take in memory, of all paths together."""

MAX_RULES = 4
"""Different rules that count per path: a query is read once for each, and reading a long one takes milliseconds."""

SEARCH_BYTES = 512
"""A stored query in memory beside its text and the names in its rule."""

TEXT_BYTES = 60
"""What a text takes in memory beside its characters."""

MAX_READ_QUERIES = 256
"""Queries whose reading is remembered: one request asks several times."""


class Searches:
    """By path: under which queries responses are stored that allow other queries too (No-Vary-Search).

    In memory only, and bounded: what was forgotten costs a fetch. However many queries are stored, and however long
    visitors make theirs, a request costs no more than reading its query once for each rule of its path.
    """

    def __init__(self, max_bytes: int = MAX_SEARCH_BYTES) -> None:
        self._max_bytes = max_bytes
        self._by_path: OrderedDict[tuple[str, str], dict[str, tuple[NoVarySearch, bytes]]] = OrderedDict()
        self._bytes = 0

    def note(self, key: PullKey, rule: NoVarySearch | None) -> None:
        """A response is being stored under `key`: this is what of its query makes no difference."""
        place = _place(key)
        stored = self._by_path.get(place, {})
        self._forget(place, stored, key.name)
        if rule is None:
            return
        self._by_path.setdefault(place, stored)
        stored[key.name] = (rule, _counting(key.query, rule))
        self._bytes += _weight(key.name, rule)
        while len(stored) > MAX_SEARCHES or len({each for each, _ in stored.values()}) > MAX_RULES:
            self._forget(place, stored, next(iter(stored)))
        self._by_path.move_to_end(place)
        while len(self._by_path) > MAX_SEARCH_PATHS or self._bytes > self._max_bytes:
            oldest, of_oldest = next(iter(self._by_path.items()))
            for name in tuple(of_oldest):
                self._forget(oldest, of_oldest, name)

    def equivalent_names(self, key: PullKey) -> list[str]:
        """Names of other keys under which there is, or will be, what may answer this one; the newest first."""
        stored = self._by_path.get(_place(key)) if self._by_path else None
        if stored is None:
            return []
        query = key.query
        wanted = {rule: _counting(query, rule) for rule in {each for each, _ in stored.values()}}
        return [
            name for name, (rule, counting) in reversed(stored.items()) if name != key.name and counting == wanted[rule]
        ]

    def _forget(self, place: tuple[str, str], stored: dict[str, tuple[NoVarySearch, bytes]], name: str) -> None:
        found = stored.pop(name, None)
        if found is not None:
            self._bytes -= _weight(name, found[0])
            if not stored:
                del self._by_path[place]


def _weight(name: str, rule: NoVarySearch) -> int:
    named = rule.except_ if isinstance(rule.params, bool) else rule.params
    return SEARCH_BYTES + len(name) + sum(TEXT_BYTES + len(each) for each in named)


@lru_cache(MAX_READ_QUERIES)
def _counting(query: str | None, rule: NoVarySearch) -> bytes:
    """The same for all queries that are equivalent under `rule`, and short."""
    canonical = canonical_query(query, rule)
    return hashlib.sha256(("" if canonical is None else canonical).encode("utf-8", "surrogatepass")).digest()


def _place(key: PullKey) -> tuple[str, str]:
    return (key.site_id, key.path.removesuffix(key.name) + key.name.partition("?")[0])
