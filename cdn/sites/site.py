"""A site: what is deployed to, bound to domains, and purged."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.sites.settings import SiteSettings


@dataclass(frozen=True, slots=True)
class Site:
    """`id` is never reused and is part of every key; `name` may be taken again once the site is removed.

    `created_at` is wall time in seconds. `settings_sequence` is the record that the settings come from.
    """

    id: str
    name: str
    created_at: float
    settings: SiteSettings
    settings_sequence: int = 0
