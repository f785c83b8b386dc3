"""One rule of `_headers`: fields for what is answered at certain paths."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Fields for every response whose path `source` covers (`cdn.sites.rules.path_glob`).

    Rules apply in their order: first the names in `unset` go, then each line of `fields` is added; a line of a name
    that an earlier rule gave joins it, one that only this program or the site's settings gave is replaced. Names are
    lower-case. In a value, `:name` and `:splat` stand for what was found there, where `fills`. `host`: only on requests
    for that host, "" anywhere; it may begin with a placeholder or star.
    """

    source: str
    fields: tuple[tuple[str, str], ...]
    unset: tuple[str, ...] = ()
    host: str = ""
    fills: bool = False
