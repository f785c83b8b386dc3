"""Every fault by itself, each in a storm of a minute; then faults together and one after another, by a printed seed."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.e2e.fault_field import Field, Size
from tests.e2e.fault_play import possible, suffer
from tests.e2e.fault_storm import Storm
from tests.e2e.fault_table import FAULTS, JOURNAL, LINES, MACHINES, PROCESSES, SERVERS, SMALL_DISKS, STORE, WALL_CLOCKS
from tests.e2e.faults import CONTROLS, NATS, Fault

STORM_S = 60.0
ROUNDS = 40
LONGEST_S = 12.0

TABLES = {
    "processes": PROCESSES,
    "servers": SERVERS,
    "lines": LINES,
    "store": STORE,
    "machines": MACHINES,
    "journal": JOURNAL,
}

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


def of_embedded(table: str) -> bool:
    return table not in {"servers", "store"}


@pytest.mark.parametrize(
    ("size", "table"), [(size, table) for size in Size for table in TABLES if size is Size.FULL or of_embedded(table)]
)
async def test_every_fault_for_a_minute(tmp_path: Path, size: Size, table: str) -> None:
    field = Field(tmp_path, size, SMALL_DISKS, WALL_CLOCKS)
    try:
        await field.start()
        faults = possible(field, TABLES[table])
        assert faults
        async with Storm(field, random.Random(1)).raging() as storm:
            for fault in faults:
                await suffer(storm, fault, storm_s=STORM_S)
    finally:
        await field.aclose()


@pytest.mark.parametrize("size", list(Size))
async def test_faults_in_any_order(tmp_path: Path, size: Size) -> None:
    seed = int(os.environ.get("CDN_FAULT_SEED") or secrets.randbits(32))
    print(f"replay with CDN_FAULT_SEED={seed}")
    rng = random.Random(seed)
    field = Field(tmp_path, size, SMALL_DISKS, WALL_CLOCKS)
    try:
        await field.start()
        faults = possible(field, FAULTS)
        async with Storm(field, random.Random(seed)).raging() as storm:
            for _ in range(ROUNDS):
                await suffer(storm, *together(rng, faults), storm_s=rng.uniform(0.0, LONGEST_S))
    finally:
        await field.aclose()


def together(rng: random.Random, faults: Iterable[Fault]) -> list[Fault]:
    """One to three faults of which no two happen to the same part, or to parts that stand in for each other."""
    chosen: list[Fault] = []
    count = rng.choice((1, 1, 2, 3))
    for fault in rng.sample(list(faults), k=12):
        if len(chosen) < count and not any(groups(fault) & groups(other) for other in chosen):
            chosen.append(fault)
    return chosen


def groups(fault: Fault) -> frozenset[str]:
    """The parts that it touches or that must show it, those that stand in for each other as one."""
    if fault in JOURNAL:
        return frozenset({"control", "nats", "s3", *fault.touches})
    stand_ins = {**dict.fromkeys(CONTROLS, "control"), **dict.fromkeys(NATS, "nats")}
    return frozenset(stand_ins.get(part, part) for part in fault.touches | fault.detaches | fault.refuses)
