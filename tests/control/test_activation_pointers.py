"""Which receipts may call nodes fenced: only after the pointer they go by is in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdn.control.activation_pointers import ActivationPointers
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import (
    RECORD_VERSION,
    AliasSet,
    Audience,
    Change,
    DeployActivated,
    DeployPrepared,
    DomainAdded,
    Purged,
    Record,
    SiteChanged,
    SiteCreated,
)
from cdn.origin.activation import read_pointer
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import StoreUnavailable

VALIDATES = {"on_detach": "validate"}


class Journal:
    """A fold that is fed records one after the other."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.fold = CatalogFold("cdn.localhost")
        self.sequence = 0
        self.add(SiteCreated("s1", "blog", dict(settings)))
        self.add(DeployPrepared("s1", "d1", "production", "0" * 64, 1, 1, "ann", ""))

    def add(self, change: Change) -> Record:
        self.sequence += 1
        record = Record(RECORD_VERSION, "e", self.sequence, "s", 0.0, "ann", Audience.ALL, change)
        self.fold.apply(record)
        return record

    def activate(self) -> Record:
        return self.add(DeployActivated("s1", "production", "d1"))


async def test_the_pointer_is_there_before_anybody_counts_as_fenced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, journal = DirectoryStore(tmp_path), Journal(VALIDATES)
    pointers = ActivationPointers(store, lambda: journal.fold.catalog)
    first = journal.activate()
    assert await pointers.validates_from(first) == Position("e", 1)
    written = await read_pointer(store, "s1", "production")
    assert written is not None
    assert (written.position, written.deploy_id) == (first.position, "d1")
    second = journal.activate()

    async def down(key: str) -> None:
        raise StoreUnavailable("the store is down")

    monkeypatch.setattr(store, "head", down)
    assert await pointers.validates_from(first) is None, "what is active now is not in the store yet"
    assert await pointers.validates_from(second) is None
    monkeypatch.undo()
    assert await pointers.validates_from(second) == Position("e", 1)
    monkeypatch.setattr(store, "head", down)
    assert await pointers.validates_from(second) == Position("e", 1), "it is written once"
    await store.aclose()


async def test_only_sites_that_chose_it_and_only_what_validating_shows(tmp_path: Path) -> None:
    store, journal = DirectoryStore(tmp_path), Journal({})
    pointers = ActivationPointers(store, lambda: journal.fold.catalog)
    active = journal.activate()
    assert await pointers.validates_from(active) is None
    assert await read_pointer(store, "s1", "production") is None, "nothing is written for those who serve"
    changed = journal.add(SiteChanged("s1", dict(VALIDATES)))
    assert await pointers.validates_from(active) == changed.position, "nodes know of it from then on"
    assert await pointers.validates_from(journal.add(Purged("s1", (), False))) == changed.position
    assert await pointers.validates_from(journal.add(DomainAdded("www.example.com", "s1"))) is None
    assert await pointers.validates_from(changed) is None
    await store.aclose()
    again = CatalogFold("cdn.localhost")
    again.load(journal.fold.dump())
    site = again.catalog.site("s1")
    assert site is not None
    assert site.settings_sequence == changed.sequence


async def test_what_not_everybody_may_see_has_no_pointer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, journal = DirectoryStore(tmp_path), Journal(VALIDATES)
    pointers = ActivationPointers(store, lambda: journal.fold.catalog)
    assert await pointers.validates_from(journal.activate()) is not None
    await pointers.remove("s1", "production")
    assert await read_pointer(store, "s1", "production") is None
    journal.add(AliasSet("s1", "production", password="hash"))
    assert await pointers.validates_from(journal.activate()) is None, "nobody counts as fenced"
    assert await read_pointer(store, "s1", "production") is None
    journal.add(AliasSet("s1", "production"))
    original = store.put

    async def put_while_it_is_said(*what: object, **more: object) -> object:
        outcome = await original(*what, **more)  # type: ignore[arg-type]
        journal.fold.catalog.set_alias("s1", "production", password="hash", expires_at=None, lock="")
        return outcome

    monkeypatch.setattr(store, "put", put_while_it_is_said)
    assert await pointers.validates_from(journal.activate()) is None
    assert await read_pointer(store, "s1", "production") is None
