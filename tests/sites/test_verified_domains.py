"""Domains that were verified: who answers them, wildcards, where their visitors are sent."""

from __future__ import annotations

import pytest

from cdn.sites import catalog as catalog_module
from cdn.sites.catalog import Binding, Catalog
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site

WWW, APEX, WILD = "www.example.com", "example.com", "*.example.com"


@pytest.fixture
def catalog() -> Catalog:
    catalog = Catalog("cdn.localhost")
    for site_id, name in (("s1", "blog"), ("s2", "shop")):
        assert catalog.create_site(Site(site_id, name, 0.0, SiteSettings()))
    return catalog


def test_a_verified_domain_is_answered_and_leaves_the_site_that_had_it(catalog: Catalog) -> None:
    assert catalog.verify_domain(WWW, "s1")
    assert catalog.bind(WWW) == Binding("s1", "production")
    assert catalog.verify_domain(WWW, "s2")
    assert catalog.bind(WWW) == Binding("s2", "production")
    assert (dict(catalog.domains("s1")), dict(catalog.domains("s2"))) == ({}, {WWW: "s2"})
    assert catalog.remove_site("s1")
    assert catalog.domain_owner(WWW) == "s2"


def test_what_cannot_be_a_domain_changes_nothing(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not catalog.verify_domain(WWW, "gone")
    assert not catalog.verify_domain("blog.cdn.localhost", "s1")
    monkeypatch.setattr(catalog_module, "MAX_DOMAINS_PER_SITE", 1)
    assert catalog.verify_domain(WWW, "s1")
    assert not catalog.verify_domain(APEX, "s1")
    assert catalog.verify_domain(WWW, "s1", APEX), "that it has already"
    assert catalog.verify_domain("shop.example.com", "s2")
    assert not catalog.verify_domain(WWW, "s2")
    assert catalog.domain_owner(WWW) == "s1"


def test_visitors_are_sent_only_to_a_domain_of_the_same_site(catalog: Catalog) -> None:
    assert catalog.verify_domain(WWW, "s1", APEX)
    assert (catalog.redirect_of(WWW), catalog.asked_redirect_of(WWW)) == ("", APEX)
    assert catalog.verify_domain(APEX, "s2")
    assert catalog.redirect_of(WWW) == "", "it is another's"
    assert catalog.verify_domain(APEX, "s1")
    assert catalog.redirect_of(WWW) == APEX
    assert catalog.redirect_of(APEX) == ""
    assert catalog.remove_domain(APEX, "s1")
    assert catalog.redirect_of(WWW) == ""
    assert catalog.redirects() == {WWW: APEX}
    assert catalog.verify_domain(WWW, "s1")
    assert catalog.redirects() == {}


@pytest.mark.parametrize("goes", ["domain", "site", "moves"])
def test_a_redirect_goes_with_its_domain(catalog: Catalog, goes: str) -> None:
    assert catalog.verify_domain(WWW, "s1", APEX)
    match goes:
        case "domain":
            assert catalog.remove_domain(WWW, "s1")
        case "site":
            assert catalog.remove_site("s1")
        case _:
            assert catalog.verify_domain(WWW, "s2")
    assert (catalog.redirects(), catalog.asked_redirect_of(WWW)) == ({}, "")


def test_a_wildcard_stands_for_one_label_and_after_every_name_of_its_own(catalog: Catalog) -> None:
    assert catalog.verify_domain(WILD, "s1")
    assert catalog.bind("a.example.com") == Binding("s1", "production")
    assert catalog.bind(WWW) == Binding("s1", "production")
    assert catalog.bind("a.b.example.com") is None
    assert catalog.bind(APEX) is None
    assert catalog.bind("localhost") is None
    assert catalog.verify_domain(WWW, "s2")
    assert catalog.bind(WWW) == Binding("s2", "production")
    assert catalog.bind("blog.cdn.localhost") == Binding("s1", "production")
    assert catalog.bind("none.cdn.localhost") is None


def test_a_snapshot_gives_back_where_visitors_are_sent(catalog: Catalog) -> None:
    assert catalog.verify_domain(WWW, "s1", APEX)
    assert catalog.verify_domain(APEX, "s1")
    again = Catalog("cdn.localhost")
    again.replace_by(catalog.sites(), catalog.domains(), (), (), catalog.redirects())
    assert again.redirect_of(WWW) == APEX
    again.replace_by(catalog.sites(), catalog.domains(), (), ())
    assert again.redirects() == {}
