"""What can only be said of all redirects of a deploy together: limits, rules that loop, rules never reached."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirects_file import PlacedRule, RedirectsRead


def check_redirects(rules: Sequence[PlacedRule], mode: RulesMode, files: Collection[str]) -> RedirectsRead:
    """All rules of a deploy, in the order in which they count (`_redirects` before the tables of netlify.toml), with
    what is wrong between them. `files` are the paths of the bundle. The rules of the answer are those that count."""
    raise NotImplementedError
