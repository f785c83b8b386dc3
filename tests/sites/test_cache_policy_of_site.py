"""What a site sets is what the rules about storing read."""

from __future__ import annotations

from cdn.http.cache_policy import CachePolicy
from cdn.sites.cache_policy import cache_policy
from cdn.sites.settings import SiteSettings


def test_nothing_set_leaves_lifetimes_to_the_response() -> None:
    assert cache_policy(SiteSettings()) == CachePolicy(
        default_lifetime_s=None,
        overrides_lifetime=False,
        negative_lifetime_s=10,
        stores_set_cookie=True,
        stale_while_revalidate_s=None,
        stale_if_error_s=86_400,
    )


def test_every_setting_arrives() -> None:
    settings = SiteSettings(
        edge_ttl_s=300,
        edge_ttl_overrides=True,
        negative_ttl_s=7,
        stores_set_cookie=False,
        stale_while_revalidate_s=0,
        stale_if_error_s=11,
    )
    assert cache_policy(settings) == CachePolicy(300, True, 7, False, 0, 11)
