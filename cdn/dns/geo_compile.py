"""From databases in MaxMind's format to the compiled table of places."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdn.dns.client import AddressFamily
from cdn.dns.continent import CONTINENT_OF, CONTINENTS
from cdn.dns.geo_builder import GRID_STEPS, TableBuilder
from cdn.dns.geo_table import TableSummary
from cdn.dns.geography import NOWHERE, Place
from cdn.dns.mmdb_networks import MmdbFile
from cdn.errors import CdnError, InvalidInput

MAX_DATABASES = 2
"""One for both families, or one for each."""

MAX_REMEMBERED = 1_000_000
"""Records whose place is remembered while a database is read, about 100 MB; beyond that remembering begins anew."""


def compile_table(
    databases: Sequence[Path], path: Path, source: str = "", grid_steps: int = GRID_STEPS
) -> TableSummary:
    """Write the table of one or several `.mmdb` files (one for both families, or one for each) to `path`, whole or not
    at all, and say what is in it. `source` is what the table says of its origin; "": the databases' own descriptions.

    Takes half a minute for a city-level database. Memory is bounded by MAX_RANGES and MAX_PLACES.
    Raises InvalidInput when a file is no such database or damaged, OSError when one cannot be read or written.
    """
    if not 1 <= len(databases) <= MAX_DATABASES:
        raise InvalidInput("give one database for IPv4 and IPv6, or one for each of them")
    builder = TableBuilder(grid_steps)
    origins = []
    owners: dict[AddressFamily, Path] = {}
    for path_of_database in databases:
        with MmdbFile(path_of_database) as database:
            origins.append(_origin(path_of_database, database))
            for family in AddressFamily:
                if not _add_all(builder, database, family):
                    continue
                if family in owners:
                    raise InvalidInput(
                        f"{owners[family]} and {path_of_database} both have networks of {family.name}: give one of them"
                    )
                owners[family] = path_of_database
    if not owners:
        raise InvalidInput(f"{' and '.join(map(str, databases))} say of no network where it is")
    return builder.write(path, source or "; ".join(origins))


def place_of(record: object) -> Place:
    """The place that a database's record names, nested as MaxMind's or flat as DB-IP's from other hands; what it does
    not say, or not sensibly, is not known. Raises nothing."""
    if not isinstance(record, dict):
        return Place()
    latitude, longitude, country, continent = _raw(record)
    country = country if isinstance(country, str) and len(country) == 2 and country.isascii() else ""
    if not (isinstance(continent, str) and continent in CONTINENTS):
        continent = CONTINENT_OF.get(country, "")
    coordinates = _coordinates(latitude, longitude)
    return Place(coordinates[0], coordinates[1], country, continent)


def _origin(path: Path, database: MmdbFile) -> str:
    metadata = database.metadata
    description = metadata.description.get("en") or f"{path.name} ({metadata.database_type})"
    return f"{description}, built {time.strftime('%Y-%m-%d', time.gmtime(metadata.build_epoch))}"


def _add_all(builder: TableBuilder, database: MmdbFile, family: AddressFamily) -> bool:
    """Whether there was a place at all."""
    numbers: dict[int, int] = {}
    has_any = False
    for start, end, pointer in database.networks(family):
        number = numbers.get(pointer)
        if number is None:
            if len(numbers) >= MAX_REMEMBERED:
                numbers.clear()
            number = numbers[pointer] = builder.number_of(place_of(database.record(pointer)))
        if number != NOWHERE:
            builder.add(family, start, end, number)
            has_any = True
    return has_any


def _raw(record: Mapping[str, Any]) -> tuple[object, object, object, object]:
    """Latitude, longitude, country and continent as they stand there."""
    location = record.get("location", record)
    country = record.get("country") or record.get("registered_country") or record.get("country_code")
    continent = record.get("continent") or record.get("continent_code")
    if isinstance(country, dict):
        country = country.get("iso_code")
    if isinstance(continent, dict):
        continent = continent.get("code")
    latitude, longitude = (
        (location.get("latitude"), location.get("longitude")) if isinstance(location, dict) else (None, None)
    )
    return latitude, longitude, country, continent


def _coordinates(latitude: object, longitude: object) -> tuple[float, float] | tuple[None, None]:
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None, None
    if not (math.isfinite(latitude) and math.isfinite(longitude) and abs(latitude) <= 90 and abs(longitude) <= 180):
        return None, None
    if latitude == 0 and longitude == 0:  # no land there: databases write it for what they do not know
        return None, None
    return float(latitude), float(longitude)


def main(arguments: Sequence[str]) -> int:
    """`python -m cdn.dns.geo_compile TABLE DATABASE...`: a process of its own, that gives way to others."""
    os.nice(10)
    path, *databases = map(Path, arguments)
    try:
        compile_table(databases, path)
    except (CdnError, OSError) as exc:
        sys.stderr.write(f"{' '.join(str(exc).split())}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
