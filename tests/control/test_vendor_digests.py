"""Rows that say what other vendors' clients call content: of each site its own, and none without its content."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdn.control.proofs import Proofs
from cdn.control.vendor_digests import ROWS_AT_ONCE, DigestKind, VendorDigests
from cdn.origin.directory import DirectoryStore
from cdn.origin.layout import blob_key
from cdn.origin.store import ObjectFacts
from tests.control.control_room import entry_of

ONE, OTHER = "1" * 16, "2" * 16


class Table:
    def __init__(self, folder: Path) -> None:
        self.store = DirectoryStore(folder)
        self.proofs = Proofs(self.store, 1000)
        self.digests = VendorDigests(self.store, self.proofs)

    async def has(self, site_id: str, content: bytes) -> None:
        await self.store.put(blob_key(site_id, entry_of(content).digest), content)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


async def test_rows_are_found_by_those_who_look_later(table: Table, tmp_path: Path) -> None:
    content = bytes(3_000_000)
    await table.has(ONE, content)
    await table.digests.add(ONE, DigestKind.SHA1, {"a" * 40: entry_of(content)})
    found = await Table(tmp_path).digests.find(ONE, DigestKind.SHA1, ["a" * 40, "b" * 40])
    assert found == {"a" * 40: entry_of(content)}


async def test_what_one_site_says_is_not_believed_of_another_with_the_same_content(table: Table) -> None:
    for site_id in (ONE, OTHER):
        await table.has(site_id, b"x")
    await table.digests.add(ONE, DigestKind.SHA1, {"a" * 40: entry_of(b"x")})
    assert await table.digests.find(OTHER, DigestKind.SHA1, ["a" * 40]) == {}
    assert await table.digests.find(ONE, DigestKind.PAGES, ["a" * 40]) == {}, "of another kind"


async def test_a_row_without_its_content_is_none(table: Table) -> None:
    await table.digests.add(ONE, DigestKind.SHA1, {"a" * 40: entry_of(b"x")})
    assert await table.digests.find(ONE, DigestKind.SHA1, ["a" * 40]) == {}
    await table.has(ONE, b"x")
    assert await table.digests.find(ONE, DigestKind.SHA1, ["a" * 40])


async def test_a_row_whose_chunks_are_cut_off_is_none(table: Table) -> None:
    content = bytes(3_000_000)
    await table.has(ONE, content)
    await table.digests.add(ONE, DigestKind.SHA1, {"a" * 40: entry_of(content)})
    (key,) = [facts.key async for facts in table.store.scan(f"sites/{ONE}/digests/")]
    await table.store.put(key, b"short")
    assert await table.digests.find(ONE, DigestKind.SHA1, ["a" * 40]) == {}


async def test_several_contents_by_one_name_are_all_told(table: Table) -> None:
    for content in (b"x", b"y"):
        await table.has(ONE, content)
        await table.digests.add(ONE, DigestKind.PAGES_SAID, {"a" * 32: entry_of(content)})
    rows = await table.digests.rows(ONE, DigestKind.PAGES_SAID, ["a" * 32])
    assert {entry.digest for entry in rows["a" * 32]} == {entry_of(b"x").digest, entry_of(b"y").digest}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.from_regex(r"[0-9a-f]{40}", fullmatch=True), st.binary(max_size=20), max_size=6),
    st.integers(0, 70),
)
async def test_a_listing_finds_what_single_looks_find(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, bytes], strangers: int
) -> None:
    table = Table(tmp_path_factory.mktemp("table"))
    for content in rows.values():
        await table.has(ONE, content)
    await table.digests.add(ONE, DigestKind.SHA1, {digest: entry_of(content) for digest, content in rows.items()})
    asked = [*rows, *(f"{n:040x}" for n in range(strangers))]
    found = await table.digests.find(ONE, DigestKind.SHA1, asked)
    assert found == {digest: entry_of(content) for digest, content in rows.items()}


async def test_a_large_site_is_looked_up_without_keeping_others_waiting(tmp_path: Path) -> None:
    """Everybody has a turn now and then, whatever the machine: turns are counted, not time."""
    count = 20 * ROWS_AT_ONCE
    names = [f"{number:040x}" for number in range(count)]
    turns, most_tasks = 0, 0

    class Rows(DirectoryStore):
        async def scan(self, prefix: str) -> AsyncIterator[ObjectFacts]:
            for name in names:
                yield ObjectFacts(f"{prefix}{name[:2]}/{name}.{name:0>64}.5", 5, "e")

    class Proven:
        async def sizes(self, site_id: str, digests: Iterable[str]) -> dict[str, int]:
            return dict.fromkeys(digests, 5)

    async def others() -> None:
        nonlocal turns, most_tasks
        while True:
            turns += 1
            most_tasks = max(most_tasks, len(asyncio.all_tasks()))
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    digests = VendorDigests(Rows(tmp_path), Proven())  # type: ignore[arg-type]
    found = await digests.find("s", DigestKind.SHA1, names)
    other.cancel()
    assert len(found) == count
    assert turns >= count / ROWS_AT_ONCE
    assert most_tasks < 100
