"""The catalog: what records add up to, and what its bounds let go."""

from __future__ import annotations

from math import inf

import pytest

from cdn.sites import catalog as module
from cdn.sites.catalog import Binding, Catalog
from cdn.sites.deploy import PREPARING_KEPT_S, AliasState, Deploy, Retained
from cdn.sites.name import PRODUCTION
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site

DAY_S = 86_400.0


def site(number: int = 1, **settings: int) -> Site:
    return Site(f"s{number}", f"site-{number}", 0.0, SiteSettings(retention_s=settings.get("retention_s", 100)))


def deploy(number: int, alias: str = PRODUCTION, site_id: str = "s1", at: float = 0.0) -> Deploy:
    return Deploy(f"d{number}", site_id, alias, f"{number:064x}", 1, 2, "ann", "", at, number)


@pytest.fixture
def catalog() -> Catalog:
    result = Catalog("CDN.localhost.")
    assert result.create_site(site())
    return result


def state(catalog: Catalog, alias: str = PRODUCTION) -> AliasState:
    found = catalog.alias("s1", alias)
    assert found is not None
    return found


def test_hosts(catalog: Catalog) -> None:
    assert catalog.add_domain("www.example.com", "s1")
    assert catalog.bind("site-1.cdn.localhost") == Binding("s1", PRODUCTION)
    assert catalog.bind("next--site-1.cdn.localhost") == Binding("s1", "next")
    assert catalog.bind("www.example.com") == Binding("s1", PRODUCTION)
    for host in (
        "cdn.localhost",
        "other.cdn.localhost",
        "next--other.cdn.localhost",
        "example.com",
        "",
        ".cdn.localhost",
    ):
        assert catalog.bind(host) is None
    for host in ("a.site-1.cdn.localhost", "site-1xcdn.localhost", "site-1.cdn.localhost.example"):
        assert catalog.bind(host) is None


def test_sites(catalog: Catalog) -> None:
    assert not catalog.create_site(site())
    assert not catalog.create_site(Site("s9", "site-1", 0.0, SiteSettings()))
    assert catalog.create_site(Site("s0", "a", 0.0, SiteSettings()))
    assert [one.name for one in catalog.sites()] == ["a", "site-1"]
    assert catalog.site_named("site-1") == catalog.site("s1") == site()
    assert catalog.site_named("b") is None
    assert catalog.site("s9") is None
    assert catalog.change_site("s1", SiteSettings(browser_ttl_s=5))
    assert catalog.site("s1") == Site("s1", "site-1", 0.0, SiteSettings(browser_ttl_s=5))


def test_a_removed_site_leaves_nothing_and_its_name_is_free(catalog: Catalog) -> None:
    catalog.create_site(site(2))
    catalog.add_domain("one.example", "s1")
    catalog.add_domain("two.example", "s2")
    catalog.prepare_deploy(deploy(1))
    catalog.activate("s1", PRODUCTION, "d1", 1.0, 2)
    assert catalog.remove_site("s1")
    assert catalog.bind("site-1.cdn.localhost") is None
    assert catalog.bind("one.example") is None
    assert catalog.domains() == {"two.example": "s2"}
    assert catalog.deploys("s1") == catalog.preparing("s1") == ()
    assert not catalog.aliases("s1")
    assert not catalog.domains("s1")
    assert catalog.alias("s1", PRODUCTION) is None
    assert catalog.deploy("s1", "d1") is None
    assert catalog.create_site(Site("s3", "site-1", 5.0, SiteSettings()))
    assert catalog.add_domain("one.example", "s3")
    assert catalog.bind("site-1.cdn.localhost") == Binding("s3", PRODUCTION)
    assert catalog.deploys("s3") == ()


def test_domains(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog.create_site(site(2))
    assert catalog.add_domain("b.example", "s1")
    assert not catalog.add_domain("b.example", "s2")
    assert not catalog.add_domain("c.example", "s9")
    assert not catalog.add_domain("x.cdn.localhost", "s1")
    assert not catalog.add_domain("cdn.localhost", "s1")
    assert catalog.add_domain("a.example", "s1")
    assert catalog.add_domain("aa.example", "s2")
    assert list(catalog.domains().items()) == [("a.example", "s1"), ("aa.example", "s2"), ("b.example", "s1")]
    assert list(catalog.domains("s1")) == ["a.example", "b.example"]
    assert catalog.domain_owner("a.example") == "s1"
    assert not catalog.remove_domain("a.example", "s2")
    assert catalog.remove_domain("a.example", "s1")
    assert not catalog.remove_domain("a.example", "s1")
    assert catalog.domain_owner("a.example") is None
    monkeypatch.setattr(module, "MAX_DOMAINS_PER_SITE", 1)
    assert not catalog.add_domain("c.example", "s1")
    assert catalog.remove_site("s1")


def test_a_change_of_what_is_gone_changes_nothing() -> None:
    catalog = Catalog("cdn.localhost")
    assert not catalog.change_site("s1", SiteSettings())
    assert not catalog.remove_site("s1")
    assert not catalog.prepare_deploy(deploy(1))
    assert not catalog.activate("s1", PRODUCTION, "d1", 0.0, 1)
    assert catalog.rollback_target("s1", PRODUCTION) is None
    catalog.create_site(site())
    assert not catalog.activate("s1", PRODUCTION, "d1", 0.0, 1)
    assert catalog.prepare_deploy(deploy(1))
    assert not catalog.prepare_deploy(deploy(1, "other"))
    assert catalog.alias("s1", "other") is None


def test_a_deploy_is_prepared_then_active_then_retained(catalog: Catalog) -> None:
    catalog.prepare_deploy(deploy(1))
    assert state(catalog) == AliasState(preparing=(deploy(1),))
    assert catalog.preparing("s1") == (deploy(1),)
    catalog.activate("s1", PRODUCTION, "d1", 10.0, 11)
    assert state(catalog) == AliasState(deploy(1), 11, 10.0)
    catalog.prepare_deploy(deploy(2))
    catalog.activate("s1", PRODUCTION, "d2", 20.0, 12)
    assert state(catalog) == AliasState(deploy(2), 12, 20.0, (Retained(deploy(1), 120.0),), (), ("d1",))
    assert state(catalog).reachable(119.0) == (deploy(1),)
    assert state(catalog).reachable(120.0) == ()
    assert catalog.deploys("s1") == (deploy(2), deploy(1))
    assert catalog.deploy("s1", "d2") == deploy(2)


def test_activating_again_what_is_active_supersedes_nothing(catalog: Catalog) -> None:
    catalog.prepare_deploy(deploy(1))
    catalog.activate("s1", PRODUCTION, "d1", 1.0, 2)
    catalog.activate("s1", PRODUCTION, "d1", 5.0, 3)
    assert state(catalog) == AliasState(deploy(1), 3, 5.0)


def test_a_preview_is_promoted_without_touching_its_alias(catalog: Catalog) -> None:
    catalog.prepare_deploy(deploy(1, "next"))
    catalog.activate("s1", "next", "d1", 1.0, 2)
    catalog.activate("s1", PRODUCTION, "d1", 2.0, 3)
    assert state(catalog).active == state(catalog, "next").active == deploy(1, "next")
    assert list(catalog.aliases("s1")) == ["next", PRODUCTION]


def test_rollbacks_go_further_back_each_time(catalog: Catalog) -> None:
    assert catalog.rollback_target("s1", PRODUCTION) is None
    for number in (1, 2, 3):
        catalog.prepare_deploy(deploy(number))
    assert catalog.rollback_target("s1", PRODUCTION) is None
    for number in (1, 2, 3):
        catalog.activate("s1", PRODUCTION, f"d{number}", float(number), 10 + number)
    catalog.forget_retained(100 * DAY_S)
    assert state(catalog).retained == ()
    for expected in (2, 1):
        assert catalog.rollback_target("s1", PRODUCTION) == deploy(expected)
        catalog.activate("s1", PRODUCTION, f"d{expected}", 200 * DAY_S, 20 - expected)
    assert catalog.rollback_target("s1", PRODUCTION) is None
    assert [one.deploy.id for one in state(catalog).retained] == ["d2", "d3"]


def test_what_is_no_longer_reachable_is_forgotten(catalog: Catalog) -> None:
    for number in (1, 2, 3):
        catalog.prepare_deploy(deploy(number, at=1000.0))
    catalog.activate("s1", PRODUCTION, "d1", 1000.0, 4)
    catalog.activate("s1", PRODUCTION, "d2", 1001.0, 5)
    before = state(catalog)
    assert before.reachable_until(1001.0) == 1101.0
    assert before.reachable_until(1101.0) == 1000.0 + PREPARING_KEPT_S
    assert before.reachable_until(1000.0 + PREPARING_KEPT_S) == inf
    assert not catalog.forget_retained(1100.0)
    assert state(catalog) is before
    assert catalog.forget_retained(1101.0)
    assert state(catalog) == AliasState(deploy(2, at=1000.0), 5, 1001.0, (), (deploy(3, at=1000.0),), ("d1",))
    assert catalog.forget_retained(1000.0 + PREPARING_KEPT_S)
    assert state(catalog).preparing == ()
    assert before.reachable(1000.0 + PREPARING_KEPT_S) == ()


def test_bounds_of_retained_and_preparing(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RETAINED_PER_ALIAS", 2)
    monkeypatch.setattr(module, "MAX_PREPARING_PER_ALIAS", 3)
    for number in range(1, 6):
        catalog.prepare_deploy(deploy(number))
    assert [one.id for one in state(catalog).preparing] == ["d5", "d4", "d3"]
    for number in range(1, 6):
        catalog.activate("s1", PRODUCTION, f"d{number}", 0.0, number)
    assert [one.deploy.id for one in state(catalog).retained] == ["d4", "d3"]
    assert state(catalog).former == ("d4", "d3")


def test_the_deploys_that_nothing_needs_go_first(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DEPLOYS_LISTED_PER_SITE", 4)
    for number in range(1, 4):
        catalog.prepare_deploy(deploy(number))
        catalog.activate("s1", PRODUCTION, f"d{number}", float(number), number)
    catalog.prepare_deploy(deploy(4, "next"))
    catalog.activate("s1", "next", "d4", 4.0, 4)
    catalog.prepare_deploy(deploy(5, "later"))
    assert [one.id for one in catalog.deploys("s1")] == ["d5", "d4", "d3", "d2", "d1"]
    catalog.forget_retained(1000.0)
    catalog.prepare_deploy(deploy(6, "next"))
    assert [one.id for one in catalog.deploys("s1")] == ["d6", "d5", "d4", "d3", "d2"]
    assert state(catalog).former == ("d2",)
    assert state(catalog, "next").former == ()
    catalog.forget_retained(2 * PREPARING_KEPT_S)
    catalog.prepare_deploy(deploy(7, "next", at=2 * PREPARING_KEPT_S))
    assert [one.id for one in catalog.deploys("s1")] == ["d7", "d4", "d3", "d2"]
    assert catalog.rollback_target("s1", PRODUCTION) == deploy(2)


def test_the_preview_activated_longest_ago_goes_first(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ALIASES_PER_SITE", 3)
    for number, alias in enumerate((PRODUCTION, "b", "a", "c"), start=1):
        catalog.prepare_deploy(deploy(number, alias))
        catalog.activate("s1", alias, f"d{number}", float(number), number)
    assert list(catalog.aliases("s1")) == ["a", "c", PRODUCTION]
    catalog.activate("s1", "new", "d1", 9.0, 9)
    assert list(catalog.aliases("s1")) == ["c", "new", PRODUCTION]


def test_a_password_is_not_forgotten_before_its_preview_is_there(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ALIASES_PER_SITE", 3)
    for number, alias in enumerate((PRODUCTION, "a", "b"), start=1):
        catalog.prepare_deploy(deploy(number, alias))
        catalog.activate("s1", alias, f"d{number}", float(number), number)
    catalog.set_alias("s1", "soon", password="hash", expires_at=None, lock="")
    for number, alias in enumerate(("c", "d"), start=4):  # others deploy meanwhile
        catalog.prepare_deploy(deploy(number, alias))
        catalog.activate("s1", alias, f"d{number}", float(number), number)
    assert list(catalog.aliases("s1")) == ["d", PRODUCTION, "soon"]
    catalog.activate("s1", "soon", "d1", 9.0, 9)
    assert state(catalog, "soon").password == "hash"


def test_a_catalog_becomes_what_a_snapshot_says(catalog: Catalog) -> None:
    catalog.add_domain("old.example", "s1")
    of = AliasState(deploy(2, site_id="s2"), 3, 4.0, former=("d1",))
    catalog.replace_by(
        [site(2)],
        {"new.example": "s2"},
        [deploy(1, site_id="s2"), deploy(2, site_id="s2")],
        [("s2", PRODUCTION, of)],
    )
    assert catalog.sites() == (site(2),)
    assert catalog.bind("old.example") is catalog.bind("site-1.cdn.localhost") is None
    assert catalog.bind("new.example") == catalog.bind("site-2.cdn.localhost") == Binding("s2", PRODUCTION)
    assert catalog.alias("s2", PRODUCTION) == of
    assert catalog.rollback_target("s2", PRODUCTION) == deploy(1, site_id="s2")
    assert catalog.remove_domain("new.example", "s2")
