"""An HTTP server as the upstream of a pull site."""

from __future__ import annotations

from collections.abc import Callable

from cdn.http.response_head import ResponseHead
from cdn.origin.endpoint import Endpoint
from cdn.origin.http1.exchange import Exchange
from cdn.origin.http1.request_head import request_head
from cdn.origin.pool import Pool
from cdn.origin.upstream import UpstreamBroken, UpstreamFault, UpstreamRequest, UpstreamResponse, UpstreamTimeouts

IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
"""Sent twice they do what they do when sent once (RFC 9110 section 9.2.2)."""

SURE_IDLE_S = 1.0
"""A request that may not be sent twice takes no connection that was idle for longer: the server may just be closing
it, and servers keep theirs for seconds."""


class HttpUpstream:
    """An Upstream that speaks HTTP/1.1 to one endpoint. Light: made anew whenever one is needed."""

    def __init__(self, endpoint: Endpoint, pool: Pool, timeouts: UpstreamTimeouts) -> None:
        self._endpoint = endpoint
        self._pool = pool
        self._timeouts = timeouts

    async def send(self, request: UpstreamRequest, on_interim: Callable[[ResponseHead], None]) -> UpstreamResponse:
        """See Upstream.

        A kept connection that dies without a byte of an answer says nothing about the upstream: the request is sent
        again on a new one, beyond the retries that are allowed.
        """
        head = request_head(request)
        may_repeat = request.content is None and request.method in IDEMPOTENT
        max_idle_s = None if may_repeat else SURE_IDLE_S
        retries = self._timeouts.retries
        while True:
            has_sent = is_reused = False
            try:
                lease = await self._pool.acquire(self._endpoint, self._timeouts.connect_s, max_idle_s=max_idle_s)
                has_sent, is_reused = True, lease.is_reused
                exchange = Exchange(lease.connection, self._timeouts.read_s, lease.release)
                return await exchange.open(head, request, on_interim)
            except UpstreamBroken as broken:
                if has_sent:
                    is_unanswered = broken.fault is UpstreamFault.CLOSED_EARLY and not lease.connection.engine.has_begun
                    if not (may_repeat and is_unanswered):
                        raise
                elif broken.fault is not UpstreamFault.CONNECT_REFUSED:
                    raise
                if not is_reused:
                    if not retries:
                        raise
                    retries -= 1
                max_idle_s = 0.0
