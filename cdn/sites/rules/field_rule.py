"""One rule of `_headers`: fields for what is answered at certain paths."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.sites.rules.mode import RulesMode


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Fields for every response whose path `source` covers (`cdn.sites.rules.path_glob`).

    Rules apply in their order: first the names in `unset` go, then each line of `fields` is added, where lines of one
    name in one rule join. In NETLIFY's reading what was given before under a name is replaced; in CLOUDFLARE's, what an
    earlier rule gave is joined, and in a value `:name` and `:splat` stand for what was found there. Names are
    lower-case. `host`: only on requests for that host, "" any; it may begin with `*` or a placeholder.
    """

    source: str
    fields: tuple[tuple[str, str], ...]
    unset: tuple[str, ...] = ()
    host: str = ""
    mode: RulesMode = RulesMode.NETLIFY
