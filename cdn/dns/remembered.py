"""What was worked out once and may be again: a bounded memo that forgets what was not asked for lately."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Remembered(Generic[K, T]):
    """Two generations of half of `most` entries each: when the younger is full, the elder is forgotten whole.

    So an entry that is asked for stays, a look costs one or two look-ups, and nothing is ever swept.
    """

    __slots__ = ("_elder", "_half", "_younger")

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._younger: dict[K, T] = {}
        self._elder: dict[K, T] = {}

    def __len__(self) -> int:
        return len(self._younger) + len(self._elder.keys() - self._younger.keys())

    def get(self, key: K) -> T | None:
        """What was kept for the key."""
        found = self._younger.get(key)
        if found is None:
            found = self._elder.get(key)
            if found is not None:
                self.keep(key, found)
        return found

    def keep(self, key: K, value: T) -> T:
        """`value`, which is kept."""
        if len(self._younger) >= self._half and key not in self._younger:
            self._elder, self._younger = self._younger, {}
        self._younger[key] = value
        return value
