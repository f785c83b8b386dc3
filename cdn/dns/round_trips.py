"""Measured round-trip times by prefix, from a file."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from cdn.dns.address_ranges import COMPARED_BITS, AddressRanges
from cdn.dns.client import AddressFamily
from cdn.dns.geography import NOWHERE, Located
from cdn.errors import InvalidInput, TooLarge

MAX_LINES = 1_000_000
"""Of a file: about 300 MB of memory while it is read and 200 MB after."""

MAX_LINE_CHARACTERS = 400
"""Of one line: a prefix, a name and a number, with room."""

MAX_ROUND_TRIP_MS = 60_000.0
"""More than a minute is a mistake of units."""


@dataclass(frozen=True, slots=True)
class _Row:
    """What one prefix says itself, and the number of the next shorter one that holds it."""

    own: dict[str, float]
    wider: int


class RoundTripTable:
    """A `RoundTrips`: lines `PREFIX,NODE-OR-REGION,MS`. The longest prefix goes first, name by name: what it does not
    say of a node or region, the next shorter one that holds the address says."""

    def __init__(self, rows: Sequence[_Row], ranges: dict[AddressFamily, AddressRanges]) -> None:
        """`rows` begins with the one of NOWHERE."""
        self._rows = rows
        self._ranges = ranges

    def row(self, family: AddressFamily, address: int) -> Located:
        """See `RoundTrips`."""
        return self._ranges[family].locate(address)

    def round_trip_ms(self, row: int) -> dict[str, float]:
        """See `RoundTrips`. Puts together what up to 128 prefixes say: remember it."""
        found: dict[str, float] = {}
        while row != NOWHERE:
            found = self._rows[row].own | found
            row = self._rows[row].wider
        return found


def read_round_trips(path: Path) -> RoundTripTable:
    """The table in a file.

    Raises InvalidInput, which names the line, when one is wrong; OSError when it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return round_trips_of(iter(lambda: file.readline(MAX_LINE_CHARACTERS), ""), str(path))
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"{path} is no text in UTF-8: {exc}") from exc


def round_trips_of(lines: Iterable[str], name: str) -> RoundTripTable:
    """The table that `lines` say. Empty lines, what begins with `#`, and a first line
    that names the columns (`prefix,...`) say nothing. `name` stands in errors.

    Raises InvalidInput.
    """
    own: dict[AddressFamily, dict[_Prefix, dict[str, float]]] = {family: {} for family in AddressFamily}
    for number, line in enumerate(lines, 1):
        if number > MAX_LINES:
            raise TooLarge(f"{name} has more than {MAX_LINES} lines: merge prefixes")
        text = line.strip()
        try:
            if len(line) >= MAX_LINE_CHARACTERS:
                raise ValueError(f"it is longer than {MAX_LINE_CHARACTERS} characters")
            if not text or text.startswith("#") or (number == 1 and text.lower().startswith("prefix,")):
                continue
            family, prefix, node_or_region, ms = _entry(text)
        except ValueError as exc:
            raise InvalidInput(
                f"{name}, line {number}: {exc}; lines are PREFIX,NODE-OR-REGION,MS as in 192.0.2.0/24,fra1,12.5"
            ) from exc
        said = own[family].setdefault(prefix, {})
        if node_or_region in said:
            raise InvalidInput(f"{name}, line {number}: {node_or_region} stands twice for one prefix: remove a line")
        said[node_or_region] = ms
    rows = [_Row({}, NOWHERE)]
    return RoundTripTable(rows, {family: _ranges(family, own[family], rows) for family in AddressFamily})


@dataclass(frozen=True, slots=True, order=True)
class _Prefix:
    """In the family's COMPARED_BITS; sorted, one that holds others comes right before them."""

    start: int
    minus_end: int = field(repr=False)

    @property
    def end(self) -> int:
        return -self.minus_end


def _entry(text: str) -> tuple[AddressFamily, _Prefix, str, float]:
    """Raises ValueError."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not parts[1]:
        raise ValueError(f"{text!r} does not have three parts")
    network = ip_network(parts[0])
    family = AddressFamily.IPV4 if network.version == 4 else AddressFamily.IPV6
    bits = COMPARED_BITS[family]
    if network.prefixlen > bits:
        raise ValueError(f"{parts[0]} is longer than /{bits}, by which addresses of {family.name} are told apart")
    ms = float(parts[2])
    if not (math.isfinite(ms) and 0 <= ms <= MAX_ROUND_TRIP_MS):
        raise ValueError(f"{parts[2]} is no time from 0 to {MAX_ROUND_TRIP_MS:g} ms")
    start = int(network.network_address) >> (family.bits - bits)
    return family, _Prefix(start, -(start + (1 << (bits - network.prefixlen)))), parts[1], ms


def _ranges(family: AddressFamily, own: dict[_Prefix, dict[str, float]], rows: list[_Row]) -> AddressRanges:
    """The prefixes laid out flat. Every one becomes a row."""
    bits = COMPARED_BITS[family]
    starts, numbers = array("Q", [0]), array("I", [NOWHERE])

    def begin(start: int, row: int) -> None:
        if starts[-1] == start:
            numbers[-1] = row
        else:
            starts.append(start)
            numbers.append(row)

    open_: list[tuple[int, int]] = []  # ends and rows of the prefixes that hold the current address, the widest first

    def close(before: int) -> None:
        while open_ and open_[-1][0] <= before:
            end, _ = open_.pop()
            if end < 1 << bits:
                begin(end, open_[-1][1] if open_ else NOWHERE)

    for prefix in sorted(own):
        close(prefix.start)
        rows.append(_Row(own[prefix], open_[-1][1] if open_ else NOWHERE))
        begin(prefix.start, len(rows) - 1)
        open_.append((prefix.end, len(rows) - 1))
    close(1 << bits)
    return AddressRanges(family, starts, numbers)
