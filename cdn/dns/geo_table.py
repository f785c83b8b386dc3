"""The compiled table of places: sorted starts of ranges of addresses in one file that is mapped, not read.

The file: a head of fixed length with the counts, the SHA-256 of that and of all that follows, then six columns of
little-endian numbers, each beginning at a multiple of eight bytes: starts of IPv6 (64 bits), starts of IPv4 (32 bits),
the places of both (32 bits), the places themselves, and the text of where all that is from.
"""

from __future__ import annotations

import mmap
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from operator import lt
from pathlib import Path
from typing import IO

from cdn.dns.address_ranges import AddressRanges
from cdn.dns.client import AddressFamily
from cdn.dns.geography import Located, Place
from cdn.errors import InvalidInput

TABLE_VERSION = 1
"""Of the file. A program reads its own version only; control and name servers of one release know the same."""

MAX_TABLE_BYTES = 512 << 20
"""Of a table: ten times what a city-level database compiles to."""

MAX_SOURCE_BYTES = 4096
"""Of the text of where a table is from: a few sentences."""

COORDINATE_STEPS = 100
"""Coordinates are kept in steps of a hundredth of a degree, about a kilometre."""

MAGIC = b"cdn-geo\n"
"""What a table begins with."""

_HEAD = struct.Struct("<8sIIIIII")
"""Magic, version, places, ranges of IPv4 and of IPv6, bytes of the text, 0."""
_CHECKSUM_BYTES = 32
_BODY = _HEAD.size + _CHECKSUM_BYTES
_PLACE = struct.Struct("<hh2s2s")
_NO_COORDINATE = -(1 << 15)


@dataclass(frozen=True, slots=True)
class TableSummary:
    """What a table says of itself. `source` names where it is from, as its licence asks."""

    source: str
    places: int
    ipv4_ranges: int
    ipv6_ranges: int
    size_bytes: int
    digest: str
    """SHA-256 of the whole file, hex."""


class GeoTable:
    """A `Geography`. Make it with `open_table` or `table_of`; it holds the file mapped as long as it lives."""

    def __init__(self, content: bytes | mmap.mmap) -> None:
        """Raises InvalidInput when it is damaged, of another version or no table."""
        if sys.byteorder != "little":
            raise InvalidInput("tables of places are read on little-endian machines only, and this one is not")
        view = memoryview(content)
        if len(view) < _BODY:
            raise InvalidInput(f"it is {len(view)} bytes long: no table of places")
        magic, version, places, ipv4, ipv6, source_bytes, _ = _HEAD.unpack_from(view)
        if magic != MAGIC:
            raise InvalidInput("it does not begin as a table of places does: compile one with `cdn geo update`")
        if version != TABLE_VERSION:
            raise InvalidInput(
                f"it is a table of version {version}, this program reads {TABLE_VERSION}: compile it anew"
            )
        lengths = (8 * ipv6, 4 * ipv4, 4 * ipv6, 4 * ipv4, _PLACE.size * places, source_bytes)
        if len(view) != _BODY + sum(map(_padded, lengths)):
            raise InvalidInput(f"it is {len(view)} bytes long, which is not what its head says: it was cut or damaged")
        checksum = sha256(view[: _HEAD.size])
        checksum.update(view[_BODY:])
        if not (places and ipv4 and ipv6) or checksum.digest() != view[_HEAD.size : _BODY]:
            raise InvalidInput("its content does not have the checksum that its head names: it was damaged")
        columns = list(_columns(view, lengths))
        self._places = columns[4]
        self._ipv6 = AddressRanges(AddressFamily.IPV6, columns[0].cast("Q"), columns[2].cast("I"))
        self._ipv4 = AddressRanges(AddressFamily.IPV4, columns[1].cast("I"), columns[3].cast("I"))
        source = bytes(columns[5]).decode(errors="replace")
        self._summary = TableSummary(source, places, ipv4, ipv6, len(view), sha256(view).hexdigest())

    def check(self) -> None:
        """Look at every range, which a table from elsewhere deserves once. Raises InvalidInput when one is wrong."""
        places = self._summary.places
        for ranges in (self._ipv4, self._ipv6):
            if ranges.starts[0] != 0 or not all(map(lt, ranges.starts, islice(ranges.starts, 1, None))):
                raise InvalidInput("its ranges are not in order: it was not made by `cdn geo update`")
            if max(ranges.numbers) >= places:
                raise InvalidInput(f"a range names place {max(ranges.numbers)} of {places}: compile the table anew")

    def ranges(self, family: AddressFamily) -> AddressRanges:
        """All of a family."""
        return self._ipv4 if family is AddressFamily.IPV4 else self._ipv6

    @property
    def summary(self) -> TableSummary:
        """Where it is from and what is in it."""
        return self._summary

    def locate(self, family: AddressFamily, address: int) -> Located:
        """See `Geography`. IPv6 addresses are told apart by their upper 64 bits."""
        return self.ranges(family).locate(address)

    def place(self, number: int) -> Place:
        """See `Geography`."""
        latitude, longitude, country, continent = _PLACE.unpack_from(self._places, number * _PLACE.size)
        return Place(
            None if latitude == _NO_COORDINATE else latitude / COORDINATE_STEPS,
            None if latitude == _NO_COORDINATE else longitude / COORDINATE_STEPS,
            country.rstrip(b"\0").decode("ascii", "replace"),
            continent.rstrip(b"\0").decode("ascii", "replace"),
        )


def open_table(path: Path) -> GeoTable:
    """The table in a file, mapped. Nobody may write into the file afterwards: replace it by another one.

    Raises InvalidInput when it is damaged, of another version or no table; OSError when it cannot be read.
    """
    with path.open("rb") as file:
        size_bytes = file.seek(0, 2)
        if not _BODY <= size_bytes <= MAX_TABLE_BYTES:
            raise InvalidInput(
                f"{path} is {size_bytes} bytes long: no table of places (at most {MAX_TABLE_BYTES} bytes)"
            )
        mapped = mmap.mmap(file.fileno(), size_bytes, access=mmap.ACCESS_READ)
    try:
        return GeoTable(mapped)
    except InvalidInput as exc:
        raise InvalidInput(f"{path} cannot be used: {exc.message}") from exc


def table_of(content: bytes) -> GeoTable:
    """The table in memory. Raises InvalidInput as `open_table` does."""
    return GeoTable(content)


@dataclass(frozen=True, slots=True)
class Columns:
    """The ranges of one family on their way into a file; see `AddressRanges`."""

    starts: array[int]
    """Of type `Q` for IPv6 and `I` for IPv4."""
    numbers: array[int]
    """Of type `I`."""


def write_table(file: IO[bytes], places: Iterable[Place], ipv4: Columns, ipv6: Columns, source: str) -> None:
    """Write a table into a file that can seek. The first of `places` is the one of which nothing is known."""
    packed = b"".join(map(_packed, places))
    text = source.encode()[:MAX_SOURCE_BYTES].decode(errors="ignore").encode()
    counts = (len(packed) // _PLACE.size, len(ipv4.starts), len(ipv6.starts), len(text))
    head = _HEAD.pack(MAGIC, TABLE_VERSION, *counts, 0)
    checksum = sha256(head)
    file.write(head + bytes(_CHECKSUM_BYTES))
    for column in (ipv6.starts, ipv4.starts, ipv6.numbers, ipv4.numbers, packed, text):
        octets = memoryview(column).cast("B")
        for part in (octets, bytes(_padded(len(octets)) - len(octets))):
            checksum.update(part)
            file.write(part)
    file.seek(_HEAD.size)
    file.write(checksum.digest())


def _packed(place: Place) -> bytes:
    country, continent = place.country.encode(), place.continent.encode()
    if place.latitude is None or place.longitude is None:
        return _PLACE.pack(_NO_COORDINATE, _NO_COORDINATE, country, continent)
    latitude, longitude = (round(each * COORDINATE_STEPS) for each in (place.latitude, place.longitude))
    return _PLACE.pack(latitude, longitude, country, continent)


def _columns(view: memoryview, lengths: Iterable[int]) -> Iterator[memoryview]:
    start = _BODY
    for length in lengths:
        yield view[start : start + length]
        start += _padded(length)


def _padded(length: int) -> int:
    return -(-length // 8) * 8
