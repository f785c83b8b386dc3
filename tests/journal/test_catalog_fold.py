"""The catalog from records: every kind, snapshots, and histories that a race let through."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.errors import InvalidInput
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.fold import Fold
from cdn.journal.record import (
    RECORD_VERSION,
    AliasRemoved,
    AliasSet,
    Audience,
    Change,
    DeployActivated,
    DeployPrepared,
    DomainAdded,
    DomainRemoved,
    Purged,
    PurgeScope,
    Record,
    SiteChanged,
    SiteCreated,
    SiteRemoved,
    UnknownRecord,
    VariantsSet,
    Withheld,
)
from cdn.sites.name import PRODUCTION
from cdn.sites.settings import SiteSettings


def record(sequence: int, change: Change) -> Record:
    return Record(RECORD_VERSION, "e", sequence, "subject", 100.0 + sequence, "ann", Audience.ALL, change)


def prepared(deploy_id: str, alias: str = PRODUCTION, site_id: str = "s1") -> DeployPrepared:
    return DeployPrepared(
        site_id=site_id,
        deploy_id=deploy_id,
        alias=alias,
        manifest_digest="0" * 64,
        file_count=3,
        size_bytes=9,
        author="ann",
        message="m\u00e9",
    )


def fold_of(*changes: Change) -> CatalogFold:
    fold = CatalogFold("cdn.localhost")
    for sequence, change in enumerate(changes, start=1):
        fold.apply(record(sequence, change))
    return fold


SITE = SiteCreated(site_id="s1", name="blog", settings={"browser_ttl_s": 5, "header_rules": []})


def test_it_is_a_fold_for_everyone() -> None:
    fold: Fold = CatalogFold("cdn.localhost")
    assert fold.name == "catalog"
    assert fold.audience is Audience.ALL


def test_every_kind() -> None:
    fold = fold_of(
        SITE,
        DomainAdded(domain="a.example", site_id="s1"),
        DomainAdded(domain="b.example", site_id="s1"),
        DomainRemoved(domain="a.example", site_id="s1"),
        prepared("d1"),
        DeployActivated(site_id="s1", alias=PRODUCTION, deploy_id="d1"),
        SiteChanged(site_id="s1", settings={"retention_s": 7}),
        prepared("d2", "next"),
        DeployActivated(site_id="s1", alias=PRODUCTION, deploy_id="d2"),
        Purged(site_id="s1", scopes=(PurgeScope("everything", ""),), soft=False),
        Withheld(),
    )
    catalog = fold.catalog
    site = catalog.site_named("blog")
    assert site is not None
    assert (site.id, site.created_at, site.settings) == ("s1", 101.0, SiteSettings(retention_s=7))
    assert catalog.domains() == {"b.example": "s1"}
    state = catalog.alias("s1", PRODUCTION)
    assert state is not None
    assert state.active is not None
    assert (state.active.id, state.activated_sequence, state.activated_at) == ("d2", 9, 109.0)
    assert (state.active.sequence, state.active.prepared_at, state.active.message) == (8, 108.0, "m\u00e9")
    assert [(one.deploy.id, one.until) for one in state.retained] == [("d1", 116.0)]
    assert [one.id for one in catalog.preparing("s1")] == ["d2"]
    fold.apply(record(12, SiteRemoved(site_id="s1")))
    assert catalog.sites() == ()


def test_settings_of_a_newer_program_stop_this_one() -> None:
    fold = fold_of(SITE)
    for change in (
        SiteCreated(site_id="s2", name="b", settings={"telepathy": True}),
        SiteChanged(site_id="s1", settings={"telepathy": True}),
        SiteCreated(site_id="s2", name="b", settings={"origin": "gopher://h"}),
        SiteChanged(site_id="s1", settings={"query": {"deny": ["utm_source"]}}),
    ):
        with pytest.raises(UnknownRecord, match=r"record 2 has settings.*upgrade this node"):
            fold.apply(record(2, change))
    assert [site.name for site in fold.catalog.sites()] == ["blog"]


def test_a_snapshot_with_settings_of_a_newer_program_is_not_loaded() -> None:
    fold = fold_of(SITE)
    section = fold.dump()
    for wrong in ({"telepathy": True}, {"origin": "gopher://h"}):
        section["sites"][0]["settings"] = wrong
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            CatalogFold("cdn.localhost").load(section)


@pytest.mark.parametrize("change", [{"new": 1}, {"id": None}, {"sequence": "x"}])
def test_a_snapshot_with_deploys_of_another_form_is_not_loaded(change: dict[str, Any]) -> None:
    fold = CatalogFold("cdn.localhost")
    fold.apply(record(1, SiteCreated("s1", "blog", {})))
    fold.apply(record(2, prepared("d1")))
    section = json.loads(json.dumps(fold.dump()))
    section["deploys"][0] |= change
    with pytest.raises((UnknownRecord, msgspec.ValidationError)):
        CatalogFold("cdn.localhost").load(section)
    del section["deploys"][0]["author"]
    with pytest.raises((UnknownRecord, msgspec.ValidationError)):
        CatalogFold("cdn.localhost").load(section)


def test_a_snapshot_names_only_the_settings_that_are_set() -> None:
    """So a program of an earlier release takes it as long as no site uses what it does not know."""
    origin = {"origin": "https://h", "pass_s": 5}
    fold = fold_of(SITE, SiteCreated(site_id="s2", name="b", settings=origin))
    assert {one["name"]: one["settings"] for one in fold.dump()["sites"]} == {"b": origin, "blog": {"browser_ttl_s": 5}}


def test_the_order_of_rollbacks_is_in_the_snapshot_where_it_is_not_that_of_deploys() -> None:
    def activated(deploy_id: str) -> DeployActivated:
        return DeployActivated(site_id="s1", alias=PRODUCTION, deploy_id=deploy_id)

    made: list[Change] = [SITE, prepared("d1", "next"), prepared("d2"), activated("d2")]
    assert "promoted" not in fold_of(*made).dump()["aliases"][1]
    followed = fold_of(*made, activated("d1"))
    loaded = CatalogFold("cdn.localhost")
    loaded.load(json.loads(json.dumps(followed.dump())))
    assert loaded.catalog.aliases("s1") == followed.catalog.aliases("s1")
    target = loaded.catalog.rollback_target("s1", PRODUCTION)
    assert target is not None
    assert target.id == "d2"


def test_loading_nothing_is_the_empty_catalog() -> None:
    fold = fold_of(SITE, DomainAdded(domain="a.example", site_id="s1"))
    catalog = fold.catalog
    fold.load(None)
    assert fold.catalog is catalog
    assert catalog.sites() == ()
    assert catalog.bind("a.example") is None
    assert fold.dump() == CatalogFold("cdn.localhost").dump()


SITES = st.sampled_from(["s1", "s2"])
ALIASES = st.sampled_from([PRODUCTION, "next"])
DEPLOYS = st.sampled_from(["d1", "d2", "d3", "d4"])
DOMAINS = st.sampled_from(["a.example", "b.example", "x.cdn.localhost"])
SETTINGS: Any = st.fixed_dictionaries(
    {}, optional={"retention_s": st.integers(0, 5), "keep": st.just(["/a/*"]), "keep_deploys": st.integers(1, 3)}
)
CHANGES = st.one_of(
    st.builds(SiteCreated, site_id=SITES, name=st.sampled_from(["blog", "shop"]), settings=SETTINGS),
    st.builds(SiteChanged, site_id=SITES, settings=SETTINGS),
    st.builds(SiteRemoved, site_id=SITES),
    st.builds(DomainAdded, domain=DOMAINS, site_id=SITES),
    st.builds(DomainRemoved, domain=DOMAINS, site_id=SITES),
    st.builds(prepared, DEPLOYS, ALIASES, SITES),
    st.builds(prepared, DEPLOYS, ALIASES, SITES),
    st.builds(DeployActivated, site_id=SITES, alias=ALIASES, deploy_id=DEPLOYS),
    st.builds(DeployActivated, site_id=SITES, alias=ALIASES, deploy_id=DEPLOYS),
    st.builds(
        AliasSet,
        site_id=SITES,
        alias=ALIASES,
        password=st.sampled_from(["", "hash"]),
        expires_at=st.none() | st.integers(0, 200).map(float),
        lock=st.sampled_from(["", "ann: why"]),
    ),
    st.builds(AliasRemoved, site_id=SITES, alias=ALIASES),
    st.builds(
        VariantsSet, site_id=SITES, manifest_digest=st.just("0" * 64), variants_digest=st.sampled_from(["v", "w"])
    ),
)


@settings(deadline=None)
@given(st.lists(CHANGES, max_size=25), st.lists(CHANGES, max_size=10))
def test_a_snapshot_stands_for_the_records_before_it(before: list[Change], after: list[Change]) -> None:
    """Whatever the journal has is applied without an error, and loading a dump goes on as if it had been followed."""
    start: list[Change] = [SITE, prepared("d1"), prepared("d2")]
    start += [DeployActivated(site_id="s1", alias=PRODUCTION, deploy_id=deploy_id) for deploy_id in ("d1", "d2")]
    start += before
    followed = fold_of(*start)
    loaded = fold_of(SiteCreated(site_id="s9", name="other", settings={}))
    loaded.load(json.loads(json.dumps(followed.dump())))
    assert loaded.dump() == followed.dump()
    for sequence, change in enumerate(after, start=len(start) + 1):
        followed.apply(record(sequence, change))
        loaded.apply(record(sequence, change))
    assert loaded.dump() == followed.dump()
    for host in ("a.example", "b.example", "blog.cdn.localhost", "next--shop.cdn.localhost"):
        assert loaded.catalog.bind(host) == followed.catalog.bind(host)
    for site in followed.catalog.sites():
        assert loaded.catalog.site(site.id) == site
        assert loaded.catalog.deploys(site.id) == followed.catalog.deploys(site.id)
        assert loaded.catalog.aliases(site.id) == followed.catalog.aliases(site.id)
        assert loaded.catalog.variants_of(site.id) == followed.catalog.variants_of(site.id)
        for alias in followed.catalog.aliases(site.id):
            for each in (loaded.catalog, followed.catalog):
                each.rollback_target(site.id, alias)
                each.roll_forward_target(site.id, alias)
