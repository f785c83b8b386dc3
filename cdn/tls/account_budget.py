"""How many orders an account makes: authorities limit them, and lock out who goes on. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, replace

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class AccountBudget:
    """A bucket of orders: `burst` at most at once, and `per_hour` in the long run. `orders` are in it at `at`, in
    seconds of any clock that goes forward."""

    per_hour: float
    burst: float
    orders: float
    at: float

    @classmethod
    def full(cls, per_hour: float, burst: float, now: float) -> AccountBudget:
        """As an account begins."""
        return cls(per_hour, burst, burst, now)

    def taken(self, now: float, spared: float = 0.0) -> AccountBudget | None:
        """After one order more, with `spared` of them left for others; None: there is none, see `wait_s`."""
        held = self._at(now)
        return replace(held, orders=held.orders - 1.0) if held.orders >= 1.0 + spared else None

    def wait_s(self, now: float, spared: float = 0.0) -> float:
        """How long until there is an order left beside those that are `spared`; 0: now."""
        missing = 1.0 + spared - self._at(now).orders
        return max(missing, 0.0) * HOUR_S / self.per_hour

    def _at(self, now: float) -> AccountBudget:
        gone_s = max(now - self.at, 0.0)  # a clock that was set back gives nothing, and takes nothing
        return replace(
            self, orders=min(self.burst, self.orders + gone_s * self.per_hour / HOUR_S), at=max(now, self.at)
        )
