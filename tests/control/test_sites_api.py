"""Sites over HTTP: create, list, change, remove."""

from __future__ import annotations

import asyncio
from typing import Any

from cdn.journal.record import SiteChanged
from tests.control.control_room import Api, Control, deploy


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


async def test_removal_releases_domains_and_revokes_tokens(api: Api) -> None:
    await api.post("/v1/sites", {"name": "blog"})
    await api.post("/v1/sites", {"name": "shop"})
    await api.post("/v1/sites/blog/domains", {"domain": "www.example.com"})
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
    assert (await api.post("/v1/sites/shop/domains", {"domain": "www.example.com"})).status == 201


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
    await control.api.post("/v1/sites/blog/domains", {"domain": "www.example.com"})
    reader = await control.api.token_for("read:blog")
    await control.reopen()
    site = await control.api.as_(reader.token or "").get("/v1/sites/blog")
    assert site.status == 200
    assert site.document["domains"] == ["www.example.com"]
