"""How much the floors may remember."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FloorLimits:
    """Beyond each bound floors are merged into wider ones: more is fetched again, and nothing purged comes back."""

    max_floors_per_site: int = 4096
    """Narrow floors of one site: one site's purges must not fill a node. The oldest half is merged over everything."""

    max_prefix_lengths: int = 32
    """Distinct lengths of one site's prefixes: each is tried on every request. Neighbouring lengths are merged."""

    max_floors: int = 262_144
    """Narrow floors of all sites, about 64 MiB. The site that has most gives up its oldest half."""

    max_removed_sites: int = 16_384
    """Removed sites remembered by id. The oldest half is merged into the horizon of every site."""
