"""The table of places that comes with the program: coarse, small, and free to pass on.

It is packed: differences in place of starts, the octets of equal weight of all numbers side by side, then zstandard.
"""

from __future__ import annotations

import struct
from array import array
from functools import cache
from importlib.resources import files
from io import BytesIO
from itertools import accumulate, pairwise

import zstandard

from cdn.dns.geo_table import Columns, GeoTable, table_of, write_table
from cdn.dns.geography import Place
from cdn.errors import InvalidInput

MAX_UNPACKED_BYTES = 32 << 20
"""Of the columns, unpacked."""

_COUNTS = struct.Struct("<IIII")
"""Places, ranges of IPv4 and of IPv6, bytes of the text."""
_IPV6_STEP_BITS = 16
"""Ranges of IPv6 begin at a /48."""
_STEPS = 4
"""Of coordinates per degree."""
_NO_COORDINATE = 0x7FFF


@cache
def default_table() -> GeoTable:
    """The embedded table, unpacked in memory the first time it is asked for."""
    return unpacked_table((files("cdn.dns") / "data" / "default-geography.bin").read_bytes())


def packed_table(places: list[Place], ipv4: Columns, ipv6: Columns, source: str) -> bytes:
    """The form in which the table is passed on. Places are in quarters of a degree, IPv6 in /48s, at most 65,536
    places."""
    text = source.encode()
    steps = [
        (_NO_COORDINATE, _NO_COORDINATE)
        if place.latitude is None or place.longitude is None
        else (round(place.latitude * _STEPS), round(place.longitude * _STEPS))
        for place in places
    ]
    codes = "".join(f"{place.country:2}{place.continent:2}" for place in places).encode("ascii")
    content = _COUNTS.pack(len(places), len(ipv4.starts), len(ipv6.starts), len(text)) + b"".join(
        (
            _planes(array("I", _differences(ipv4.starts))),
            _planes(array("H", ipv4.numbers)),
            _planes(array("Q", _differences([start >> _IPV6_STEP_BITS for start in ipv6.starts]))),
            _planes(array("H", ipv6.numbers)),
            _planes(array("h", (latitude for latitude, _ in steps))),
            _planes(array("h", (longitude for _, longitude in steps))),
            codes,
            text,
        )
    )
    return zstandard.ZstdCompressor(level=22).compress(content)


def unpacked_table(packed: bytes) -> GeoTable:
    """Raises InvalidInput when it is damaged."""
    try:
        content = zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_UNPACKED_BYTES)
        place_count, ipv4_count, ipv6_count, _ = _COUNTS.unpack_from(content)
    except (zstandard.ZstdError, struct.error) as exc:
        raise InvalidInput(f"the table of places that comes with the program is damaged: {exc}") from exc
    rest = BytesIO(content)
    rest.seek(_COUNTS.size)

    def column(kind: str, count: int) -> array[int]:
        width = array(kind).itemsize
        return _joined(kind, rest.read(width * count))

    ipv4 = Columns(array("I", accumulate(column("I", ipv4_count))), array("I", column("H", ipv4_count)))
    starts = array("Q", (start << _IPV6_STEP_BITS for start in accumulate(column("Q", ipv6_count))))
    ipv6 = Columns(starts, array("I", column("H", ipv6_count)))
    steps = zip(column("h", place_count), column("h", place_count), strict=True)
    codes = rest.read(4 * place_count).decode("ascii")
    places = [
        Place(
            None if latitude == _NO_COORDINATE else latitude / _STEPS,
            None if latitude == _NO_COORDINATE else longitude / _STEPS,
            codes[4 * number : 4 * number + 2].strip(),
            codes[4 * number + 2 : 4 * number + 4].strip(),
        )
        for number, (latitude, longitude) in enumerate(steps)
    ]
    file = BytesIO()
    write_table(file, places, ipv4, ipv6, rest.read().decode())
    return table_of(file.getvalue())


def _differences(numbers: list[int] | array[int]) -> list[int]:
    return [numbers[0], *(later - earlier for earlier, later in pairwise(numbers))]


def _planes(numbers: array[int]) -> bytes:
    """The lowest octets of all numbers, then the next ones: what is alike stands together."""
    octets, width = numbers.tobytes(), numbers.itemsize
    return b"".join(octets[plane::width] for plane in range(width))


def _joined(kind: str, planes: bytes) -> array[int]:
    numbers = array(kind, bytes(len(planes)))
    count, octets = len(numbers), bytearray(len(planes))
    for plane in range(numbers.itemsize):
        octets[plane :: numbers.itemsize] = planes[plane * count : (plane + 1) * count]
    return array(kind, bytes(octets))
