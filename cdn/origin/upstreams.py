"""Every upstream of a node: they share the connections, the names and the bounds on both."""

from __future__ import annotations

from pathlib import Path

import boto3

from cdn.origin.bucket_upstream import BucketUpstream
from cdn.origin.dialer import Dialer, client_tls
from cdn.origin.endpoint import Endpoint
from cdn.origin.http_upstream import HttpUpstream
from cdn.origin.names import Names
from cdn.origin.outbound import OutboundRule
from cdn.origin.pool import Pool
from cdn.origin.s3_access import S3Access
from cdn.origin.upstream import Upstream, UpstreamTimeouts
from cdn.origin.upstream_limits import UpstreamLimits
from cdn.sites.origin import BucketOrigin, HttpOrigin


class Upstreams:
    """Made once per node, used in one loop.

    `s3_endpoint`: the URL of an S3 service other than AWS; it is the operator's, so the rule for addresses that users
    name does not hold there. `own_bucket` is the store's: no site may read it. `extra_ca_file`: authorities in PEM form
    that are trusted beside the system's. Raises InvalidInput when one of these cannot be used.
    """

    def __init__(
        self,
        rule: OutboundRule,
        limits: UpstreamLimits | None = None,
        s3_endpoint: str | None = None,
        own_bucket: str | None = None,
        *,
        session: boto3.Session | None = None,
        extra_ca_file: Path | None = None,
    ) -> None:
        limits = limits or UpstreamLimits()
        self._own_bucket = own_bucket
        self._access = S3Access(s3_endpoint, session)
        self._names = Names(limits)
        tls = None if extra_ca_file is None else client_tls(extra_ca_file)
        self._pool = Pool(Dialer(rule, self._names, limits, tls).connect, limits)

    @property
    def open_connections(self) -> int:
        """Connections to upstreams that are open or being opened."""
        return self._pool.open_connections

    @property
    def idle_connections(self) -> int:
        """Those of them that wait for a request."""
        return self._pool.idle_connections

    def of(self, origin: HttpOrigin | BucketOrigin, timeouts: UpstreamTimeouts) -> Upstream:
        """The upstream of a site, with the site's timeouts. Light: made anew whenever one is needed."""

        def sends_to(endpoint: Endpoint) -> Upstream:
            return HttpUpstream(endpoint, self._pool, timeouts)

        match origin:
            case HttpOrigin():
                return sends_to(Endpoint(origin.scheme, origin.host.strip("[]"), origin.port))
            case BucketOrigin():
                return BucketUpstream(origin, self._access, sends_to, timeouts.connect_s, self._own_bucket)

    async def aclose(self) -> None:
        """Close every connection; what is under way ends as broken."""
        await self._pool.aclose()
        await self._names.aclose()
        await self._access.aclose()
