"""Where visitors are: the seam to a table of addresses, which the composition root hands in."""

from __future__ import annotations

from typing import Protocol


class Countries(Protocol):
    """Countries of addresses."""

    async def ready(self) -> None:
        """Return when `of` can answer at once; called before every request that a rule about countries concerns."""
        ...

    def of(self, address: str) -> str:
        """The country of an IP address: ISO 3166-1 alpha-2 in upper case, "" when nobody knows. No IO."""
        ...


class NoCountries:
    """Nobody knows where anybody is."""

    async def ready(self) -> None:
        """At once."""

    def of(self, address: str) -> str:
        """Unknown."""
        return ""
