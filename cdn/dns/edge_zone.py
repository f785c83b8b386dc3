"""The CDN's own zone, in which sites and previews have their names."""

from __future__ import annotations

from collections.abc import Sequence

from cdn.dns.client import Client
from cdn.dns.name import Labels
from cdn.dns.site_names import SiteNames
from cdn.dns.zone import Zone
from cdn.dns.zone_answer import ZoneAnswer


class EdgeZone:
    """See `AuthoritativeZone`.

    `serial` is the SOA's: the sequence of the last record that could change an answer; None until there is a copy of
    the journal, and until then names that the journal would know are SERVFAIL.
    """

    def __init__(self, zone: Zone, sites: SiteNames, https_alpn: Sequence[str] = ()) -> None:
        """`https_alpn`: what HTTPS records (RFC 9460) announce besides HTTP/1.1; none: there are no such records."""
        self.serial: int | None = None
        self._zone = zone

    @property
    def apex(self) -> Labels:
        return self._zone.apex

    def answer(self, labels: Labels, qtype: int, client: Client) -> ZoneAnswer:
        """See `AuthoritativeZone`."""
        raise NotImplementedError
