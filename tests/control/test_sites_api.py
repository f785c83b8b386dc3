"""Sites over HTTP: create, list, change, remove."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cdn.journal.record import SiteChanged, SiteCreated
from tests.control.control_room import Api, Control, ControlMaker, deploy


async def test_a_created_site_is_listed_and_shown(api: Api) -> None:
    made = await api.post("/v1/sites", {"name": "blog", "settings": {"browser_ttl_s": 60}})
    assert made.status == 201
    assert made.document["name"] == "blog"
    assert made.document["url"] == "http://blog.cdn.localhost:8080/"
    assert made.document["settings"]["browser_ttl_s"] == 60
    assert made.document["active"] is None
    assert (await api.get("/v1/sites")).document == {"sites": [made.document]}
    assert (await api.get("/v1/sites/blog")).document == made.document


async def test_a_name_is_taken_once_also_when_two_ask_at_the_same_time(api: Api) -> None:
    answers = await asyncio.gather(*(api.post("/v1/sites", {"name": "blog"}) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    assert len((await api.get("/v1/sites")).document["sites"]) == 1


async def test_a_patch_changes_what_it_names_and_keeps_the_rest(api: Api) -> None:
    await api.post("/v1/sites", {"name": "blog", "settings": {"browser_ttl_s": 60}})
    changed = await api.patch("/v1/sites/blog", {"settings": {"retention_s": 5}})
    assert changed.status == 200
    assert changed.document["settings"]["retention_s"] == 5
    assert changed.document["settings"]["browser_ttl_s"] == 60


async def test_racing_patches_of_different_settings_all_stay(api: Api) -> None:
    await api.post("/v1/sites", {"name": "blog"})
    answers = await asyncio.gather(
        api.patch("/v1/sites/blog", {"settings": {"retention_s": 5}}),
        api.patch("/v1/sites/blog", {"settings": {"browser_ttl_s": 6}}),
        api.patch("/v1/sites/blog", {"settings": {"stale_if_error_s": 7}}),
    )
    assert [answer.status for answer in answers] == [200] * 3
    settings = (await api.get("/v1/sites/blog")).document["settings"]
    assert (settings["retention_s"], settings["browser_ttl_s"], settings["stale_if_error_s"]) == (5, 6, 7)


async def test_a_site_may_have_an_upstream_and_change_it_for_another(control: Control, api: Api) -> None:
    settings: dict[str, Any] = {"origin": "HTTPS://Upstream.example:443/app/", "query": "sort"}
    settings["upstream_host"] = "visitor"
    made = await api.post("/v1/sites", {"name": "shop", "settings": settings})
    assert made.status == 201, made
    assert made.document["settings"]["origin"] == "https://upstream.example/app"
    assert made.document["settings"]["query"] == "sort"
    for settings, purges in (
        ({"query": {"allow": ["q"]}, "upstream_retries": 0}, False),
        ({"upstream_host": None}, True),
        ({"origin": "https://upstream.example:443/app"}, False),
        ({"origin": "s3://bucket/app"}, True),
        ({"stores_set_cookie": False}, True),
        ({"stores_set_cookie": True}, False),
    ):
        changed = await api.patch("/v1/sites/shop", {"settings": settings})
        assert changed.status == 200, changed
        assert settings.items() <= changed.document["settings"].items() or "origin" in settings
        (record,) = await control.journal.read(control.plane.state.position.sequence - 1, limit=2)
        assert isinstance(record.change, SiteChanged)
        assert record.change.purges is purges, settings
        assert changed.document["purged"] is purges
        assert changed.document["position"] == {"epoch": record.epoch, "sequence": record.sequence}


async def test_bundles_and_upstreams_do_not_take_each_others_place(api: Api) -> None:
    await api.post("/v1/sites", {"name": "blog"})
    await api.post("/v1/sites", {"name": "shop", "settings": {"origin": "https://upstream.example"}})
    for name, origin in (("blog", "https://upstream.example"), ("shop", "bundle")):
        refused = await api.patch(f"/v1/sites/{name}", {"settings": {"origin": origin}})
        assert refused.status == 409
        assert "Create another site and move the domains to it" in refused.document["detail"]
    bad = await api.post("/v1/sites", {"name": "other", "settings": {"origin": "https://user:geheim@h"}})
    assert (bad.status, bad.document["field"]) == (400, "origin"), bad
    assert "geheim" not in str(bad.document)


PULL = {"origin": "https://upstream.example"}

BUNDLE_VALUES = {"browser_ttl_s": 5, "retention_s": 5, "keep": ["/a"], "prepare_timeout_s": 5}
PULL_VALUES = {
    "query": "sort",
    "edge_ttl_overrides": True,
    "negative_ttl_s": 5,
    "pass_s": 5,
    "upstream_host": "visitor",
    "connect_timeout_s": 5,
    "read_timeout_s": 5,
    "upstream_retries": 0,
    "stores_set_cookie": False,
    "compresses": True,
    "obeys_client_directives": True,
}


@pytest.mark.parametrize(
    ("origin", "idle", "way_out"),
    [
        ({}, PULL_VALUES, "create a site with an origin like https://HOST or s3://BUCKET"),
        ({"origin": "bundle"}, PULL_VALUES, "it does nothing on a site of bundles: leave it out"),
        (PULL, BUNDLE_VALUES, "it does nothing on a site that is answered from https://upstream.example: leave it out"),
    ],
)
async def test_settings_that_would_do_nothing_are_refused(
    control: Control, api: Api, origin: dict[str, Any], idle: dict[str, Any], way_out: str
) -> None:
    await api.post("/v1/sites", {"name": "there", "settings": origin})
    before = control.plane.state.position
    for name, value in idle.items():
        for refused in (
            await api.post("/v1/sites", {"name": "new", "settings": {**origin, name: value}}),
            await api.patch("/v1/sites/there", {"settings": {name: value, "edge_ttl_s": 5}}),
        ):
            assert (refused.status, refused.document["field"]) == (400, name), refused
            assert way_out in refused.document["detail"]
    every = await api.patch("/v1/sites/there", {"settings": idle})
    assert [line.partition(":")[0] for line in every.document["details"]] == list(idle)
    assert control.plane.state.position == before


async def test_a_site_that_holds_settings_of_the_other_kind_is_read_and_changed(control: Control, api: Api) -> None:
    pull = {**PULL, "browser_ttl_s": 60, "keep": ["/a"]}
    await control.plane.state.append("t", lambda: SiteCreated("01", "shop", pull), "t")
    await control.plane.state.append("t", lambda: SiteCreated("02", "blog", {"query": "sort", "pass_s": 5}), "t")
    await control.reopen()
    for name, kept in (("shop", ("browser_ttl_s", 60)), ("blog", ("query", "sort"))):
        changed = await control.api.patch(f"/v1/sites/{name}", {"settings": {"edge_ttl_s": 7}})
        assert changed.status == 200, changed
        assert changed.document["settings"]["edge_ttl_s"] == 7
        assert kept in changed.document["settings"].items()


async def test_the_bucket_of_the_store_is_no_origin(make_control: ControlMaker) -> None:
    control = await make_control(own_bucket="cdn-bytes")
    api = control.api
    await api.post("/v1/sites", {"name": "media", "settings": {"origin": "s3://other"}})
    for refused in (
        await api.post("/v1/sites", {"name": "new", "settings": {"origin": "s3://cdn-bytes"}}),
        await api.post("/v1/sites", {"name": "new", "settings": {"origin": "s3://cdn-bytes/some/where/"}}),
        await api.patch("/v1/sites/media", {"settings": {"origin": "s3://cdn-bytes/x"}}),
    ):
        assert refused.status == 409, refused
        assert "The bucket cdn-bytes holds the store of this CDN" in refused.document["detail"]
        assert "name another bucket" in refused.document["detail"]
    assert (await api.patch("/v1/sites/media", {"settings": {"origin": "s3://cdn-bytes-2"}})).status == 200
    # One made while the store was elsewhere can still be changed, and led away.
    await control.plane.state.append("t", lambda: SiteCreated("01", "old", {"origin": "s3://cdn-bytes"}), "t")
    assert (await api.patch("/v1/sites/old", {"settings": {"edge_ttl_s": 7}})).status == 200
    assert (await api.patch("/v1/sites/old", {"settings": {"origin": "s3://other"}})).status == 200


async def test_removal_releases_domains_and_revokes_tokens(api: Api) -> None:
    await api.post("/v1/sites", {"name": "blog"})
    await api.post("/v1/sites", {"name": "shop"})
    await api.post("/v1/sites/blog/domains", {"domain": "www.example.com", "verified": True})
    only_blog = await api.token_for("deploy:blog", "read:blog")
    both = await api.token_for("read:blog", "read:shop")
    assert (await only_blog.get("/v1/sites/blog")).status == 200

    removed = await api.delete("/v1/sites/blog")
    assert removed.status == 200
    assert removed.document["domains"] == ["www.example.com"]
    assert len(removed.document["tokens"]) == 1
    assert removed.document["receipt"]["complete"] is True

    assert (await only_blog.get("/v1/sites/blog")).status == 401
    assert (await both.get("/v1/sites/shop")).status == 200
    assert (await api.get("/v1/sites/blog")).status == 404
    assert (await api.get("/v1/domains")).document == {"domains": []}
    assert (await api.post("/v1/sites/shop/domains", {"domain": "www.example.com", "verified": True})).status == 201


async def test_a_later_site_of_the_same_name_is_another_one(api: Api) -> None:
    first = (await api.post("/v1/sites", {"name": "blog"})).document
    await deploy(api, "blog", {"/index.html": b"first"})
    both = await api.token_for("read:blog", "node")
    await api.delete("/v1/sites/blog")
    second = (await api.post("/v1/sites", {"name": "blog"})).document
    assert second["id"] != first["id"]
    assert second["active"] is None
    assert (await api.get("/v1/sites/blog/deploys")).document == {"deploys": []}
    assert (await both.get("/v1/sites/blog")).status == 403


async def test_what_was_acknowledged_is_there_after_a_restart(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    await control.api.post("/v1/sites/blog/domains", {"domain": "www.example.com", "verified": True})
    reader = await control.api.token_for("read:blog")
    await control.reopen()
    site = await control.api.as_(reader.token or "").get("/v1/sites/blog")
    assert site.status == 200
    assert site.document["domains"] == ["www.example.com"]
