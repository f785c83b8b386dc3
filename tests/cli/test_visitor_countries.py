"""Countries of visitors: by the program's own table, or by a file."""

from __future__ import annotations

import asyncio
from array import array
from pathlib import Path

import pytest

from cdn.cli.visitor_countries import VisitorCountries
from cdn.dns.geo_table import Columns, write_table
from cdn.dns.geography import Place
from cdn.errors import InvalidInput

NO_RANGES = Columns(array("Q", [0]), array("I", [0]))


async def test_the_programs_own_table() -> None:
    countries = VisitorCountries()
    assert countries.of("8.8.8.8") == "", "nothing is read before somebody asks"
    await asyncio.gather(*(countries.ready() for _ in range(3)))
    assert countries.of("8.8.8.8") == "US"
    assert countries.of("::ffff:8.8.8.8") == "US"
    assert countries.of("127.0.0.1") == countries.of("no address") == countries.of("fe80::1%lo") == ""


async def test_a_table_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.geo"
    ranges = Columns(array("I", [0, 0x08080800, 0x08080900]), array("I", [0, 1, 0]))
    with file.open("wb") as opened:
        write_table(opened, [Place(), Place(country="CH", continent="EU")], ranges, NO_RANGES, "a test")
    countries = VisitorCountries(file, tmp_path / "kept")
    await countries.ready()
    assert (countries.of("8.8.8.8"), countries.of("8.8.9.8"), countries.of("2001:db8::1")) == ("CH", "", "")
    file.unlink()
    assert countries.of("8.8.8.8") == "CH", "it is a copy"


async def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent\.geo"):
        await VisitorCountries(tmp_path / "absent.geo", tmp_path / "own").ready()
    broken = tmp_path / "broken.mmdb"
    broken.write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidInput, match="geography file"):
        await VisitorCountries(broken, tmp_path / "own").ready()
