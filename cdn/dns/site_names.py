"""The names of sites and previews, and the nodes that answer for them."""

from __future__ import annotations

from cdn.dns.site_addresses import SiteAddresses
from cdn.sites.catalog import Catalog
from cdn.sites.site import Site


class SiteNames:
    """`SITE` and `ALIAS--SITE`. A name exists from when the journal says so, whether or not there is a node for it.

    `addresses` is None until something was heard of the fleet; whoever holds this sets it anew as the fleet changes.
    """

    def __init__(self, catalog: Catalog, ttl_s: int) -> None:
        self.addresses: SiteAddresses | None = None
        self.ttl_s = ttl_s
        self._catalog = catalog

    def site_of(self, label: bytes) -> Site | None:
        """The site that a label below the CDN's zone names, itself or a preview of it."""
        raise NotImplementedError
