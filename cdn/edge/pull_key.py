"""Under what a pull site's responses are stored, and what purges call them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cdn.http.request import Request
from cdn.sites.query_policy import apply_query_policy
from cdn.sites.settings import VISITOR_HOST
from cdn.sites.site import Site

MAX_PLACE_LENGTH = 128
"""Characters of a path that is remembered as it is: visitors write it, and many are remembered."""


@dataclass(frozen=True, slots=True)
class PullKey:
    """The primary cache key of a request (RFC 9111 section 2), after the site's query policy.

    Whatever the upstream is told of the request's URL is part of `path`: the scheme always, the host where the site
    sends it on. So two requests whose answers may differ never meet (DESIGN I7). `name` is the path with its query:
    what purges match, and what is asked of the upstream.
    """

    site_id: str
    path: str
    name: str

    @property
    def query(self) -> str | None:
        """The query in the name, None without one."""
        _, mark, query = self.name.partition("?")
        return query if mark else None

    @property
    def place(self) -> tuple[str, str]:
        """Site and path, where the path itself need not be known again: of a long one a digest."""
        if len(self.path) <= MAX_PLACE_LENGTH:
            return (self.site_id, self.path)
        return (self.site_id, hashlib.sha256(self.path.encode("utf-8", "surrogatepass")).hexdigest())


def pull_key(site: Site, request: Request) -> PullKey:
    """The key of a request to a pull site."""
    target = request.target
    query = apply_query_policy(site.settings.query, target.query)
    name = target.path if query is None else f"{target.path}?{query}"
    host = authority(request) if site.settings.upstream_host == VISITOR_HOST else ""
    return PullKey(site.id, f"{request.scheme} {host} {name}", name)


def keyed_with(key: PullKey, other_name: str) -> PullKey:
    """The key that the same request would have with another path and query."""
    return PullKey(key.site_id, key.path.removesuffix(key.name) + other_name, other_name)


def authority(request: Request) -> str:
    """Host and port as the visitor named them."""
    return request.host if request.port is None else f"{request.host}:{request.port}"
