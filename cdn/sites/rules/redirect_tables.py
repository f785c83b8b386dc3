"""The tables `[[redirects]]` of netlify.toml and cdn.toml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirects_file import RedirectsRead


def read_redirect_tables(tables: Any, file: str, mode: RulesMode, lines: Sequence[int] = ()) -> RedirectsRead:
    """The rules in `tables`, which is what tomllib found under "redirects". `lines`: the line on which each table
    starts, 0 where it is not known. Never raises."""
    raise NotImplementedError
