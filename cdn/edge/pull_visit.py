"""One request to a pull site, with everything that does not depend on what is stored."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cdn.edge.proxied import Proxied, place_of
from cdn.edge.pull_key import PullKey, authority, pull_key
from cdn.edge.visitor import Visitor
from cdn.http.cache_control import NO_DIRECTIVES, RequestDirectives, request_directives
from cdn.http.cache_policy import CachePolicy
from cdn.http.forwarded_request import Forwarding, seen_fields
from cdn.http.request import Request
from cdn.http.vary import Selecting, selecting
from cdn.sites.cache_policy import cache_policy
from cdn.sites.origin import BundleOrigin, HttpOrigin
from cdn.sites.settings import VISITOR_HOST
from cdn.sites.site import Site


@dataclass(frozen=True, slots=True)
class PeerTerms:
    """What another node asks for that has this one as its shield: responses as the upstream gave them, none stale.

    Nothing that was asked of the upstream before `newer_than` (monotonic seconds); None: whenever. One that `is_alone`
    waits for no other request, nor does another wait for it.
    """

    newer_than: float | None = None
    is_alone: bool = False


@dataclass(frozen=True, slots=True)
class PullVisit:
    """`number` is its place in the order of visits and flights; `generation` the site's when it came.

    `peer` is there when another node asks, for a visitor of its own. `sent_target` is what is asked of the upstream
    where that is not the path that the visitor asked for: of the target of a deploy's rewrite, which no shield knows.
    """

    request: Request
    visitor: Visitor
    site: Site
    key: PullKey
    directives: RequestDirectives
    policy: CachePolicy
    forwarding: Forwarding
    generation: int
    number: int
    peer: PeerTerms | None = None
    sent_target: str | None = None

    @property
    def has_range(self) -> bool:
        """Whether a part is asked for: of GET only, for other methods Range means nothing (RFC 9110 14.2)."""
        return self.request.method == "GET" and "range" in self.request.fields

    def selecting(self, names: tuple[str, ...]) -> Selecting:
        """What the upstream sees in these fields: by that it chose, or would choose, its response."""
        return selecting(names, seen_fields(names, self.request, self.forwarding))


def visit_of(
    request: Request,
    visitor: Visitor,
    site: Site,
    *,
    generation: int,
    number: int,
    cdn_id: str,
    peer: PeerTerms | None = None,
    to: Proxied | None = None,
) -> PullVisit:
    """The request, read with the site's settings; `to`: it is that rewrite's, whose site this is."""
    settings = site.settings
    key = pull_key(site, request)
    if to is not None:
        key = replace(key, path=place_of(to, request, key.name))
    return PullVisit(
        request=request,
        visitor=visitor,
        site=site,
        key=key,
        directives=request_directives(request.fields) if settings.obeys_client_directives else NO_DIRECTIVES,
        policy=cache_policy(settings),
        forwarding=Forwarding(cdn_id, cdn_id, visitor.address, _host_sent(site, request)),
        generation=generation,
        number=number,
        peer=peer,
        sent_target=None if to is None else to.sent_target,
    )


def _host_sent(site: Site, request: Request) -> str:
    given, origin = site.settings.upstream_host, site.settings.origin
    assert not isinstance(origin, BundleOrigin), "only pull sites have an upstream"
    if given is None:
        return origin.authority if isinstance(origin, HttpOrigin) else origin.bucket
    return authority(request) if given == VISITOR_HOST else given
