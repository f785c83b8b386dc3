"""What sites, records and stored responses weigh: the measured figures that docs/scaling.md derives from.

Nothing here is a promise. Memory is what a process has more than before, divided; each comes from a process of its own.
Times are CPU times, so that what else the machine does counts little.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from bench import worker_process
from bench.fleet_purges import PER_S, Usage, purges_spent, running_followers
from bench.fleet_roles import running_control
from bench.full_index import fill_index
from bench.process_cpu import cpu_s
from cdn.edge.disk_tier import DiskTier
from cdn.edge.site_view import SiteView
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import (
    EDGE_AUDIENCES,
    RECORD_VERSION,
    Audience,
    Change,
    DeployActivated,
    DeployPrepared,
    DomainAdded,
    Purged,
    PurgeScope,
    Record,
    SiteCreated,
    encode_record,
)
from cdn.journal.snapshot import decode, encode, load_into, take
from cdn.purge.floors import Floors

DEPLOYS_PER_SITE, PURGES_PER_SITE = 10, 20
"""What each site of the measurement has behind it."""

PAGE_BYTES = 4096
IDLE_S = 10.0


def run(folder: Path, *, sites: int, responses: int, followers: int, round_s: float) -> list[str]:
    """Lines of `name: value`."""
    lines: list[str] = []
    for question in (
        {"do": "sites", "count": sites},
        {"do": "responses", "count": responses, "folder": str(folder / "responses")},
    ):
        with worker_process.running("bench.fleet_weights", {"do": "hello"}) as worker:
            lines += worker.ask(question)
    lines += _control(folder / "control", followers, round_s)
    for line in lines:
        print(f"  {line}", file=sys.stderr, flush=True)
    return lines


def _control(folder: Path, followers: int, round_s: float) -> list[str]:
    """What followers and their acknowledgements cost control: the difference between many and few, divided."""
    spent: dict[int, Usage] = {}
    idle: dict[int, float] = {}
    rss: dict[int, int] = {}
    for count in (1, followers):
        with (
            running_control(folder / str(count)) as control,
            running_followers(folder / str(count), control, count) as nodes,
        ):
            control.call("POST", "/v1/sites", {"name": "fleet"})
            before = cpu_s(control.pid)
            time.sleep(IDLE_S)
            idle[count] = (cpu_s(control.pid) - before) / IDLE_S
            spent[count] = purges_spent(control, nodes, round_s)
            rss[count] = _rss_bytes(control.pid)
    few, many = spent[1], spent[followers]
    more = followers - 1
    each_us = (many.control_us - few.control_us) / more
    of_node_us = many.followers_us / followers
    return [
        f"control, a purge by the API with one node: {few.control_us:.0f} us CPU",
        f"control, each further node for each purge (sent, acknowledged): {each_us:.1f} us CPU",
        f"control, a node that only beats: {(idle[followers] - idle[1]) / more * 1e6:.0f} us CPU per second",
        f"control, memory for each node: {(rss[followers] - rss[1]) / more / 1024:.0f} KiB",
        f"a node, a record at {PER_S}/s (received, durable, applied, acknowledged): {of_node_us:.0f} us CPU",
    ]


def _rss_bytes(pid: int | str = "self") -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


async def answer(question: dict[str, Any]) -> Any:
    match question["do"]:
        case "sites":
            return _sites(question["count"])
        case "responses":
            return await _responses(Path(question["folder"]), question["count"])
        case _:
            return True


def _sites(count: int) -> list[str]:
    """A node's view of so many sites, and the snapshot that a new node loads."""
    view = SiteView(CatalogFold("cdn.localhost"), Floors())
    folds = (view.catalog_fold, view.floors)
    gc.collect()
    before = _rss_bytes()
    sizes: dict[str, list[int]] = {}
    began = time.process_time()
    position = Position("bench", 0)
    for record in _records(count):
        position = record.position
        for fold in folds:
            fold.apply(record)
        if record.sequence % 50 == 0:
            sizes.setdefault(type(record.change).__name__, []).append(len(encode_record(record)))
    applied_s = time.process_time() - began
    gc.collect()
    memory = _rss_bytes() - before
    began = time.process_time()
    snapshot = take(folds, position, floor_horizon=0, audiences=EDGE_AUDIENCES)
    taken_s = time.process_time() - began
    began = time.process_time()
    content = encode(snapshot)
    encoded_s = time.process_time() - began
    del snapshot
    began = time.process_time()
    load_into(decode(content), (CatalogFold("cdn.localhost"), Floors()))
    loaded_s = time.process_time() - began
    of_kind = ", ".join(f"{name} {statistics.mean(of):.0f}" for name, of in sorted(sizes.items()))
    return [
        f"sites: {count:,}, each with a domain, {DEPLOYS_PER_SITE} deploys, {PURGES_PER_SITE} purges of a tag",
        f"bytes of a record: {of_kind}",
        f"a record applied to catalog and floors: {applied_s / position.sequence * 1e6:.1f} us",
        f"memory of a node for each site: {memory / count / 1024:.1f} KiB",
        f"snapshot for each site: {len(content) / count:.0f} bytes on the wire",
        f"snapshot taken on control's loop: {taken_s / count * 1e6:.1f} us a site, then encoded in a thread: "
        f"{encoded_s / count * 1e6:.1f} us a site",
        f"snapshot loaded by a node: {loaded_s / count * 1e6:.1f} us a site",
    ]


def _records(sites: int) -> Iterator[Record]:
    sequence = 0
    for number in range(sites):
        for change in _changes(f"{number:016x}", f"site-{number}"):
            sequence += 1
            subject = f"site/{number}"
            yield Record(
                RECORD_VERSION, "bench", sequence, subject, 1.7e9 + sequence, "token:bench", Audience.ALL, change
            )


def _changes(site_id: str, name: str) -> Iterator[Change]:
    yield SiteCreated(site_id, name, {})
    yield DomainAdded(f"www.{name}.example", site_id)
    for _ in range(DEPLOYS_PER_SITE):
        deploy_id = secrets.token_hex(8)
        yield DeployPrepared(
            site_id, deploy_id, "production", secrets.token_hex(32), 400, 20_000_000, "ci@example.net", "a message"
        )
        yield DeployActivated(site_id, "production", deploy_id)
    for number in range(PURGES_PER_SITE):
        yield Purged(site_id, (PurgeScope("tag", f"article-{number}"),), False)


async def _responses(folder: Path, count: int) -> list[str]:
    """A disk tier with so many stored responses, opened."""
    disk = await DiskTier.open(folder, 1 << 40)
    await disk.aclose()
    await asyncio.to_thread(fill_index, folder, "s", Position("bench", 1), count, time.time())
    gc.collect()
    before = _rss_bytes()
    began = time.process_time()
    disk = await DiskTier.open(folder, 1 << 40)
    opened_s = time.process_time() - began
    memory = _rss_bytes() - before
    await disk.aclose()
    index = sum(path.stat().st_size for path in folder.glob("index.sqlite*"))
    return [
        f"stored responses: {count:,}",
        f"memory of a node for each stored response: {memory / count:.0f} bytes, opened with {opened_s:.2f} s of CPU",
        f"index on disk for each stored response: {index / count:.0f} bytes",
    ]


async def main() -> None:
    """`python -m bench.fleet_weights`, told by the bench."""
    await worker_process.serve(answer)


if __name__ == "__main__":
    uvloop.run(main())
