"""What a change of a site's settings may be, and what it means for what is stored."""

from __future__ import annotations

from cdn.errors import Conflict
from cdn.sites.settings import SiteSettings


def check_change(name: str, before: SiteSettings, after: SiteSettings) -> None:
    """Whether the site may become what `after` says. Raises Conflict with the way out.

    An upstream may take another's place. Bundles and an upstream may not: deploys, previews and promises about old tabs
    belong to the one, and the addresses of what is stored are made differently. A domain moves between two sites.
    """
    if before.is_pull != after.is_pull:
        is_and_cannot = (
            f"is answered from {before.origin} and cannot be deployed as bundles"
            if before.is_pull
            else f"is deployed as bundles and cannot be answered from {after.origin}"
        )
        raise Conflict(
            f"The site {name!r} {is_and_cannot}: a site of bundles stays one, and one with an upstream stays one. "
            "Create another site and move the domains to it."
        )


def is_stored_unfit(before: SiteSettings, after: SiteSettings) -> bool:
    """Whether what was stored under `before` must not answer under `after`: another upstream, another host asked of it,
    cookies that no longer may be shared, or nodes that may no longer have it (DESIGN I12)."""
    return (
        before.origin != after.origin
        or before.upstream_host != after.upstream_host
        or (before.stores_set_cookie and not after.stores_set_cookie)
        or _loses_regions(before.region, after.region)
    )


def _loses_regions(before: tuple[str, ...], after: tuple[str, ...]) -> bool:
    """Whether nodes that could have the site no longer can; no region is all of them."""
    return bool(after) and not (before and set(before) <= set(after))
