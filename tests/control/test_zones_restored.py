"""Zones, keys, challenges and geography after a restore from the object store alone."""

from __future__ import annotations

import pytest

from tests.control.control_room import ControlMaker
from tests.control.test_challenges_api import NAME, ask
from tests.control.test_geography_api import digest_of, fetched, send
from tests.control.test_restoration import restored_control
from tests.control.test_zones_api import put
from tests.control.zone_seams import PlainKeys, plain_reader


@pytest.mark.parametrize("snapshot_every", [2, 1_000_000])
async def test_they_come_back_from_the_archive_and_from_snapshots(
    make_control: ControlMaker, snapshot_every: int
) -> None:
    control = await make_control(archive_interval_s=0.0, snapshot_every_records=snapshot_every, keep_records=0)
    control.zone_reader, control.zone_keys = plain_reader, PlainKeys()
    await control.reopen()
    await put(control.api)
    await control.api.post("/v1/zones/example.org/signing", {"do": "on"})
    await ask(control.api)
    await send(control.api, b"table")
    before = control.plane.services.zones.dump()
    await control.close()
    restored, again = await restored_control(control, make_control)
    assert restored.zones == 1
    assert again.plane.services.zones.dump() == before
    assert (await again.api.get("/v1/geography")).document["digest"] == digest_of(b"table")
    assert await fetched(again, again.api, digest_of(b"table")) == (200, b"table")
    assert [c["name"] for c in (await again.api.get("/v1/challenges")).document["challenges"]] == [NAME]
    await again.close()
