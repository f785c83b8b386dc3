"""The networks of a database in MaxMind's format, in order, with where their records stand.

`maxminddb` walks a database too, but decodes the record of every network: fifteen million times where a city-level
database has half a million different ones. So the search tree is read here (https://maxmind.github.io/MaxMind-DB/), and
records are decoded by `maxminddb`, each once.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import maxminddb
from maxminddb.decoder import Decoder

from cdn.dns.address_ranges import COMPARED_BITS
from cdn.dns.client import AddressFamily
from cdn.errors import InvalidInput

_SEPARATOR_BYTES = 16
"""Zeros between the search tree and the records."""

_VISITS_PER_NODE = 4
"""A tree is walked by visiting every node once; the rest is room for subtrees in several places. Beyond it goes in
circles: the file is damaged."""

_UNREADABLE = (
    maxminddb.InvalidDatabaseError,
    ValueError,
    LookupError,
    TypeError,
    OverflowError,
    RecursionError,
    struct.error,
)
"""What the decoder raises for records that are none."""

_Sides = Callable[[int], tuple[int, int]]


class MmdbFile:
    """One database, mapped. Close it, or use it in a `with`."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidInput when it is no database or damaged, OSError when it cannot be read."""
        self._path = path
        try:
            with maxminddb.open_database(path) as reader:
                self.metadata = reader.metadata()
        except (maxminddb.InvalidDatabaseError, ValueError) as exc:
            raise InvalidInput(f"{path} is no database in MaxMind's format (.mmdb), or is damaged: {exc}") from exc
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._count = self.metadata.node_count
        tree_bytes = self._count * self.metadata.record_size // 4
        if self.metadata.record_size not in {24, 28, 32} or tree_bytes + _SEPARATOR_BYTES > len(self._map):
            raise InvalidInput(f"{path} is damaged: its search tree is longer than the file, or of an unknown form")
        self._data_start = tree_bytes - self._count
        self._decoder = Decoder(self._map, tree_bytes + _SEPARATOR_BYTES)
        self._sides = _reader_of(self._map, self.metadata.record_size)
        self._ipv4_root = self._below_zeros(96) if self.metadata.ip_version == 6 else 0

    def __enter__(self) -> MmdbFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()

    def record(self, pointer: int) -> object:
        """What stands at a pointer that `networks` gave. Raises InvalidInput when it cannot be read."""
        try:
            return self._decoder.decode(pointer + self._data_start)[0]
        except _UNREADABLE as exc:
            raise InvalidInput(f"{self._path} is damaged: a record cannot be read: {exc}") from exc

    def networks(self, family: AddressFamily) -> Iterator[tuple[int, int, int]]:
        """In the order of addresses, in the family's COMPARED_BITS: the first of a network, the one behind its last,
        and the pointer to its record. Of several networks within one /64 of IPv6 the first. Raises InvalidInput.

        What a database repeats of IPv4 below other prefixes of IPv6 (6to4 and the like) is left out.
        """
        if family is AddressFamily.IPV4:
            yield from self._walk(self._ipv4_root, 32)
        elif self.metadata.ip_version == 6:
            yield from self._walk(0, COMPARED_BITS[AddressFamily.IPV6])

    def _walk(self, root: int, bits: int) -> Iterator[tuple[int, int, int]]:
        count, sides, visits_left = self._count, self._sides, _VISITS_PER_NODE * self._count + 1024
        stack = [(root, 0, bits)]  # a record, the first address below it, how many bits of addresses are left
        while stack:
            record, start, left = stack.pop()
            if record < count:
                if (record == self._ipv4_root and record != root) or (left == 0 and start == 0):
                    continue
                visits_left -= 1
                if visits_left < 0 or left <= -64:
                    raise InvalidInput(f"{self._path} is damaged: its search tree goes in circles")
                low, high = sides(record)
                left -= 1
                if left >= 0:
                    stack += ((high, start | 1 << left, left), (low, start, left))
                else:  # within one /64: the first record there is
                    stack.append((high if low == count else low, start, left))
            elif record > count:
                yield start, start + (1 << max(left, 0)), record

    def _below_zeros(self, depth: int) -> int:
        record = 0
        while depth and record < self._count:
            record, depth = self._sides(record)[0], depth - 1
        return record


def _reader_of(content: mmap.mmap, record_size: int) -> _Sides:
    """Reads both records of a node."""
    if record_size == 32:
        unpack = struct.Struct(">II").unpack_from
        return lambda node: unpack(content, 8 * node)
    from_bytes = int.from_bytes
    if record_size == 28:

        def sides28(node: int) -> tuple[int, int]:
            both = from_bytes(content[7 * node : 7 * node + 7], "big")
            return both >> 32 | (both & 0xF0000000) >> 4, both & 0xFFFFFFF

        return sides28

    def sides24(node: int) -> tuple[int, int]:
        both = from_bytes(content[6 * node : 6 * node + 6], "big")
        return both >> 24, both & 0xFFFFFF

    return sides24
