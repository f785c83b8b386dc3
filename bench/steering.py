"""How near visitors come: 175 points of presence, a million addresses of the real internet, the real answer path.

`python -m bench.steering [--draws N] [--map FILE.svg]`; the rows of `python -m bench steering` too.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bench.steering_map import draw_map
from bench.steering_world import EU, City, Vector, World, cities, databases, drawn, km_between, round_trip_ms, vector_of
from bench.table import Fact, Row
from cdn.dns.answer import AnswerSettings, Responder
from cdn.dns.edge_zone import EdgeZone
from cdn.dns.fleet_nodes import FleetNode, SeenFleet
from cdn.dns.fleet_state import FleetState
from cdn.dns.geo_compile import compile_table
from cdn.dns.geo_default import default_table
from cdn.dns.geo_table import GeoTable, open_table
from cdn.dns.name import labels_of, mailbox_labels, wire_of
from cdn.dns.site_names import SiteNames
from cdn.dns.zone import SoaTimes, Zone, name_server
from cdn.dns.zone_book import ZoneBook
from cdn.fleet.condition import NodeState
from cdn.fleet.position import Position
from cdn.fleet.withdrawal import Member
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import RECORD_VERSION, Audience, Record, SiteCreated
from cdn.journal.zone_fold import ZoneFold

DRAWS = 1_000_000
SEED = 175
DOWN_SHARE = 0.1
ANSWER_NODES = 4
ZONE = "cdn.example.net"
SITES = {"world": (), "europe": ("eu",)}
EU_REGION = "eu"

_FIRST_ANSWER = b"\xc0\x0c\x00\x01\x00\x01"
"""The question's own name, A, IN."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`source_prefix`: how much of an address the question tells. `counts` says which visitors are looked at."""

    name: str
    site: str
    source_prefix: int
    down: frozenset[int]
    table: GeoTable
    counts: Callable[[str], bool] = lambda country: True


@dataclass(frozen=True, slots=True)
class Outcome:
    """By the model, of the node that is named first. `excess_ms` is what the best possible node would have saved."""

    name: str
    visitors: int
    within: dict[int, float]
    best_share: float
    mean_ms: float
    mean_excess_ms: float
    p99_excess_ms: float
    us_per_answer: float
    ms_of: dict[int, float]
    """By spot."""


class Fleet:
    """The name server of a fleet with a node in each city, n-th city, address 198.18.0.0 + n."""

    def __init__(self, places: Sequence[City], table: GeoTable, down: Iterable[int]) -> None:
        catalog, zones = CatalogFold(ZONE), ZoneFold()
        for number, (name, regions) in enumerate(SITES.items(), 1):
            change = SiteCreated(f"s{number}", name, {"region": list(regions)})
            catalog.apply(Record(RECORD_VERSION, "e", number, "site", 0.0, "bench", Audience.ALL, change))
        servers = [name_server(f"ns1.{ZONE} 192.0.2.53", ZONE)]
        zone = Zone(labels_of(ZONE), servers, mailbox_labels(f"dns@{ZONE}"), SoaTimes())
        sites = SiteNames(catalog.catalog, 30)
        book = ZoneBook(EdgeZone(zone, sites), sites, zones)
        book.journal_loaded(Position("e", len(SITES)), 0.0)
        state = FleetState(None, ANSWER_NODES, 0.0)
        state.use(table, None)
        state.hear(SeenFleet(1, False, tuple(_node(number, city) for number, city in enumerate(places))), 0.0)
        book.choose(state.look(frozenset(_address(number) for number in down), 0.0))
        self._responder = Responder(book, None, AnswerSettings())

    def first_named(self, question: bytes) -> int:
        """The number of the node whose address stands first in the answer."""
        response = self._responder.answer_udp(question, "192.0.2.1", 1.0)
        if response is None:
            raise AssertionError("the name server says nothing")
        at = response.index(_FIRST_ANSWER, 12)
        return int.from_bytes(response[at + 14 : at + 16], "big")


def _node(number: int, city: City) -> FleetNode:
    region = EU_REGION if city.is_in_eu else "elsewhere"
    address = _address(number)
    member = Member(f"n{number}", region, 100.0, NodeState.SERVING)
    return FleetNode(member, (address,), (IPv4Address(address).packed,), (city.latitude, city.longitude))


def _address(number: int) -> str:
    return str(IPv4Address("198.18.0.0") + number)


def question_of(site: str, source_prefix: int) -> tuple[bytes, Callable[[int], bytes]]:
    """A question for the site's address with a client subnet (RFC 7871 6), and what has to follow: the address."""
    octets = -(-source_prefix // 8)
    head = b"\0\1\0\0\0\1\0\0\0\0\0\1" + wire_of(labels_of(f"{site}.{ZONE}")) + b"\0\1\0\1"
    opt = b"\0\0\x29\4\xd0\0\0\0\0" + (8 + octets).to_bytes(2, "big") + b"\0\x08" + (4 + octets).to_bytes(2, "big")
    mask = (1 << 32) - (1 << (32 - source_prefix))
    return (
        head + opt + b"\0\1" + bytes((source_prefix, 0)),
        lambda address: (address & mask).to_bytes(4, "big")[:octets],
    )


def measured(scenario: Scenario, world: World, places: Sequence[City]) -> Outcome:
    """Every visitor answered, and compared with the best of the nodes that might have been named."""
    fleet = Fleet(places, scenario.table, scenario.down)
    nodes = [vector_of(city.latitude, city.longitude) for city in places]
    allowed = [
        number
        for number, city in enumerate(places)
        if number not in scenario.down and (not SITES[scenario.site] or city.is_in_eu)
    ]
    head, tail = question_of(scenario.site, scenario.source_prefix)
    visitors = [each for each in world.visitors if scenario.counts(world.countries[each.spot])]
    before = time.process_time()
    named = [fleet.first_named(head + tail(each.address)) for each in visitors]
    spent_s = time.process_time() - before
    if not set(named) <= set(allowed):
        raise AssertionError(f"{scenario.name}: nodes were named that may not be")
    best = {spot: _nearest(world.vectors[spot], nodes, allowed) for spot in {each.spot for each in visitors}}
    times, excess, are_best, by_spot = [], [], 0, {}
    for visitor, node in zip(visitors, named, strict=True):
        here = world.vectors[visitor.spot]
        ms = round_trip_ms(km_between(here, nodes[node]))
        times.append(ms)
        excess.append(ms - round_trip_ms(km_between(here, nodes[best[visitor.spot]])))
        are_best += node == best[visitor.spot]
        by_spot[visitor.spot] = ms
    excess.sort()
    return Outcome(
        scenario.name,
        len(visitors),
        {limit: sum(ms <= limit for ms in times) / len(times) for limit in (20, 50, 100)},
        are_best / len(visitors),
        statistics.fmean(times),
        statistics.fmean(excess),
        excess[int(0.99 * len(excess))],
        1e6 * spent_s / len(visitors),
        by_spot,
    )


def _nearest(here: Vector, nodes: Sequence[Vector], allowed: Sequence[int]) -> int:
    x, y, z = here
    return max(allowed, key=lambda number: x * nodes[number][0] + y * nodes[number][1] + z * nodes[number][2])


def scenarios(table: GeoTable, places: Sequence[City]) -> list[Scenario]:
    """What is asked for, and what a resolver that tells less of the address, or a fleet without a database, gets."""
    lots = random.Random(SEED)
    down = frozenset(lots.sample(range(len(places)), round(DOWN_SHARE * len(places))))
    return [
        Scenario("all nodes up", "world", 32, frozenset(), table),
        Scenario(f"{len(down)} of {len(places)} nodes down", "world", 32, down, table),
        Scenario("pinned to the EU, visitors in the EU", "europe", 32, frozenset(), table, EU.__contains__),
        Scenario("pinned to the EU, visitors anywhere", "europe", 32, frozenset(), table),
        Scenario("all nodes up, subnets of /24", "world", 24, frozenset(), table),
        Scenario("all nodes up, the embedded table", "world", 24, frozenset(), default_table()),
    ]


def outcomes(folder: Path, draws: int, map_path: Path | None = None) -> list[Outcome]:
    """All scenarios, said on the error stream as they come."""
    places, (ipv4, _) = cities(), databases(folder)
    began = time.process_time()
    summary = compile_table([ipv4], folder / "cities.geo")
    say(f"{summary.ipv4_ranges} ranges, {summary.places} places compiled in {time.process_time() - began:.0f} s of CPU")
    world = drawn(ipv4, draws, SEED)
    say(f"{len(world.visitors)} visitors at {len(world.spots)} spots")
    found = []
    for scenario in scenarios(open_table(folder / "cities.geo"), places):
        found.append(measured(scenario, world, places))
        say(_as_row(found[-1]))
        if map_path is not None and len(found) == 1:
            map_path.write_text(draw_map(world, found[0].ms_of, places), encoding="utf-8")
    return found


def run(folder: Path) -> list[Row | Fact]:
    """What is promised."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row | Fact] = []
    for outcome in outcomes(folder, DRAWS)[:1]:
        far, count = outcome.visitors * (1 - outcome.within[50]), outcome.visitors
        worse = outcome.visitors * (1 - outcome.best_share)
        rows.append(Row("visitors beyond 50 ms of their node, 175 cities", "visitors", far, count, "all", 0.10))
        rows.append(Row("visitors whose node is not the best possible", "visitors", worse, count, "all", 0.01))
    return rows


def _as_row(outcome: Outcome) -> str:
    cells = (
        outcome.name,
        str(outcome.visitors),
        *(f"{100 * outcome.within[limit]:.1f} %" for limit in (20, 50, 100)),
        f"{outcome.mean_ms:.1f}",
        f"{100 * outcome.best_share:.2f} %",
        f"{outcome.mean_excess_ms:.2f}",
        f"{outcome.p99_excess_ms:.1f}",
        f"{outcome.us_per_answer:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """0 when what is promised holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--map", type=Path, help="where the map is written, as SVG")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdn-steering-") as folder:
        found = outcomes(Path(folder), given.draws, given.map)
    print("| | visitors | 20 ms | 50 ms | 100 ms | mean ms | best node | mean excess ms | p99 | us CPU |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for outcome in found:
        print(_as_row(outcome))
    return 0 if found[0].within[50] >= 0.9 and found[0].best_share >= 0.99 else 1


if __name__ == "__main__":
    sys.exit(main())
