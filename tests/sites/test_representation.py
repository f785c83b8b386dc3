"""What is sent for a file."""

from __future__ import annotations

from typing import Any

import pytest

from cdn.http.entity_tag import EntityTag
from cdn.sites.content_type import content_type_of, is_page
from cdn.sites.manifest import FileEntry
from cdn.sites.representation import IMMUTABLE, REVALIDATE, Representation, representation_of
from cdn.sites.settings import ONE_YEAR_S, SiteSettings, settings_from

ENTRY = FileEntry("0123456789abcdef" * 4, 7)


def of(path: str, status: int = 200, **settings: Any) -> Representation:
    return representation_of(path, ENTRY, settings_from(settings), status)


def field(representation: Representation, name: str) -> list[str]:
    return [value for line_name, value in representation.fields if line_name == name]


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/index.html", "text/html; charset=utf-8"),
        ("/a.CSS", "text/css; charset=utf-8"),
        ("/a.mjs", "text/javascript; charset=utf-8"),
        ("/a.svg", "image/svg+xml; charset=utf-8"),
        ("/a.json", "application/json"),
        ("/a.js.map", "application/json"),
        ("/a.wasm", "application/wasm"),
        ("/site.webmanifest", "application/manifest+json"),
        ("/a.woff2", "font/woff2"),
        ("/a.avif", "image/avif"),
        ("/.well-known/apple-app-site-association", "application/json"),
        ("/.well-known/security.txt", "text/plain; charset=utf-8"),
        ("/LICENSE", "application/octet-stream"),
        ("/v1.html/file", "application/octet-stream"),
        ("/.html", "application/octet-stream"),
        ("/a.unknown", "application/octet-stream"),
        ("/a.", "application/octet-stream"),
    ],
)
def test_content_types(path: str, content_type: str) -> None:
    assert content_type_of(path) == content_type


def test_pages() -> None:
    assert is_page("/a.HTML")
    assert not is_page("/a.html.txt")


@pytest.mark.parametrize(
    ("path", "status", "browser_ttl_s", "cache_control", "extends"),
    [
        ("/index.html", 200, 300, REVALIDATE, None),
        ("/404.html", 404, 300, REVALIDATE, None),
        ("/app.3f2a9c1b.js", 200, 300, IMMUTABLE, None),
        ("/app.js", 200, 0, REVALIDATE, None),
        ("/app.js", 200, 300, "public, max-age=300", 300),
    ],
)
def test_cache_control(path: str, status: int, browser_ttl_s: int, cache_control: str, extends: int | None) -> None:
    representation = of(path, status, browser_ttl_s=browser_ttl_s)
    assert field(representation, "cache-control") == [cache_control]
    assert representation.extends_max_age == extends


def test_a_file_has_a_strong_validator_and_names() -> None:
    representation = of("/docs/index.html")
    assert representation.entity_tag == EntityTag("0123456789abcdef" * 2, is_weak=False)
    assert representation.fields == (
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", REVALIDATE),
        ("x-content-type-options", "nosniff"),
        ("etag", '"0123456789abcdef0123456789abcdef"'),
        ("accept-ranges", "bytes"),
    )
    assert representation.names == ("/docs/index.html", "/docs/")
    assert representation.tags == ()


def test_a_404_page_has_no_validator_and_no_ranges() -> None:
    representation = of("/404.html", 404)
    assert representation.status == 404
    assert representation.entity_tag is None
    assert [name for name, _ in representation.fields] == ["content-type", "cache-control", "x-content-type-options"]


def test_lifetime_at_the_edge() -> None:
    assert of("/a.js").freshness_lifetime_s == ONE_YEAR_S
    assert of("/a.js", edge_ttl_s=5).freshness_lifetime_s == 5
    assert of("/a.js", edge_ttl_s=0).freshness_lifetime_s == 0


RULES: dict[str, Any] = {
    "header_rules": [
        {"path": "/*", "fields": [["Cache-Tag", "all, site"], ["X-A", "1"], ["X-Frame-Options", "DENY"]]},
        {"path": "/blog/*", "fields": [["cache-tag", "blog"], ["surrogate-key", "k1 k2"], ["x-a", "2"], ["x-a", "3"]]},
        {"path": "/about", "fields": [["x-about", "yes"]]},
        {"path": "/pure.js", "fields": [["cache-control", "public, max-age=60"], ["Content-Type", "text/plain"]]},
    ]
}


def test_header_rules_add_up_and_the_later_replaces() -> None:
    representation = of("/blog/index.html", **RULES)
    assert field(representation, "x-a") == ["2", "3"]
    assert field(representation, "x-frame-options") == ["DENY"]
    assert representation.tags == ("all", "site", "blog", "k1", "k2")
    assert not field(representation, "cache-tag")
    assert not field(representation, "surrogate-key")


def test_header_rules_see_every_name_of_a_file() -> None:
    assert field(of("/about.html", **RULES), "x-about") == ["yes"]
    assert field(of("/blog.html", **RULES), "x-a") == ["1"]


def test_a_rule_may_say_what_the_defaults_would() -> None:
    representation = of("/pure.js", browser_ttl_s=300, **RULES)
    assert field(representation, "cache-control") == ["public, max-age=60"]
    assert field(representation, "content-type") == ["text/plain"]
    assert representation.extends_max_age is None


def test_rules_apply_to_404_pages() -> None:
    assert field(of("/404.html", 404, **RULES), "x-frame-options") == ["DENY"]


def test_the_default_settings_will_do() -> None:
    assert representation_of("/a.js", ENTRY, SiteSettings(), 200).status == 200
