"""The keys of zones with real seals: made, told of, sealed anew when the file of keys was changed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from cdn.tls.sealed import KeyRing, make_key_file
from cdn.tls.zone_key_roll import ZoneKeyRoll
from tests.control.control_room import Control, ControlMaker
from tests.control.test_zones_api import put
from tests.control.zone_seams import plain_reader

SIGNING = "/v1/zones/example.org/signing"


@pytest.fixture
def key_texts(tmp_path: Path) -> tuple[str, str]:
    for name in ("old", "new"):
        make_key_file(tmp_path / name)
    return (tmp_path / "old").read_text(), (tmp_path / "new").read_text()


async def with_keys(control: Control, path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    control.zone_reader, control.zone_keys = plain_reader, ZoneKeyRoll(KeyRing.read(path))
    await control.reopen()
    if control.plane._sealing is not None:
        await asyncio.wait({control.plane._sealing})


async def test_a_key_is_made_and_outlives_the_key_it_was_sealed_with(
    make_control: ControlMaker, tmp_path: Path, key_texts: tuple[str, str]
) -> None:
    old, new = key_texts
    control, path = await make_control(), tmp_path / "keys"
    await with_keys(control, path, old)
    await put(control.api)
    on = await control.api.post(SIGNING, {"do": "on"})
    assert on.status == 200
    (key,) = on.document["keys"]
    assert re.fullmatch(r"example\.org\..* DS \d+ 13 2 [0-9A-Fa-f ]{64,}", key["ds"]), key
    assert key["stage"] == "active"
    assert on.document["next_step"]
    sealed = control.plane.services.zones.keys("example.org")
    await with_keys(control, path, old + new)
    assert control.plane.services.zones.keys("example.org") == sealed, "the new key opens only"
    await with_keys(control, path, new + old)
    assert control.plane.services.zones.keys("example.org") != sealed
    assert (await control.api.get(SIGNING)).document["keys"] == [key]
    await with_keys(control, path, new)
    assert (await control.api.get(SIGNING)).document["keys"] == [key], "the old line may go"


async def test_a_key_that_is_missing_is_named_and_stops_nothing_else(
    make_control: ControlMaker, tmp_path: Path, key_texts: tuple[str, str]
) -> None:
    old, new = key_texts
    control, path = await make_control(), tmp_path / "keys"
    await with_keys(control, path, old)
    await put(control.api)
    await control.api.post(SIGNING, {"do": "on"})
    await with_keys(control, path, new)
    for answer in (await control.api.get(SIGNING), await control.api.post(SIGNING, {"do": "roll"})):
        assert (answer.status, str(path) in answer.document["detail"]) == (409, True), answer
    assert (await put(control.api)).status == 200
    assert (await control.api.get("/v1/zones/example.org")).document["signed"] is True
