"""What the access log costs a hit: CPU of this process with it and without, its writing thread included.

Lines go to a file in memory, as those of the peers in the other benches do. Rounds with and without alternate. What
always comes on top, counting, is on both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time, sleep

from bench.browsers import BROWSERS
from bench.table import Fact, Row
from cdn.edge.access_log import AccessLog
from cdn.edge.access_log_settings import AccessLogSettings
from cdn.edge.traffic import HTTP_1_1, Traffic
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target

MEMORY = Path("/dev/shm")
HITS_PER_S = 20_000
"""What one process answers, for how often the time of lines changes."""

KNOWN = 1000
"""Heads that come again and again."""

BUDGET_AGAIN_US = 0.5
BUDGET_NEW_US = 2.5


def requests(count: int) -> list[Request]:
    """Each for another path, as browsers ask."""
    made: list[Request] = []
    for number in range(count):
        browser = BROWSERS[number % len(BROWSERS)]
        fields = Fields((("user-agent", browser.user_agent), ("referer", "https://www.example.com/")))
        path = f"/assets/{number}/app.js"
        made.append(Request("GET", Target(path, None, path), "www.example.com", None, fields, "https"))
    return made


def again(traffic: Traffic, asked: list[Request]) -> Callable[[], None]:
    """Heads that are known: a line is there, and is put into the buffer."""
    told = [traffic.told(request, 200, 1024, HTTP_1_1) for request in asked[:KNOWN]]
    told *= len(asked) // len(told)
    part = traffic.visitor_part("192.0.2.77", "https", "TLSv1.3")
    now = [1.0]

    def play() -> None:
        at = now[0]
        for each in told:
            at += 1 / HITS_PER_S
            traffic.hit(at, part, each)
        now[0] = at

    return play


def new(traffic: Traffic, asked: list[Request]) -> Callable[[], None]:
    """Heads that nobody has sent before: a line is made for each."""
    part = traffic.visitor_part("192.0.2.77", "https", "TLSv1.3")
    now = [1.0]

    def play() -> None:
        at = now[0]
        for request in asked:
            at += 1 / HITS_PER_S
            traffic.hit(at, part, traffic.told(request, 200, 1024, HTTP_1_1))
        now[0] = at

    return play


def run(folder: Path, *, hits: int = 20_000, rounds: int = 9) -> list[Row | Fact]:
    """Two rows, each the median of what the log adds, beside its budget; and that no line was lost."""
    del folder  # its disk would be measured
    asked = requests(hits)
    with tempfile.TemporaryDirectory(prefix="cdn-bench-", dir=MEMORY if MEMORY.is_dir() else None) as place:
        file = Path(place) / "access.log"
        log = AccessLog.open(AccessLogSettings(file, max_waiting_bytes=1 << 30), site_of=lambda host: "blog")
        assert log is not None
        with_log, without = Traffic(log), Traffic()
        rows: list[Row | Fact] = []
        for name, kind, budget_us in (
            ("a hit whose head is known", again, BUDGET_AGAIN_US),
            ("a hit whose head never came before", new, BUDGET_NEW_US),
        ):
            plays = kind(with_log, asked), kind(without, asked)
            added = [_cost_us(plays[0], log, hits) - _cost_us(plays[1], None, hits) for _ in range(rounds)]
            rows.append(Row(f"access log: {name}", "us", median(added), budget_us, "budget", 1.0))
        asyncio.run(log.aclose())
        numbers = with_log.numbers()
        lines = sum(1 for _ in file.open("rb"))
        assert numbers["log dropped_slow"] == 0
        rows.append(Fact("access log: lines for the hits above", lines, 2 * rounds * hits))
    return rows


def _cost_us(play: Callable[[], None], log: AccessLog | None, hits: int) -> float:
    """Until the last line is written."""
    began = process_time()
    play()
    if log is not None:
        log.hand_over()
        while log.is_writing:
            sleep(0.0005)
    return (process_time() - began) / hits * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hits", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    for each in run(Path(), hits=given.hits, rounds=given.rounds):
        print(each)


if __name__ == "__main__":
    main()
