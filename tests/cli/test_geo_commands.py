"""`cdn geo` against a real control plane and the real compiler."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cdn.dns.geo_builder import TableBuilder
from cdn.dns.geography import Place
from tests.cli.conftest import Cdn


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "places.geo"
    builder = TableBuilder()
    builder.number_of(Place(52.5, 13.4, "DE", "EU"))
    builder.write(path, "Made for this test")
    return path


async def test_a_table_is_sent_shown_and_given_up(cdn: Cdn, table: Path) -> None:
    assert "comes with the program" in (await cdn("geo", "show")).out
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    sent = await cdn("geo", "update", str(table))
    assert (sent.status, sent.err) == (0, "")
    assert digest in sent.out
    assert "Made for this test" in sent.out
    assert (await cdn("geo", "show", "--json")).document == {
        "digest": digest,
        "size_bytes": table.stat().st_size,
        "note": "Made for this test",
    }
    assert "comes with the program" in (await cdn("geo", "update", "--default")).out
    assert (await cdn("geo", "show", "--json")).document["digest"] == ""


async def test_what_is_no_table_is_not_sent(cdn: Cdn, table: Path, tmp_path: Path) -> None:
    table.write_bytes(table.read_bytes()[:-1])
    (tmp_path / "no.mmdb").write_bytes(b"not a database")
    (tmp_path / "text").write_bytes(b"neither a database nor a table" * 100)
    for path, said in (
        (table, "places.geo"),
        (tmp_path / "no.mmdb", "no.mmdb"),
        (tmp_path / "text", "the name of a database ends in .mmdb"),
        (tmp_path / "nosuch", f"cdn: {tmp_path}/nosuch cannot be read"),
        (tmp_path / "nosuch.mmdb", f"cdn: {tmp_path}/nosuch.mmdb cannot be read"),
    ):
        refused = await cdn("geo", "update", str(path))
        assert (refused.status, said in refused.err) == (1, True), refused
    assert (await cdn("geo", "show", "--json")).document["digest"] == ""


async def test_one_of_both_has_to_be_said(cdn: Cdn, table: Path) -> None:
    assert (await cdn("geo", "update")).status == 2
    assert (await cdn("geo", "update", str(table), "--default")).status == 2
