"""The compiled table of places: sorted starts of ranges of addresses in one file that is mapped, not read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cdn.dns.client import AddressFamily
from cdn.dns.geography import Located, Place

TABLE_VERSION = 1
"""Of the file. A program reads its own version only; control and name servers of one release know the same."""

MAX_TABLE_BYTES = 512 << 20
"""Of a table: four times what the largest database that was tried compiles to; the sizes are 32-bit numbers."""


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

    @property
    def summary(self) -> TableSummary:
        """Where it is from and what is in it."""
        raise NotImplementedError

    def locate(self, family: AddressFamily, address: int) -> Located:
        """See `Geography`. IPv6 addresses are told apart by their upper 64 bits."""
        raise NotImplementedError

    def place(self, number: int) -> Place:
        """See `Geography`."""
        raise NotImplementedError


def open_table(path: Path) -> GeoTable:
    """The table in a file, mapped. Nobody may write into the file afterwards: replace it by another one.

    Raises InvalidInput when it is damaged, of another version or no table; OSError when it cannot be read.
    """
    raise NotImplementedError(path)


def table_of(content: bytes) -> GeoTable:
    """The table in memory. Raises InvalidInput as `open_table` does."""
    raise NotImplementedError(content)
