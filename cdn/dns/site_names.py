"""The names of sites and previews, and the nodes that answer for them."""

from __future__ import annotations

from cdn.dns.choice import Family
from cdn.dns.client import Client
from cdn.dns.code import Rrtype
from cdn.dns.site_addresses import Chosen, SiteAddresses
from cdn.sites.catalog import Catalog
from cdn.sites.name import PRODUCTION, split_label
from cdn.sites.site import Site

_FAMILIES = {Rrtype.A.value: Family.IPV4, Rrtype.AAAA.value: Family.IPV6}

ADDRESS_TYPES: frozenset[int] = frozenset(_FAMILIES)
"""What the name of a site has, whether or not there is an address just now."""


class SiteNames:
    """`SITE` and `ALIAS--SITE`. A name exists from when the journal says so, whether or not there is a node for it.

    `addresses` is None until something was heard of the fleet; whoever holds this sets it anew as the fleet changes.
    `ttl_s` is how long addresses may be kept where the choice does not say it.
    """

    def __init__(self, catalog: Catalog, ttl_s: int) -> None:
        self.addresses: SiteAddresses | None = None
        self.ttl_s = ttl_s
        self._catalog = catalog

    def site_of(self, label: bytes) -> Site | None:
        """The site that a label below the CDN's zone names, itself or a preview of it."""
        alias, name = split_label(label.decode("latin-1"))
        site = self._catalog.site_named(name)
        if site is None or (alias != PRODUCTION and self._catalog.alias(site.id, alias) is None):
            return None
        return site

    def chosen(self, site: Site, qtype: int, client: Client) -> Chosen | None:
        """Addresses of one of ADDRESS_TYPES; None: there is no node, or nobody knows yet, which must not be denied."""
        return None if self.addresses is None else self.addresses.addresses(site, _FAMILIES[qtype], client)
