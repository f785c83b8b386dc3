"""Every upstream of a node: they share the connections, the names and the bounds on both."""

from __future__ import annotations

from pathlib import Path

from cdn.origin.dialer import Dialer, client_tls
from cdn.origin.endpoint import Endpoint
from cdn.origin.http_upstream import HttpUpstream
from cdn.origin.names import Names
from cdn.origin.outbound import OutboundRule
from cdn.origin.pool import Pool
from cdn.origin.upstream import Upstream, UpstreamTimeouts
from cdn.origin.upstream_limits import UpstreamLimits
from cdn.sites.origin import BucketOrigin, HttpOrigin


class Upstreams:
    """Made once per node."""

    def __init__(
        self,
        rule: OutboundRule,
        limits: UpstreamLimits | None = None,
        *,
        extra_ca_file: Path | None = None,
    ) -> None:
        limits = limits or UpstreamLimits()
        self._names = Names(limits)
        self._pool = Pool(Dialer(rule, self._names, client_tls(extra_ca_file), limits).connect, limits)

    def of(self, origin: HttpOrigin | BucketOrigin, timeouts: UpstreamTimeouts) -> Upstream:
        """The upstream of a site, with the site's timeouts."""
        assert isinstance(origin, HttpOrigin)
        return HttpUpstream(Endpoint(origin.scheme, origin.host.strip("[]"), origin.port), self._pool, timeouts)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()
        await self._names.aclose()
