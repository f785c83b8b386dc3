"""Whose reading of `_redirects` and `_headers` counts, where hosts differ."""

from __future__ import annotations

from enum import Enum


class RulesMode(Enum):
    """A setting of the site; docs/rules.md lists the differences."""

    NETLIFY = "netlify"  # a file of the deploy goes before a rule that is not forced ("!")
    CLOUDFLARE = "cloudflare"  # rules go before files, as on Cloudflare Pages
