"""Everything fails once while deploys, purges and visits go on (DESIGN I1, I3, I8, I9, I11).

Nothing acknowledged is lost, no stale answer follows an acknowledgement, and the fleet heals by itself. Real processes;
several faults at a time.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.e2e.fault_field import Field, Size
from tests.e2e.fault_play import suffer
from tests.e2e.fault_storm import Storm
from tests.e2e.fault_table import EMBEDDED_SHORT, FULL_SHORT, FULL_SHORT_LINES, SMALL_DISKS, WALL_CLOCKS
from tests.e2e.faults import Fault

Together = tuple[tuple[Fault, ...], ...]

pytestmark = pytest.mark.timeout(400)


async def play(field: Field, table: Together) -> None:
    try:
        await field.start()
        async with Storm(field, random.Random(1)).raging() as storm:
            for faults in table:
                await suffer(storm, *faults)
    finally:
        await field.aclose()


async def test_an_embedded_fleet_bears_it(tmp_path: Path) -> None:
    await play(Field(tmp_path, Size.EMBEDDED, SMALL_DISKS, WALL_CLOCKS), EMBEDDED_SHORT)


async def test_a_full_fleet_bears_the_end_of_its_processes(tmp_path: Path) -> None:
    await play(Field(tmp_path, Size.FULL), FULL_SHORT)


async def test_a_full_fleet_bears_faults_of_lines_stores_disks_and_clocks(tmp_path: Path) -> None:
    await play(Field(tmp_path, Size.FULL, SMALL_DISKS, WALL_CLOCKS), FULL_SHORT_LINES)
