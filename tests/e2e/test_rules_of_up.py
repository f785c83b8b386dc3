"""Rules of a bundle from its files to visitors, on `cdn up` with workers; previews with a password and an end."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

import pytest

from cdn.sites.password import hash_password
from tests.e2e.running import Answer, RunningCdn, write_bundle

HASH = hash_password("apple", bytes(16))
FILES = {
    "/index.html": b"home",
    "/about.html": b"about",
    "/staff/plan.html": b"plan",
    "/who.html": b"who are you",
    "/_redirects": b"/old/* /about 302\n/app/* /index.html 200\n/ /about 302! Cookie=beta\n",
    "/_headers": b"/*\n  X-Frame-Options: DENY\n/about\n  Cache-Tag: team\n",
    "/cdn.toml": f"""
[error_pages]
401 = "/who.html"

[[auth]]
for = "/staff/*"
realm = "staff"
users = {{ ann = "{HASH}" }}
""".encode(),
}
ANN = {"Authorization": "Basic " + b64encode(b"ann:apple").decode()}
PEAR = {"Authorization": "Basic " + b64encode(b":pear").decode()}


@pytest.fixture(scope="module")
def cdn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCdn]:
    made = RunningCdn(tmp_path_factory.mktemp("rules"), options=("--workers", "2"))
    try:
        made.start()
        made.run("site", "create", "blog")
        made.run("deploy", str(write_bundle(made.folder / "bundle", FILES)), "--site", "blog")
        yield made
    finally:
        made.stop()


def test_the_files_of_a_bundle_rule_its_answers(cdn: RunningCdn) -> None:
    def ask(target: str, **fields: str) -> Answer:
        return cdn.visit("blog.cdn.localhost", target, **fields)

    for _ in range(4):  # by either worker, and from memory
        moved = ask("/old/a?b")
        assert (moved.status, moved.fields["location"]) == (302, "/about?b")
        assert ask("/app/x").content == b"home"
        about = ask("/about")
        assert (about.content, about.fields["x-frame-options"]) == (b"about", "DENY")
        assert "cache-tag" not in about.fields
        assert ask("/").content == b"home"
        assert ask("/", Cookie="beta=1").status == 302
        assert ask("/_redirects").status == ask("/cdn.toml").status == 404
        asked = ask("/staff/plan")
        assert (asked.status, asked.content) == (401, b"who are you")
        assert ask("/staff/plan", **ANN).content == b"plan"
    assert ask("/about").cache_status == "cdn; hit"
    cdn.run("purge", "--site", "blog", "--tag", "team", "--url", "/app/x")
    assert "hit" not in ask("/about").cache_status
    assert ask("/about").cache_status == "cdn; hit"
    assert "hit" not in ask("/app/x").cache_status


def test_a_preview_is_shown_to_who_knows_its_password(cdn: RunningCdn) -> None:
    host = "next--blog.cdn.localhost"
    cdn.run("deploy", str(cdn.folder / "bundle"), "--site", "blog", "--alias", "next", "--password", "pear")
    for _ in range(4):
        assert cdn.visit(host, "/about").status == 401
        shown = cdn.visit(host, "/about", **PEAR)
        assert (shown.status, shown.content, shown.fields["x-robots-tag"]) == (200, b"about", "noindex")
        assert cdn.visit(host, "/staff/plan", **PEAR).status == 401
        assert cdn.visit(host, "/staff/plan", **ANN).status == 200
