"""Rewrites to another server: asked for over the road of pull sites, as a site of its own would be.

It has the site's id, so that purges, floors and shares are the site's; its key has the target's whole URL beside the
address that was asked for, so that it never meets anything else of the site (DESIGN I7). Every address is judged when
it is connected to (I15).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from cdn.errors import InvalidInput
from cdn.http.request import Request
from cdn.sites.origin import HttpOrigin, parse_origin
from cdn.sites.site import Site


@dataclass(frozen=True, slots=True)
class Proxied:
    """A site whose upstream is the target's server, and what is asked of it: path and query, percent-encoded."""

    site: Site
    url: str
    sent_target: str


def proxied(site: Site, url: str) -> Proxied:
    """What a rewrite to `url` comes to: absolute http or https, percent-encoded, as `ProxyRoute` has it. Raises
    InvalidInput for what is none: a placeholder in it may have stood for anything."""
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise InvalidInput("the rule leads to what is no URL") from exc
    origin = parse_origin(f"{parts.scheme}://{parts.netloc}")
    if not isinstance(origin, HttpOrigin):
        raise InvalidInput("the rule leads to what is no URL of http or https")
    # What the site says of lifetimes is said of its files: of another server's answers they themselves say it.
    settings = replace(
        site.settings,
        origin=origin,
        upstream_host=None,
        edge_ttl_s=None,
        stale_while_revalidate_s=None,
        negative_ttl_s=0,
    )
    target = parts.path or "/"
    if parts.query:
        target = f"{target}?{parts.query}"
    return Proxied(replace(site, settings=settings), f"{origin}{target}", target)


def place_of(proxied: Proxied, request: Request, name: str) -> str:
    """The path of the key (`PullKey`): like that of a pull site, with the target in the place of the host."""
    return f"{request.scheme} >{proxied.url} {name}"
