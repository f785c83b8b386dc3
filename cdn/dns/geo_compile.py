"""From databases in MaxMind's format to the compiled table of places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cdn.dns.geo_table import TableSummary


def compile_table(databases: Sequence[Path], path: Path, source: str = "") -> TableSummary:
    """Write the table of one or several `.mmdb` files (one for both families, or one for each) to `path`, whole or not
    at all, and say what is in it. `source` is what the table says of its origin; "": the databases' own descriptions.

    Takes half a minute for a city-level database. Memory is bounded by `MAX_RANGES` and `MAX_PLACES`.
    Raises InvalidInput when a file is no such database or damaged, OSError when one cannot be read or written.
    """
    raise NotImplementedError(databases, path, source)
