"""`cdn zone` against a real control plane and the real reader of zone files."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cdn

TEXT = """\
$ORIGIN example.org.
$TTL 300
@     IN SOA ns1 hostmaster 7 7200 900 1209600 300
@     IN NS  ns1
ns1   IN A   192.0.2.53
@     IN ALIAS blog.cdn.localhost.
"""


@pytest.fixture
def zone_file(tmp_path: Path) -> Path:
    path = tmp_path / "example.zone"
    path.write_text(TEXT)
    return path


async def test_a_zone_is_imported_listed_shown_again_imported_and_removed(cdn: Cdn, zone_file: Path) -> None:
    imported = await cdn("zone", "import", str(zone_file))
    assert (imported.status, imported.err) == (0, "")
    assert "zone example.org is imported: 4 records" in imported.out
    listed = (await cdn("zone", "list")).out.splitlines()
    assert [line.split()[0] for line in listed] == ["zone", "cdn.localhost", "example.org"]
    shown = await cdn("zone", "show", "example.org")
    assert "example.org. 300 IN ALIAS blog.cdn.localhost." in shown.out.splitlines()
    zone_file.write_text(shown.out)
    again = await cdn("zone", "import", str(zone_file), "--name", "example.org", "--json")
    assert (again.document["replaced"], again.document["records"]) == (True, 4)
    assert (await cdn("zone", "show", "example.org")).out.splitlines()[1:] == shown.out.splitlines()[1:]
    assert "is the CDN's own" in (await cdn("zone", "show", "cdn.localhost")).out
    own = await cdn("zone", "rm", "cdn.localhost")
    assert (own.status, "is the CDN's own zone" in own.err) == (1, True)
    removed = await cdn("zone", "rm", "EXAMPLE.org.")
    assert (removed.status, removed.out) == (0, "zone example.org is removed\n")
    gone = await cdn("zone", "show", "example.org")
    assert (gone.status, "There is no zone example.org" in gone.err) == (1, True)


@pytest.mark.parametrize("name", [(), ("--name", "example.org")])
async def test_a_fault_is_named_with_its_file_and_line_and_changes_nothing(
    cdn: Cdn, zone_file: Path, name: tuple[str, ...]
) -> None:
    await cdn("zone", "import", str(zone_file))
    zone_file.write_text(f"{TEXT}www IN A 192.0.2.256\n")
    refused = await cdn("zone", "import", str(zone_file), *name)
    assert refused.status == 1
    assert f"{zone_file}" in refused.err
    assert "7" in refused.err
    zone_file.write_bytes(f"{TEXT}; ".encode() + b"\xff\n")
    refused = await cdn("zone", "import", str(zone_file), *name)
    assert (refused.status, "line 7: the text is not UTF-8" in refused.err) == (1, True)
    assert "4" in next(line for line in (await cdn("zone", "list")).out.splitlines() if "example.org" in line)


async def test_a_file_that_cannot_be_read_is_named(cdn: Cdn, tmp_path: Path) -> None:
    refused = await cdn("zone", "import", str(tmp_path / "nosuch"))
    assert (refused.status, "nosuch cannot be read: No such file" in refused.err) == (1, True)


async def test_a_zone_comes_from_standard_input(cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.cli.zone._text_of", lambda file: TEXT.encode() if file == "-" else b"")
    assert "is imported" in (await cdn("zone", "import", "-")).out


def test_standard_input_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from cdn.cli.zone import _text_of

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert _text_of("-") == TEXT.encode()


async def test_a_zone_is_signed_and_its_ds_record_printed(cdn: Cdn, zone_file: Path) -> None:
    await cdn("zone", "import", str(zone_file))
    assert "is not signed: cdn zone sign example.org --on" in (await cdn("zone", "sign", "example.org")).out
    unsigned = await cdn("zone", "sign", "example.org", "--ds")
    assert (unsigned.status, unsigned.out, "is not signed" in unsigned.err) == (1, "", True), (
        "no empty file of DS records"
    )
    on = await cdn("zone", "sign", "example.org", "--on")
    assert "k1" in on.out
    assert on.out.splitlines()[-1] == "Give the DS record to the zone above."
    assert (await cdn("zone", "sign", "example.org", "--ds")).out == "example.org. IN DS 7 13 2 AB\n"
    assert len((await cdn("zone", "sign", "example.org", "--roll", "--json")).document["keys"]) == 2
    assert len((await cdn("zone", "sign", "example.org", "--ds")).out.splitlines()) == 1, "the new key is not active"
    refused = await cdn("zone", "rm", "example.org")
    assert (refused.status, "cdn zone sign example.org --off" in refused.err) == (1, True)
    assert "is not signed" in (await cdn("zone", "sign", "example.org", "--off")).out
    assert (await cdn("zone", "sign", "example.org", "--on", "--off")).status == 2
