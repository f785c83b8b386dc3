"""Who is kept out by where they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CountryRule:
    """Covers what a Guard would. `countries`: ISO 3166-1 alpha-2 in upper case; `denies`: they are kept out, otherwise
    everybody else is. Who comes from nobody knows where is treated as from no country of the list. `status`: 403 or 451
    (RFC 7725). Every rule that covers a path has to let the visitor in."""

    source: str
    countries: tuple[str, ...]
    denies: bool = True
    status: int = 403

    def admits(self, country: str) -> bool:
        """Whether a visitor from `country` ("": unknown) is let in."""
        return (country in self.countries) != self.denies
