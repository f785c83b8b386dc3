"""The subjects that purges are recorded under: several for a site whose purges come side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MAX_LANES = 16
"""Purges of one site on their way to the journal at a time: a hundred a second where the journal answers in 150 ms.
Not more, as the journal keeps the last record of each subject for ever."""


class PurgeLanes:
    """Appends to one subject take turns, each as long as the journal's answer takes. Purges depend on no order among
    themselves, so those that would wait for each other go under other subjects. A site that seldom purges has one.
    """

    def __init__(self) -> None:
        self._users: dict[str, list[int]] = {}

    @contextmanager
    def taken(self, site_id: str) -> Iterator[str]:
        """The subject of a purge of this site, for as long as it is being appended."""
        users = self._users.setdefault(site_id, [0] * MAX_LANES)
        lane = users.index(min(users))
        users[lane] += 1
        try:
            yield f"purge/{site_id}" if lane == 0 else f"purge/{site_id}/{lane}"
        finally:
            users[lane] -= 1
            if not any(users):
                del self._users[site_id]
