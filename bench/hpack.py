"""What the header blocks of browsers cost: decoded here, and by `hpack`, the usual library of Python, in one run.

Twenty browsers as they are: each connection asks for the things of one page, every path once, its cookies are its own.
Rounds of the two alternate, so that what else the machine does weighs on both.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import process_time

from hpack import Decoder

from bench.edge_requests import Visit, h2_visits
from bench.table import Row
from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_request import RequestReader
from cdn.edge.hpack_decoder import HpackDecoder
from cdn.edge.limits import HttpLimits

HOST = "www.example.com"
CONNECTIONS = 20
"""One for each browser."""

MAX_LIST_BYTES = H2Limits().max_header_list_bytes
_KINDS = ("css", "js", "webp", "woff2", "js", "webp")
_HEADERS = 1

Connection = list[bytes]
"""The header blocks of one, in order."""


def connections_of(place: int, paths: int) -> list[Connection]:
    """Of clients that were not here before; with another `place` their paths are others, too."""
    pages = [
        Visit(
            (
                f"/page-{place}-{number}/index.html",
                *(f"/assets/{place}-{number}/part-{part}.{_KINDS[part % len(_KINDS)]}" for part in range(paths - 1)),
            )
        )
        for number in range(CONNECTIONS)
    ]
    scripts = h2_visits(pages, HOST, connections=CONNECTIONS, seed=place + 1)
    return [[block for octets in script for block in _blocks(octets)] for script in scripts]


def decoded_here(connection: Connection) -> None:
    """As a server does it."""
    decoder = HpackDecoder(MAX_LIST_BYTES)
    for block in connection:
        decoder.decode(block)


def decoded_by_hpack(connection: Connection) -> None:
    """As python-hyper's server does it."""
    decoder = Decoder(max_header_list_size=MAX_LIST_BYTES)
    for block in connection:
        decoder.decode(block, raw=True)


def judged_by(reader: RequestReader) -> Callable[[Connection], None]:
    """Decoded here, and brought to the key under which a hit is found."""

    def judge(connection: Connection) -> None:
        decoder = HpackDecoder(MAX_LIST_BYTES)
        for block in connection:
            if reader.gist(decoder.decode(block)) is None:
                raise ValueError("a request of a browser was refused")

    return judge


def cost_us(read: Callable[[Connection], None], connections: list[Connection]) -> float:
    """CPU for each block."""
    started = process_time()
    for connection in connections:
        read(connection)
    return (process_time() - started) / sum(map(len, connections)) * 1e6


def run(_: Path, *, rounds: int = 9, paths: int = 60) -> list[Row]:
    """For `python -m bench hpack`."""
    judge = judged_by(RequestReader(HttpLimits()))
    costs: dict[str, list[float]] = {"hpack": [], "first": [], "again": [], "judged": []}
    for place in range(rounds):
        connections = connections_of(place, paths)
        costs["first"].append(cost_us(decoded_here, connections))
        costs["hpack"].append(cost_us(decoded_by_hpack, connections))
        costs["again"].append(cost_us(decoded_here, connections))
        costs["judged"].append(cost_us(judge, connections))
    of = {what: median(found) for what, found in costs.items()}
    return [
        Row(
            "a browser's header block, a path that never came before", "us CPU", of["first"], of["hpack"], "hpack", 0.15
        ),
        Row("a browser's header block, a path that came before", "us CPU", of["again"], of["hpack"], "hpack", 0.1),
        Row("the same, and the gist of its request", "us CPU", of["judged"], of["hpack"], "hpack decoding it", 0.2),
    ]


def _blocks(octets: bytes) -> Iterator[bytes]:
    """Of the HEADERS frames in what a client says."""
    at = octets.find(b"\r\n\r\nSM\r\n\r\n")
    at = at + 10 if at >= 0 else 0
    while at < len(octets):
        length = int.from_bytes(octets[at : at + 3], "big")
        if octets[at + 3] == _HEADERS:
            yield octets[at + 9 : at + 9 + length]
        at += 9 + length


if __name__ == "__main__":
    from bench.table import as_table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    print(as_table(run(Path(), rounds=given.rounds)))
