"""What settings say of places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GeoSettings:
    """`geo_files`: one compiled table, or one or two `.mmdb` files; empty: what the journal says, else the default."""

    geo_files: tuple[Path, ...] = ()
    round_trip_file: Path | None = None
