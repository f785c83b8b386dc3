"""An imported zone, as a tree of names that answers by RFC 1034 4.3.2."""

from __future__ import annotations

from collections.abc import Sequence

from cdn.dns.client import Client
from cdn.dns.name import Labels
from cdn.dns.site_names import SiteNames
from cdn.dns.zone_answer import ZoneAnswer
from cdn.journal.record import ZoneRecords


class ZoneTree:
    """Frozen once made. See `AuthoritativeZone`.

    Wildcards go by RFC 4592, negative answers by RFC 2308, DNAME by RFC 6672, referrals carry all glue (RFC 9471). A
    chain of CNAME and DNAME is followed within the zone and ends where it leaves it: resolvers take nothing else from
    here. The answer to ANY is the CNAME that is there or else the HINFO of RFC 8482 4.2.
    """

    def __init__(self, apex: Labels, rrsets: Sequence[ZoneRecords], sites: SiteNames) -> None:
        """`rrsets` passed `read_zone_file`. Names with an ALIAS are answered by `sites`. Raises InvalidInput when an
        rdata is no base64, or the zone has no SOA."""
        self.apex = apex

    def answer(self, labels: Labels, qtype: int, client: Client) -> ZoneAnswer:
        """See `AuthoritativeZone`."""
        raise NotImplementedError
