"""The node's disk follows the records: written before they are acknowledged, fetched, swept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdn.edge.certificate_arrivals import ArrivingCertificates
from cdn.edge.certificate_keeper import CertificateKeeper, _ids_of
from cdn.edge.certificate_shelf import CertificateShelf, ShelfReader
from cdn.errors import Unavailable
from cdn.journal.record import AnswerSet, CertificateRemoved
from cdn.origin.directory import DirectoryStore
from cdn.tls.certificate import read_certificate
from cdn.tls.sealed import KeyRing
from tests.edge.certificate_stage import ZONE, Clock, Known, certificate_set, new_ring, put_object
from tests.tls.chains import Wish, authority, key_pem, signed


@dataclass(slots=True)
class Stage:
    known: Known
    shelf: CertificateShelf
    store: DirectoryStore
    keeper: CertificateKeeper
    reader: ShelfReader
    ring: KeyRing
    clock: Clock

    async def until_here(self, certificate_id: str) -> None:
        async with asyncio.timeout(20):
            while self.reader.get(certificate_id) is None:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def stage_at(path: Path) -> AsyncIterator[Stage]:
    known, clock = Known(), Clock()
    store = DirectoryStore(path / "store")
    shelf = await CertificateShelf.open(path / "certificates.db")
    keeper = CertificateKeeper(known.certificates, shelf, store, clock.clocks(), patience_s=20.0, retry_s=0.01)
    reader = ShelfReader(shelf.path)
    try:
        yield Stage(known, shelf, store, keeper, reader, new_ring(path), clock)
    finally:
        await keeper.aclose()
        reader.close()
        await shelf.aclose()
        await store.aclose()


async def test_what_came_with_records_is_on_the_disk_once_durable_returns(tmp_path: Path) -> None:
    async with stage_at(tmp_path) as stage:
        stage.known.domain("www.example.com")
        change = certificate_set("www.example.com", "s1", {"": stage.ring})
        stage.known.tell(change)
        assert stage.reader.get(change.certificate_id) is None
        assert await stage.keeper.durable() == (change.certificate_id,)
        found = stage.reader.get(change.certificate_id)
        assert found is not None
        assert (found.chain, dict(found.sealed_keys)) == (change.chain, change.sealed_keys)
        assert await stage.keeper.durable() == ()


async def test_a_disk_that_cannot_be_written_is_said_and_nothing_is_forgotten(tmp_path: Path) -> None:
    async with stage_at(tmp_path) as stage:
        stage.known.domain("www.example.com")
        stage.known.tell(certificate_set("www.example.com", "s1", {"": stage.ring}))
        await stage.shelf.aclose()
        with pytest.raises(Unavailable):
            await stage.keeper.durable()
        assert len(stage.known.certificates.arrived()) == 1


async def test_what_a_snapshot_named_is_fetched_before_durable_returns(tmp_path: Path) -> None:
    async with stage_at(tmp_path) as stage:
        names = [f"www.example-{number}.com" for number in range(5)]
        changes = [certificate_set(name, "s1", {"": stage.ring}) for name in names]
        for name, change in zip(names, changes, strict=True):
            stage.known.domain(name)
            stage.known.tell(change)
            await put_object(stage.store, change)
        stage.known.certificates.forget([change.certificate_id for change in changes])
        running = asyncio.create_task(stage.keeper.run())
        stage.keeper.snapshot_loaded()
        await stage.keeper.durable()
        assert await stage.shelf.ids() == {change.certificate_id for change in changes}
        assert stage.keeper.fetched == len(changes)
        running.cancel()


async def test_patience_ends_and_what_was_missing_is_fetched_when_the_store_has_it(tmp_path: Path) -> None:
    async with stage_at(tmp_path) as stage:
        stage.known.domain("www.example.com")
        change = certificate_set("www.example.com", "s1", {"": stage.ring})
        stage.known.tell(change)
        stage.known.certificates.forget((change.certificate_id,))
        stage.keeper.snapshot_loaded()
        stage.clock.now += 21.0
        await stage.keeper.durable()
        assert not await stage.keeper.complete()
        await put_object(stage.store, change)
        running = asyncio.create_task(stage.keeper.run())
        await stage.until_here(change.certificate_id)
        running.cancel()


async def test_an_object_that_is_another_certificate_is_not_kept(tmp_path: Path) -> None:
    async with stage_at(tmp_path) as stage:
        stage.known.domain("www.example.com")
        change = certificate_set("www.example.com", "s1", {"": stage.ring})
        other = certificate_set("other.example.com", "s1", {"": stage.ring})
        stage.known.tell(change)
        stage.known.certificates.forget((change.certificate_id,))
        key = f"certificates/{change.certificate_id}"
        await put_object(stage.store, other)
        for content in (
            await stage.store.get(f"certificates/{other.certificate_id}"),
            b"{}",
            b"\xff",
            b'{"chain": ""}',
        ):
            await stage.store.put(key, content)
            assert not await stage.keeper.complete()
        assert await stage.shelf.ids() == set()
        await put_object(stage.store, change)
        assert await stage.keeper.complete()
        assert await stage.shelf.ids() == {change.certificate_id}


async def test_a_handshakes_certificate_is_fetched_once_at_a_time(tmp_path: Path) -> None:
    async with stage_at(tmp_path) as stage:
        stage.known.domain("www.example.com")
        change = certificate_set("www.example.com", "s1", {"": stage.ring})
        stage.known.tell(change)
        stage.known.certificates.forget((change.certificate_id,))
        await put_object(stage.store, change)
        for _ in range(50):
            stage.keeper.want(change.certificate_id)
        await stage.until_here(change.certificate_id)
        assert stage.keeper.fetched == 1
        stage.keeper.want("00" * 32)
        await stage.keeper.aclose()


async def test_what_nobody_names_any_more_is_swept_and_the_rest_stays(tmp_path: Path) -> None:
    async with stage_at(tmp_path) as stage:
        first, second = (certificate_set("www.example.com", "s1", {"": stage.ring}, serial=n) for n in (1, 2))
        stays = certificate_set("stays.example.com", "s1", {"": stage.ring})
        stage.known.domain("www.example.com")
        stage.known.domain("stays.example.com")
        stage.known.tell(first, stays)
        await stage.keeper.durable()
        stage.known.tell(second)
        await stage.keeper.durable()
        assert await stage.keeper.sweep() == 1
        assert await stage.shelf.ids() == {second.certificate_id, stays.certificate_id}
        stage.known.tell(CertificateRemoved("www.example.com"))
        assert await stage.keeper.sweep() == 1
        assert await stage.shelf.ids() == {stays.certificate_id}


async def test_nothing_is_swept_before_it_is_known_what_there_is(tmp_path: Path) -> None:
    async with stage_at(tmp_path) as stage:
        change = certificate_set("www.example.com", "s1", {"": stage.ring})
        stage.known.domain("www.example.com")
        stage.known.tell(change)
        await stage.keeper.durable()
        stage.known.certificates.load(None)  # a node that has lost its copy of the journal
        stage.keeper._wakes.set()
        running = asyncio.create_task(stage.keeper.run())
        async with asyncio.timeout(20):
            while stage.keeper._wakes.is_set():
                await asyncio.sleep(0.005)
        assert await stage.shelf.ids() == {change.certificate_id}
        stage.keeper.snapshot_loaded()
        async with asyncio.timeout(20):
            while await stage.shelf.ids():
                await asyncio.sleep(0.005)
        running.cancel()


def test_a_brief_is_what_handshakes_go_by(tmp_path: Path) -> None:
    known, ring = Known(), new_ring(tmp_path)
    known.domain("www.example.com")
    known.domain("*.example.com")
    for name, site_id in (("www.example.com", "s1"), ("*.example.com", "s1"), (f"*.{ZONE}", "")):
        known.tell(certificate_set(name, site_id, {"": ring}))
    known.tell(AnswerSet("http-01", "a.example", "token", "value", 9.0))
    brief = ArrivingCertificates(known.view.catalog)
    brief.load_brief(known.certificates.brief())
    assert len(brief) == len(known.certificates)
    for host in ("www.example.com", "shop.example.com", f"blog.{ZONE}", "", "other.test"):
        whole, short = known.certificates.for_host(host), brief.for_host(host)
        assert (whole and (whole.certificate_id, whole.site_id)) == (short and (short.certificate_id, short.site_id))
    assert brief.answer("http-01", "a.example", "token", 8.0) == "value"
    brief.load_brief(None)
    assert len(brief) == 0


def test_a_chain_has_the_id_that_control_gives_it() -> None:
    middle = signed(Wish(common_name="middle", is_authority=True), authority("root"))
    leaf = signed(Wish(("www.example.com",)), middle)
    for chain in (leaf.chain, leaf.pem):
        read = read_certificate(chain, key_pem(leaf.key))
        assert _ids_of(read.chain)[0] == read.certificate_id
    assert _ids_of(leaf.chain)[1] == read.certificate_id, "as nodes knew it at first"
    with pytest.raises(ValueError, match="PEM"):
        _ids_of("no certificate-----END CERTIFICATE-----")
