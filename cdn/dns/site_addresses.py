"""The seam between zones and the choice of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cdn.dns.client import Client
from cdn.sites.site import Site

if TYPE_CHECKING:
    from cdn.dns.choice import Family  # which imports this


@dataclass(frozen=True, slots=True)
class Chosen:
    """`packed` are addresses of the family that was asked for, none when nodes have none. `scope_prefix`: who shares
    so many bits of the client's address hears the same. `ttl_s`: how long that may be kept; None: as settings say."""

    packed: tuple[bytes, ...]
    scope_prefix: int = 0
    ttl_s: int | None = None


class SiteAddresses(Protocol):
    """All choices for one state of the fleet: another state is another object."""

    def addresses(self, site: Site, family: Family, client: Client) -> Chosen | None:
        """None: there is no node that may answer for the site. It neither waits nor walks what it knows."""
        ...
