"""A site as Cloudflare's API shows a zone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cdn.errors import InvalidInput
from cdn.sites.catalog import Catalog
from cdn.sites.site import Site

MAX_PER_PAGE = 50
"""Zones on one page, as Cloudflare has it."""

_ACCOUNT = {"id": "cdn", "name": "cdn"}


def zone_view(site: Site, catalog: Catalog) -> dict[str, Any]:
    """Its id is the site's name, and its name the site's first domain, or its host in the CDN's own zone."""
    domains = tuple(catalog.domains(site.id))
    created = time_text(site.created_at)
    return {
        "id": site.name,
        "name": domains[0] if domains else f"{site.name}.{catalog.zone}",
        "status": "active",
        "paused": False,
        "type": "full",
        "development_mode": 0,
        "name_servers": [],
        "original_name_servers": None,
        "original_registrar": None,
        "original_dnshost": None,
        "created_on": created,
        "modified_on": created,
        "activated_on": created,
        "meta": {"cdn_only": True},
        "owner": {**_ACCOUNT, "type": "organization"},
        "account": _ACCOUNT,
        "permissions": [],
        "plan": {"id": "cdn", "name": "cdn", "price": 0, "currency": "", "frequency": "", "legacy_id": "enterprise"},
    }


def zones_named(sites: Sequence[Site], catalog: Catalog, name: str) -> list[Site]:
    """Sites that are called so or have the domain, by exact name first, then by domains below it: what others call the
    zone example.com may here be a site with www.example.com alone."""
    wanted = name.lower().removeprefix("equal:").rstrip(".")
    owners = catalog.domains()
    exact = {owners.get(wanted)}
    below = {owner for domain, owner in owners.items() if domain.endswith(f".{wanted}")} - exact
    hosts = {wanted, wanted.removesuffix(f".{catalog.zone}")}
    named = [site for site in sites if site.id in exact or site.name in hosts]
    return named + [site for site in sites if site.id in below and site.name not in hosts]


def page_of(query: Mapping[str, str]) -> tuple[int, int]:
    """Which page, from 1, and how many zones are on one. Raises InvalidInput."""
    page, per_page = _number(query, "page", 1, 1_000_000), _number(query, "per_page", 20, 1_000_000)
    return page, min(per_page, MAX_PER_PAGE)


def time_text(at: float) -> str:
    """A wall time as Cloudflare writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _number(query: Mapping[str, str], name: str, otherwise: int, most: int) -> int:
    text = query.get(name, str(otherwise)).removesuffix(".0")
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= most:
        raise InvalidInput(f"{name} is a number from 1, not {text[:80]!r}.", field=name)
    return int(text)
