"""A pull site's settings as the rules about storing and reuse read them."""

from __future__ import annotations

from cdn.http.cache_policy import CachePolicy
from cdn.sites.settings import SiteSettings


def cache_policy(settings: SiteSettings) -> CachePolicy:
    """What these settings add to RFC 9111 for responses of the site's upstream."""
    return CachePolicy(
        default_lifetime_s=settings.edge_ttl_s,
        overrides_lifetime=settings.edge_ttl_overrides,
        negative_lifetime_s=settings.negative_ttl_s,
        stores_set_cookie=settings.stores_set_cookie,
        stale_while_revalidate_s=settings.stale_while_revalidate_s,
        stale_if_error_s=settings.stale_if_error_s,
    )
