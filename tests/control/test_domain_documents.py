"""What is known of domains, in the store: read by any replica, written by one at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from cdn.control.domain_documents import (
    KEPT_S,
    MAX_DOCUMENT_BYTES,
    DomainDocuments,
    Ordering,
    document_key,
    outdated,
    spread,
    with_object,
)
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import ObjectFacts

WILD = "*.example.com"


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


async def test_of_two_who_write_over_the_same_one_is_refused(store: DirectoryStore) -> None:
    one, two = DomainDocuments(store), DomainDocuments(store)
    first, second = await one.read(WILD, "site"), await two.read(WILD, "site")
    tried = msgspec.structs.replace(first.document, ordering=Ordering(tried_at=5.0))
    written = await one.write(first, tried)
    assert written is not None
    assert await two.write(second, second.document) is None
    again = await two.read(WILD, "site")
    assert again.document == tried
    assert await one.write(written, msgspec.structs.replace(tried, claimed_by=3)) is not None
    assert await two.write(again, msgspec.structs.replace(tried, claimed_by=4)) is None


class Interrupted(DirectoryStore):
    """Lets the test do something before each question for an object's facts, or for the object."""

    before_head: Callable[[], Awaitable[object]] | None = None
    before_get: Callable[[], Awaitable[object]] | None = None

    async def head(self, key: str) -> ObjectFacts | None:
        if (now := self.before_head) is not None:
            self.before_head = None
            await now()
        return await super().head(key)

    async def get(self, key: str) -> bytes:
        if (now := self.before_get) is not None:
            self.before_get = None
            await now()
        return await super().get(key)


async def test_what_another_wrote_meanwhile_is_never_written_over(tmp_path: Path) -> None:
    store = Interrupted(tmp_path)
    documents, others = DomainDocuments(store), DomainDocuments(DirectoryStore(tmp_path))

    async def other() -> None:
        held = await others.read(WILD, "site")
        released = Ordering(is_released=True, tried_at=held.document.ordering.tried_at)
        assert await others.write(held, msgspec.structs.replace(held.document, ordering=released)) is not None

    held = await documents.read(WILD, "site")
    store.before_head = other  # between its write and its look at what came of it
    assert await documents.write(held, msgspec.structs.replace(held.document, claimed_by=1)) is None

    async def change_again() -> None:
        was = await others.read(WILD, "site")
        assert await others.write(was, msgspec.structs.replace(was.document, claimed_by=2)) is not None

    store.before_get = change_again  # between the two questions of a look
    held = await documents.read(WILD, "site")
    assert held.document.claimed_by == 2
    assert await documents.write(held, msgspec.structs.replace(held.document, claimed_by=3)) is None
    assert (await documents.read(WILD, "site")).document.ordering.is_released


async def test_documents_are_found_by_name_and_site_and_removed(store: DirectoryStore) -> None:
    documents = DomainDocuments(store)
    names = {(WILD, "site"), ("www.example.com", "site"), ("www.example.com", "other"), ("*.cdn.localhost", "")}
    for domain, site_id in names:
        held = await documents.read(domain, site_id)
        assert await documents.write(held, held.document) is not None
    assert {name async for name in documents.all()} == names
    await documents.remove("www.example.com", "other")
    await documents.remove("www.example.com", "other")
    assert {name async for name in documents.all()} == names - {("www.example.com", "other")}


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b'{"format":2,"domain":"*.example.com","site_id":"site"}', b"x" * (MAX_DOCUMENT_BYTES + 1)],
)
async def test_what_cannot_be_read_is_begun_anew(store: DirectoryStore, raw: bytes) -> None:
    await store.put(document_key(WILD, "site"), raw)
    documents = DomainDocuments(store)
    held = await documents.read(WILD, "site")
    assert held.document.ordering == Ordering()
    assert await documents.write(held, msgspec.structs.replace(held.document, claimed_by=1)) is not None
    assert (await documents.read(WILD, "site")).document.claimed_by == 1


async def test_a_document_of_another_name_is_none_of_this_one(store: DirectoryStore) -> None:
    documents = DomainDocuments(store)
    other = msgspec.structs.replace((await documents.read("www.example.com", "site")).document, claimed_by=9)
    await store.put(document_key(WILD, "site"), msgspec.json.encode(other))
    assert (await documents.read(WILD, "site")).document.claimed_by == 0


async def test_certificates_that_were_replaced_are_outdated_after_a_while(store: DirectoryStore) -> None:
    document = (await DomainDocuments(store).read(WILD, "site")).document
    for at, certificate_id in ((0.0, "a"), (10.0, "b"), (20.0, "c")):
        document = with_object(document, certificate_id, at)
    assert outdated(document, "c", 20.0) == ()
    assert outdated(document, "c", 10.0 + KEPT_S) == ("a",)
    assert outdated(document, "c", 20.0 + KEPT_S) == ("a", "b")
    assert outdated(document, "b", 20.0 + KEPT_S) == ("a",)
    again = with_object(document, "a", 30.0)
    assert [certificate_id for certificate_id, _ in again.objects] == ["b", "c", "a"]


def test_names_take_turns() -> None:
    points = sorted(spread(f"www{number}.example.com") for number in range(1000))
    assert 0 <= points[0] < 0.01
    assert 0.99 < points[-1] < 1
    assert spread(WILD) == spread(WILD)
