"""What Cache-Status says of a response to a pull site (RFC 9211)."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from cdn.edge.pull_shelf import OnShelf
from cdn.http.cache_status import CacheStatus, Forward
from cdn.http.decide import Decision, Forwarded, Serve, ServeStale, StaleReason, Validate
from cdn.http.response_head import ResponseHead
from cdn.http.reuse_terms import ReuseTerms


class PullStatus:
    """Says it in this node's name; a node without its lease says that instead of a detail (DESIGN I9)."""

    def __init__(self, cache_name: str, is_attached: Callable[[], bool]) -> None:
        self._cache_name = cache_name
        self._is_attached = is_attached

    def hit(self, ttl_s: int | None = None, detail: str | None = None) -> CacheStatus:
        """What is stored was served. `ttl_s` is negative for what is stale."""
        return CacheStatus(self._cache_name, hit=True, ttl_s=ttl_s, detail=self._detached() or detail)

    def renewed(self, forward: Forward, *, is_collapsed: bool) -> CacheStatus:
        """What is stored was served, because upstream has just confirmed it."""
        return CacheStatus(
            self._cache_name,
            fwd=forward,
            fwd_status=304,
            stored=True,
            collapsed=is_collapsed,
            detail=self._detached(),
        )

    def forwarded(
        self,
        forward: Forward,
        head: ResponseHead,
        *,
        is_stored: bool,
        is_collapsed: bool = False,
        detail: str | None = None,
        terms: ReuseTerms | None = None,
    ) -> CacheStatus:
        """Upstream's answer with this head was passed on."""
        ttl_s = None if terms is None else int(terms.lifetime.seconds - terms.initial_age_s)
        return CacheStatus(
            self._cache_name,
            fwd=forward,
            fwd_status=head.status,
            ttl_s=ttl_s if is_stored else None,
            stored=is_stored,
            collapsed=is_collapsed,
            detail=self._detached() or detail,
        )

    def _detached(self) -> str | None:
        return None if self._is_attached() else "detached"


def forward_reason(decision: Decision, on_shelf: OnShelf) -> Forward:
    """Why the request goes upstream, if it does (RFC 9211 section 2.2)."""
    match decision:
        case Forwarded(Forward.URI_MISS):
            if on_shelf.parts:
                return Forward.PARTIAL
            return Forward.VARY_MISS if on_shelf.others else Forward.URI_MISS
        case Forwarded(reason):
            return reason
        case Validate(reason=StaleReason.REQUESTED):
            return Forward.REQUEST
        case Validate():
            return Forward.STALE
        case Serve() | ServeStale():
            return Forward.MISS  # its content has gone
        case _:
            assert_never(decision)
