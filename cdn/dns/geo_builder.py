"""A table of places in the making: ranges come in the order of addresses, equal neighbours become one."""

from __future__ import annotations

import os
import tempfile
from array import array
from pathlib import Path

from cdn.dns.address_ranges import COMPARED_BITS
from cdn.dns.client import AddressFamily
from cdn.dns.geo_table import Columns, TableSummary, open_table, write_table
from cdn.dns.geography import NOWHERE, Place
from cdn.errors import InvalidInput, TooLarge

MAX_RANGES = 16_000_000
"""Per family: 128 MB of memory while a table is made; a city-level database has five million networks."""

MAX_PLACES = 1_000_000
"""Different places: about 300 MB of memory while a table is made; a city-level database has 200,000."""

GRID_STEPS = 20
"""Places are brought together on a grid of so many steps per degree: 5.6 km, far less than a database knows of where
somebody is, so that a city is one place and its networks one range. (Distances change by 4 km at the most.)"""


class TableBuilder:
    """Add every range once, per family from the lowest address up, then write."""

    def __init__(self, grid_steps: int = GRID_STEPS) -> None:
        self._grid_steps = grid_steps
        self._places = {Place(): NOWHERE}
        self._columns = {
            AddressFamily.IPV4: _GrowingColumns(array("I"), COMPARED_BITS[AddressFamily.IPV4]),
            AddressFamily.IPV6: _GrowingColumns(array("Q"), COMPARED_BITS[AddressFamily.IPV6]),
        }

    def number_of(self, place: Place) -> int:
        """The number of the place's point on the grid. Raises TooLarge beyond MAX_PLACES."""
        if place.latitude is not None and place.longitude is not None:
            steps = self._grid_steps
            latitude, longitude = round(place.latitude * steps) / steps, round(place.longitude * steps) / steps
            place = Place(latitude, longitude, place.country, place.continent)
        number = self._places.setdefault(place, len(self._places))
        if number >= MAX_PLACES:
            raise TooLarge(f"the databases name more than {MAX_PLACES} places: that is no database of cities")
        return number

    def add(self, family: AddressFamily, start: int, end: int, number: int) -> None:
        """`start` up to but without `end` are addresses in the family's COMPARED_BITS. What is not added is nowhere.

        Raises InvalidInput when the range begins before the end of the last one, TooLarge beyond MAX_RANGES.
        """
        self._columns[family].add(start, end, number)

    def write(self, path: Path, source: str) -> TableSummary:
        """Write the table to `path`, whole or not at all, and say what is in it. Raises OSError."""
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                ipv4, ipv6 = (self._columns[family].ended() for family in (AddressFamily.IPV4, AddressFamily.IPV6))
                write_table(file, self._places, ipv4, ipv6, source)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
                summary = open_table(temporary).summary
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        return summary


class _GrowingColumns:
    def __init__(self, starts: array[int], bits: int) -> None:
        self._columns = Columns(starts, array("I"))
        self._beyond = 1 << bits
        self._end = 0

    def add(self, start: int, end: int, number: int) -> None:
        if not self._end <= start < end <= self._beyond:
            raise InvalidInput(
                f"a range from {start:#x} to {end:#x} is out of order: the last one ended at {self._end:#x}"
            )
        self._begin(self._end, start, NOWHERE)
        self._begin(start, end, number)
        self._end = end

    def ended(self) -> Columns:
        self._begin(self._end, self._beyond, NOWHERE)
        self._end = self._beyond
        return self._columns

    def _begin(self, start: int, end: int, number: int) -> None:
        starts, numbers = self._columns.starts, self._columns.numbers
        if start == end or (numbers and numbers[-1] == number):
            return
        if len(starts) >= MAX_RANGES:
            raise TooLarge(f"the databases name more than {MAX_RANGES} ranges: compile one of a coarser level")
        starts.append(start)
        numbers.append(number)
