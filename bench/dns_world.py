"""A geography that our server and its peers read from one file, and questions of clients spread over it."""

from __future__ import annotations

import math
import random
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bench.steering_world import City, cities, km_between, vector_of
from cdn.dns.continent import CONTINENT_OF
from tests.dns.mmdb import mmdb

SITE = "blog"
ADDRESSES_PER_PLACE = 4
PLACES = 16
"""Points of presence: the first so many of the cities that have a country of their own."""

FIRST_NETWORK = IPv4Address("20.0.0.0")
NETWORKS = 16_384
NETWORK_PREFIX = 20
"""Blocks of the geography, each in another city than its neighbours."""

SUBNET_PREFIX = 24
SUBNETS = 100_000
REPEATED = 1_000
"""How often the one question stands in its file."""

SEED = 5

_ECS = struct.Struct(">HHHBB3s")


@dataclass(frozen=True, slots=True)
class PointOfPresence:
    """Where nodes stand, and their addresses."""

    city: City
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class World:
    """`database` is a City database in MaxMind's format."""

    database: Path
    places: tuple[PointOfPresence, ...]
    nearest: dict[str, PointOfPresence]
    """By country: the peers that know no coordinates go by that, so every country has one city."""
    first_country: str
    """Of the first network."""


def made_world(folder: Path) -> World:
    """Written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    by_country: dict[str, City] = {}
    for city in cities():
        by_country.setdefault(city.country, city)
    homes = list(by_country.values())
    places = tuple(
        PointOfPresence(city, tuple(f"198.51.100.{16 * number + one}" for one in range(ADDRESSES_PER_PLACE)))
        for number, city in enumerate(homes[:PLACES])
    )
    nearest = {home.country: min(places, key=lambda place: _km(place.city, home)) for home in homes}
    chance = random.Random(SEED)
    located: list[City] = []
    while len(located) < NETWORKS:
        home = chance.choice(homes)
        if not located or home is not located[-1]:
            located.append(home)
    size = 1 << (32 - NETWORK_PREFIX)
    records = {
        f"{FIRST_NETWORK + number * size}/{NETWORK_PREFIX}": _record(home) for number, home in enumerate(located)
    }
    database = folder / "bench-city.mmdb"
    database.write_bytes(mmdb(records, ip_version=6, database_type="GeoLite2-City"))
    return World(database, places, nearest, located[0].country)


def _record(home: City) -> dict[str, object]:
    return {
        "city": {"names": {"en": home.name}},
        "continent": {"code": CONTINENT_OF[home.country]},
        "country": {"iso_code": home.country},
        "location": {"latitude": home.latitude, "longitude": home.longitude},
    }


def _km(one: City, other: City) -> float:
    return km_between(vector_of(one.latitude, one.longitude), vector_of(other.latitude, other.longitude))


def one_subnet(path: Path, zone: str) -> Path:
    """The question of one client subnet, for `dnsperf -B`, which reads the file again and again."""
    path.write_bytes(_framed(zone, FIRST_NETWORK) * REPEATED)
    return path


def many_subnets(path: Path, zone: str) -> Path:
    """The same question of SUBNETS different ones, in no order."""
    step = 1 << (32 - SUBNET_PREFIX)
    last = NETWORKS << (32 - NETWORK_PREFIX)
    drawn = random.Random(SEED).sample(range(0, last, step), SUBNETS)
    path.write_bytes(b"".join(_framed(zone, FIRST_NETWORK + offset) for offset in drawn))
    return path


def _framed(zone: str, subnet: IPv4Address) -> bytes:
    """A over EDNS with 1,232 octets and a client subnet; dnsperf gives it an id of its own."""
    name = b"".join(bytes((len(label),)) + label.encode() for label in f"{SITE}.{zone}".split(".")) + b"\0"
    option = _ECS.pack(8, 7, 1, SUBNET_PREFIX, 0, subnet.packed[: math.ceil(SUBNET_PREFIX / 8)])
    message = (
        struct.pack(">6H", 0, 0, 1, 0, 0, 1)
        + name
        + struct.pack(">HH", 1, 1)
        + b"\0"
        + struct.pack(">HHIH", 41, 1232, 0, len(option))
        + option
    )
    return struct.pack(">H", len(message)) + message
