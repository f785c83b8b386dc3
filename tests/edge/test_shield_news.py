"""What an edge knows to be obsolete and its shield does not."""

from __future__ import annotations

from cdn.edge.shield_news import ShieldNews


def test_a_key_is_as_old_as_its_last_change() -> None:
    news = ShieldNews()
    assert news.age_s(("s1", "/a"), 10.0) is None
    news.key_changed(("s1", "/a"), 10.0)
    news.key_changed(("s1", "/a"), 12.0)
    assert news.age_s(("s1", "/a"), 15.0) == 3.0
    assert news.age_s(("s1", "/b"), 15.0) is None
    assert news.age_s(("s2", "/a"), 15.0) is None


def test_a_site_stands_for_all_its_keys() -> None:
    news = ShieldNews()
    news.key_changed(("s1", "/a"), 10.0)
    news.site_changed("s1", 12.0)
    assert news.age_s(("s1", "/a"), 15.0) == 3.0
    assert news.age_s(("s1", "/b"), 15.0) == 3.0
    news.key_changed(("s1", "/a"), 14.0)
    assert news.age_s(("s1", "/a"), 15.0) == 1.0


def test_beyond_the_bound_the_oldest_key_becomes_its_site() -> None:
    news = ShieldNews(max_keys=2)
    news.key_changed(("s1", "/a"), 10.0)
    news.key_changed(("s2", "/b"), 11.0)
    news.key_changed(("s2", "/c"), 12.0)
    assert news.age_s(("s1", "/other"), 15.0) == 5.0
    assert news.age_s(("s2", "/other"), 15.0) is None


def test_an_older_moment_does_not_take_the_place_of_a_newer_one() -> None:
    news = ShieldNews(max_keys=1)
    news.key_changed(("s1", "/a"), 10.0)
    news.site_changed("s1", 20.0)
    news.key_changed(("s1", "/b"), 21.0)
    assert news.age_s(("s1", "/c"), 25.0) == 5.0


def test_sites_are_bounded_too() -> None:
    news = ShieldNews(max_sites=2)
    for number in range(5):
        news.site_changed(f"s{number}", float(number))
    assert news.age_s(("s0", "/a"), 10.0) is None
    assert news.age_s(("s4", "/a"), 10.0) == 6.0
