"""Whose order is next: the account's orders of an hour, of which no site takes what others need."""

from __future__ import annotations

from cdn.tls.account_budget import AccountBudget

BURSTS = 2.0
"""At once there may be so large a part of an hour's orders: a fleet that is set up brings all its names."""

SPARED_PART = 1 / 5
"""Of what may be ordered at once, left for sites that order little: one that orders without end, or whose orders fail
without end, puts off nobody else's."""

LITTLE_PART = 1 / 10
"""Of an hour's orders: who makes no more of them orders little."""

MAX_SITES = 10_000
"""Of which it is known how much they ordered; beyond it all begin anew, each with so little that it hurts nobody."""


class OrderBudget:
    """Of one account. Times are seconds of any clock that goes forward."""

    def __init__(self, per_hour: float, now: float) -> None:
        self._little = max(1.0, per_hour * LITTLE_PART)
        self._whole = AccountBudget.full(per_hour, max(1.0, per_hour / BURSTS), now)
        self._spared = min(SPARED_PART * self._whole.burst, self._whole.burst - 1.0)
        self._sites: dict[str, AccountBudget] = {}

    def take(self, site_id: str, now: float) -> float:
        """0: an order of the site's is taken; else how long until there may be one for it."""
        own = self._sites.get(site_id) or AccountBudget.full(self._little, self._little, now)
        own_after = own.taken(now)
        spared = 0.0 if own_after is not None else self._spared
        after = self._whole.taken(now, spared)
        if after is None:
            return max(self._whole.wait_s(now, spared), 1.0)
        self._whole = after
        if len(self._sites) >= MAX_SITES:
            self._sites.clear()
        self._sites[site_id] = own_after or own
        return 0.0
