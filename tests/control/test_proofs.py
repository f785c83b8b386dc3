"""Which blobs a site has proved, and what finding out costs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cdn.control.proofs import CONCURRENT_HEADS, HEAD_AT_MOST, Proofs
from cdn.origin.layout import blob_key
from cdn.origin.store import ObjectFacts


def digest(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


class Shelf:
    """Objects in a dict; counts what is asked of it."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.heads = 0
        self.scans = 0
        self.scanned = 0
        self.at_once = 0
        self.most_at_once = 0

    def add(self, site_id: str, number: int) -> None:
        self.sizes[blob_key(site_id, digest(number))] = number

    async def head(self, key: str) -> ObjectFacts | None:
        self.heads += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return ObjectFacts(key, self.sizes[key], "") if key in self.sizes else None

    async def scan(self, prefix: str) -> AsyncIterator[ObjectFacts]:
        self.scans += 1
        for key in sorted(self.sizes):
            if key.startswith(prefix):
                self.scanned += 1
                yield ObjectFacts(key, self.sizes[key], "")


def proofs_over(shelf: Any, max_digests: int = 10_000) -> Proofs:
    return Proofs(shelf, max_digests)


async def test_few_are_looked_up_singly_and_many_by_one_listing() -> None:
    shelf = Shelf()
    for number in range(500):
        shelf.add("s", number)
    few = await proofs_over(shelf).sizes("s", [digest(number) for number in range(HEAD_AT_MOST)])
    assert (len(few), shelf.heads, shelf.scans) == (HEAD_AT_MOST, HEAD_AT_MOST, 0)
    assert shelf.most_at_once == CONCURRENT_HEADS
    shelf.heads = 0
    many = await proofs_over(shelf).sizes("s", [digest(number) for number in range(250, 750)])
    assert (len(many), shelf.heads, shelf.scans) == (250, 0, 1)


async def test_what_was_seen_is_not_asked_again() -> None:
    shelf = Shelf()
    for number in range(100):
        shelf.add("s", number)
    proofs = proofs_over(shelf)
    wanted = [digest(number) for number in range(100)]
    await proofs.sizes("s", wanted)
    await proofs.sizes("s", [*wanted, digest(1000)])
    assert (shelf.scans, shelf.heads) == (1, 1)
    proofs.add("s", digest(2000), 7)
    assert await proofs.sizes("s", [digest(2000)]) == {digest(2000): 7}
    assert (shelf.scans, shelf.heads) == (1, 1)


async def test_what_is_missing_is_asked_for_every_time() -> None:
    shelf = Shelf()
    proofs = proofs_over(shelf)
    assert await proofs.sizes("s", [digest(1)]) == {}
    shelf.add("s", 1)
    assert await proofs.sizes("s", [digest(1)]) == {digest(1): 1}


async def test_listing_sees_no_other_sites_blobs() -> None:
    shelf = Shelf()
    for number in range(200):
        shelf.add("s", number)
    assert await proofs_over(shelf).sizes("t", [digest(number) for number in range(200)]) == {}
    assert shelf.scans == 1


async def test_one_sites_proof_is_nothing_to_another() -> None:
    shelf = Shelf()
    shelf.add("s", 1)
    proofs = proofs_over(shelf)
    assert await proofs.sizes("s", [digest(1)])
    assert await proofs.sizes("t", [digest(1)]) == {}
    proofs.forget_site("s")
    assert len(proofs) == 0


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=60),
    st.integers(1, 12),
)
def test_memory_is_bounded_and_never_wrong(additions: list[tuple[int, int]], max_digests: int) -> None:
    shelf = Shelf()
    proofs = proofs_over(shelf, max_digests)
    truth: set[tuple[int, int]] = set()
    for site, number in additions:
        proofs.add(str(site), digest(number), number)
        truth.add((site, number))
        assert len(proofs) <= max_digests
        assert len(proofs) == sum(len(known) for known in proofs._sites.values())
    for site_id, known in proofs._sites.items():
        for raw, size_bytes in known.items():
            assert raw.hex() == digest(size_bytes)
            assert (int(site_id), size_bytes) in truth
