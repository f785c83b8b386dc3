"""Which form of a file answers, and that nothing about forms is ever an error to a visitor."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

import pytest

from cdn.edge import coded_files
from cdn.edge.clocks import Clocks
from cdn.edge.coded_files import Choice, CodedFiles, Where
from cdn.edge.variants_cache import RETRY_S, VariantsCache, VariantsUnavailable
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.origin.directory import DirectoryStore
from cdn.origin.layout import variants_key
from cdn.origin.store import StoreUnavailable
from cdn.sites.catalog import Catalog
from cdn.sites.deploy import Deploy
from cdn.sites.manifest import FileEntry, digest_of
from cdn.sites.representation import representation_of
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site
from cdn.sites.variants import Forms, Variants

SITE, ALIAS = "s1", "production"


def entry(name: str, size_bytes: int) -> FileEntry:
    return FileEntry(digest_of(name.encode()), size_bytes)


SOURCE = entry("source", 10_000)
FORMS: Forms = {"zstd": entry("zstd", 2_100), "br": entry("br", 2_000), "gzip": entry("gzip", 2_500)}
PAGE = representation_of("/app.js", SOURCE, SiteSettings(), 200)


def asked(accept_encoding: str | None = None, method: str = "GET") -> Request:
    fields = () if accept_encoding is None else (("accept-encoding", accept_encoding),)
    return Request(method, Target("/app.js", None, "/app.js"), "blog.example", None, Fields(fields), "http")


class Shelf(DirectoryStore):
    """A store that can be down, or wait."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.is_down = False
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, key: str) -> bytes:
        self.reads += 1
        await self.gate.wait()
        if self.is_down:
            raise StoreUnavailable("down")
        return await super().get(key)


class Stage:
    """A node's view of one site, with deploys whose lists are in the store."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.store = Shelf(folder / "store")
        self.catalog = Catalog("cdn.localhost")
        self.catalog.create_site(Site(SITE, "blog", 0.0, SiteSettings(), 1))
        self.told: list[tuple[str, str]] = []
        self.folder = folder / "variants"
        self.restart()

    def restart(self) -> None:
        clocks = Clocks(wall=lambda: self.now, monotonic=lambda: self.now)
        self.lists = VariantsCache(self.store, self.folder, lambda: self.now)
        self.files = CodedFiles(
            self.lists, lambda: self.catalog, clocks, lambda site_id, digest: self.told.append((site_id, digest))
        )

    def deploy(self, name: str) -> str:
        """The digest of its manifest."""
        manifest = digest_of(name.encode())
        self.catalog.prepare_deploy(Deploy(name, SITE, ALIAS, manifest, 1, 1, "me", "", self.now, 1))
        self.catalog.activate(SITE, ALIAS, name, self.now, 1)
        return manifest

    async def announce(self, manifest: str, coded: Mapping[str, Forms]) -> str:
        raw = Variants(coded).to_bytes()
        await self.store.put(variants_key(SITE, digest_of(raw)), raw)
        assert self.catalog.set_variants(SITE, manifest, digest_of(raw))
        return digest_of(raw)

    async def choose(self, manifest: str, accept_encoding: str | None = "br", **more: Any) -> Choice:
        where = Where(SITE, ALIAS, manifest, **more)
        return await self.files.choose(asked(accept_encoding), where, SOURCE, PAGE)


@pytest.fixture
async def stage(tmp_path: Path) -> Any:
    stage = Stage(tmp_path)
    yield stage
    stage.store.gate.set()
    await stage.lists.aclose()
    await stage.store.aclose()


IDENTITY = Choice(SOURCE, PAGE)


async def test_the_form_that_the_visitor_likes_is_sent(stage: Stage) -> None:
    manifest = stage.deploy("d1")
    await stage.announce(manifest, {SOURCE.digest: FORMS})
    for accept, coding in [("gzip", "gzip"), ("zstd, gzip", "zstd"), ("br;q=0.5, gzip", "gzip"), ("*", "br")]:
        choice = await stage.choose(manifest, accept)
        assert (choice.entry, choice.coding) == (FORMS[coding], coding)
        assert choice.codings == ("br", "zstd", "gzip"), "smallest first"
        assert choice.usable_until == inf
        assert Fields(choice.representation.fields).get("vary") == "Accept-Encoding"


@pytest.mark.parametrize("accept", [None, "", "identity", "br;q=0, *;q=0", "lzma", "identity, br;q=0.5"])
async def test_who_wants_none_gets_identity_and_hears_that_there_are_others(stage: Stage, accept: str | None) -> None:
    manifest = stage.deploy("d1")
    await stage.announce(manifest, {SOURCE.digest: FORMS})
    choice = await stage.choose(manifest, accept)
    assert (choice.entry, choice.coding, choice.codings) == (SOURCE, None, ("br", "zstd", "gzip"))
    assert Fields(choice.representation.fields).get("vary") == "Accept-Encoding"
    assert choice.representation.entity_tag == PAGE.entity_tag


async def test_without_a_list_or_a_line_in_it_a_file_is_as_ever(stage: Stage) -> None:
    manifest = stage.deploy("d1")
    assert await stage.choose(manifest) == IDENTITY
    await stage.announce(manifest, {SOURCE.digest: {}})
    assert await stage.choose(manifest) == IDENTITY
    await stage.announce(manifest, {})
    assert await stage.choose(manifest) == IDENTITY
    image = representation_of("/a.png", SOURCE, SiteSettings(), 200)
    reads = stage.store.reads
    assert (await stage.files.choose(asked("br"), Where(SITE, ALIAS, manifest), SOURCE, image)).entry is SOURCE
    assert stage.store.reads == reads, "an image costs no look at any list"


async def test_files_of_a_former_deploy_have_the_forms_that_its_list_names(stage: Stage) -> None:
    old, new = stage.deploy("d1"), stage.deploy("d2")
    await stage.announce(old, {SOURCE.digest: FORMS})
    assert await stage.choose(new) == IDENTITY
    assert (await stage.choose(new, is_retained=True)).coding == "br"


# Lists that cannot be had


async def test_a_store_that_is_down_costs_the_forms_and_is_asked_again_later(stage: Stage) -> None:
    manifest = stage.deploy("d1")
    await stage.announce(manifest, {SOURCE.digest: FORMS})
    stage.store.is_down = True
    choice = await stage.choose(manifest)
    assert (choice.entry, choice.codings) == (SOURCE, ())
    assert choice.usable_until == stage.now + RETRY_S, "not for ever"
    assert (await stage.choose(manifest)).usable_until == stage.now + RETRY_S
    assert stage.store.reads == 1
    assert not stage.told, "the store may have it"
    stage.store.is_down = False
    stage.now += RETRY_S
    assert (await stage.choose(manifest)).coding == "br"


@pytest.mark.parametrize("damage", [None, b"cdn-variants 1\nnonsense\n"])
async def test_a_list_that_the_store_lost_is_told(stage: Stage, damage: bytes | None) -> None:
    manifest = stage.deploy("d1")
    named = await stage.announce(manifest, {SOURCE.digest: FORMS})
    await stage.store.delete(variants_key(SITE, named))
    if damage is not None:
        await stage.store.put(variants_key(SITE, named), damage)
    assert (await stage.choose(manifest)).coding is None
    assert stage.told == [(SITE, named)]


async def test_a_list_of_a_later_version_costs_the_forms(stage: Stage) -> None:
    manifest = stage.deploy("d1")
    raw = b"cdn-variants 2\n"
    await stage.store.put(variants_key(SITE, digest_of(raw)), raw)
    stage.catalog.set_variants(SITE, manifest, digest_of(raw))
    assert (await stage.choose(manifest)).entry is SOURCE
    assert not stage.told, "it is as it should be; this program is old"


async def test_a_faulty_line_costs_the_forms_of_one_file(stage: Stage) -> None:
    manifest = stage.deploy("d1")
    raw = f"cdn-variants 1\n{SOURCE.digest} br:x:1\n".encode()
    await stage.store.put(variants_key(SITE, digest_of(raw)), raw)
    stage.catalog.set_variants(SITE, manifest, digest_of(raw))
    assert await stage.choose(manifest) == IDENTITY


async def test_nobody_waits_long_for_a_list(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coded_files, "LIST_WAIT_S", 0.01)
    manifest = stage.deploy("d1")
    await stage.announce(manifest, {SOURCE.digest: FORMS})
    stage.store.gate.clear()
    choice = await stage.choose(manifest)
    assert (choice.entry, choice.usable_until) == (SOURCE, stage.now + coded_files.SOON_S)
    await stage.choose(manifest)
    assert stage.store.reads == 1, "the load goes on, for all who wait"
    stage.store.gate.set()
    await stage.lists.load(SITE, stage.catalog.variants(SITE, manifest))
    assert (await stage.choose(manifest)).coding == "br"


# Forms that cannot be had


async def test_a_form_that_is_gone_is_not_asked_for_again_for_a_while(stage: Stage) -> None:
    manifest = stage.deploy("d1")
    await stage.announce(manifest, {SOURCE.digest: FORMS})
    choice = await stage.choose(manifest, "br, gzip")
    instead = stage.files.identity(SITE, choice, SOURCE, PAGE)
    assert (instead.entry, instead.coding) == (SOURCE, None)
    assert instead.usable_until <= stage.now, "it is not kept for the next one who likes this form"
    assert Fields(instead.representation.fields).get("vary") == "Accept-Encoding"
    other = await stage.choose(manifest, "br, gzip")
    assert (other.coding, other.codings) == ("gzip", ("zstd", "gzip"))
    assert other.usable_until == stage.now + coded_files.FORM_RETRY_S
    stage.now += coded_files.FORM_RETRY_S
    assert (await stage.choose(manifest, "br, gzip")).coding == "br"
    assert (stage.files.counted()["coded_fell_back"], stage.files.counted()["coded_answers"]) == (1, 3)


async def test_when_every_form_is_gone_the_file_is_as_without_any(stage: Stage) -> None:
    manifest = stage.deploy("d1")
    await stage.announce(manifest, {SOURCE.digest: FORMS})
    for _ in FORMS:
        stage.files.identity(SITE, await stage.choose(manifest, "*"), SOURCE, PAGE)
    choice = await stage.choose(manifest, "*")
    assert (choice.entry, choice.codings, choice.usable_until) == (SOURCE, (), stage.now + coded_files.FORM_RETRY_S)


# The cache of lists


async def test_a_list_is_on_the_nodes_disk_when_the_store_is_not_there(stage: Stage) -> None:
    manifest = stage.deploy("d1")
    await stage.announce(manifest, {SOURCE.digest: FORMS})
    await stage.choose(manifest)
    stage.store.is_down = True
    stage.restart()
    assert (await stage.choose(manifest)).coding == "br"


async def test_a_damaged_copy_is_fetched_again(stage: Stage) -> None:
    manifest = stage.deploy("d1")
    named = await stage.announce(manifest, {SOURCE.digest: FORMS})
    await stage.choose(manifest)
    (stage.folder / SITE / named).write_bytes(b"cdn-variants 1\n")
    stage.restart()
    assert (await stage.choose(manifest)).coding == "br"
    assert stage.store.reads == 2


async def test_lists_in_memory_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for number in range(4):
        manifest = stage.deploy(f"d{number}")
        names.append(await stage.announce(manifest, {SOURCE.digest: {"br": entry(str(number), 100)}}))
    size_bytes = (await stage.lists.load(SITE, names[0])).cost_bytes + 1024
    monkeypatch.setattr("cdn.edge.variants_cache.MAX_BYTES_IN_MEMORY", 2 * size_bytes)
    for name in names:
        await stage.lists.load(SITE, name)
    assert [stage.lists.get(SITE, name) is not None for name in names] == [False, False, True, True]
    monkeypatch.setattr("cdn.edge.variants_cache.MAX_BYTES_IN_MEMORY", 1)
    await stage.lists.load(SITE, names[0])
    assert [stage.lists.get(SITE, name) is not None for name in names] == [True, False, False, False], "one at least"


async def test_copies_on_disk_are_bounded_and_go_with_their_site(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    named = await stage.announce(stage.deploy("d1"), {SOURCE.digest: FORMS})
    await stage.lists.load(SITE, named)
    assert [file.name for file in (stage.folder / SITE).iterdir()] == [named]
    await stage.lists.drop_site(SITE)
    assert not (stage.folder / SITE).exists()
    assert stage.lists.get(SITE, named) is None
    await stage.lists.drop_site(SITE)
    monkeypatch.setattr(stage.lists.copies, "_max_bytes", 10)
    await stage.lists.load(SITE, named)
    assert not list((stage.folder / SITE).iterdir())
    assert stage.lists.get(SITE, named) is not None


async def test_a_full_disk_costs_only_the_copy(stage: Stage) -> None:
    stage.folder.write_text("no folder")
    named = await stage.announce(stage.deploy("d1"), {SOURCE.digest: FORMS})
    assert len(await stage.lists.load(SITE, named)) == 1
    assert stage.lists.copies.failed == 1


async def test_faults_remembered_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.edge.variants_cache.MAX_FAULTS", 2)
    monkeypatch.setattr(coded_files, "MAX_FAULTY", 2)
    for number in range(5):
        with pytest.raises(VariantsUnavailable):
            await stage.lists.load(SITE, digest_of(str(number).encode()))
        stage.files.identity(SITE, Choice(entry(str(number), 1), PAGE), SOURCE, PAGE)
    assert (len(stage.lists._not_before), len(stage.files._faulty)) == (2, 2)
    await stage.lists.aclose()
