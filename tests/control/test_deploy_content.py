"""What a deploy consists of: rules that are compiled when it is made, content that was taken down, its commit, and what
changed from one to the next."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from cdn.journal.record import DeployActivated, DeployPrepared, TakenDown, version_of
from cdn.origin.layout import blob_key, manifest_key
from cdn.sites.manifest import load_manifest
from cdn.sites.rules.mode import RulesMode
from tests.control.control_room import Answer, Api, Control, deploy, deploy_request, entry_of, upload
from tests.e2e.calls import packed

PAGE = {"/index.html": b"<h1>hello</h1>"}
RULES = {"/_redirects": b"/old /new 301\n/blog/* /posts/:splat 302\n", "/_headers": b"/*\n  X-Frame-Options: DENY\n"}
DEPLOYS = "/v1/sites/blog/deploys"


@pytest.fixture
async def blog(control: Control, api: Api) -> Api:
    await api.post("/v1/sites", {"name": "blog"})
    await api.post("/v1/sites", {"name": "shop"})
    return api


async def prepared(control: Control) -> list[DeployPrepared]:
    records = await control.journal.read(0, limit=1000)
    return [record.change for record in records if isinstance(record.change, DeployPrepared)]


async def stored(control: Control, digest: str) -> Any:
    return load_manifest(await control.store.get(manifest_key(_site_id(control), digest)))


def _site_id(control: Control) -> str:
    site = control.plane.services.catalog.site_named("blog")
    assert site is not None
    return str(site.id)


async def attempt(api: Api, files: dict[str, bytes], **more: Any) -> Answer:
    upload_id, _ = await upload(api, "blog", files)
    return await api.post(DEPLOYS, deploy_request(upload_id, files, **more))


async def test_rules_go_into_the_manifest_and_the_record_says_so(control: Control, blog: Api) -> None:
    await deploy(blog, "blog", PAGE)
    made = await deploy(blog, "blog", PAGE | RULES)
    plain, ruled = await prepared(control)
    assert (plain.manifest_version, ruled.manifest_version) == (1, 2)
    assert (version_of(plain), version_of(ruled)) == (1, 4)
    manifest = await stored(control, ruled.manifest_digest)
    assert manifest.files.keys() == (PAGE | RULES).keys()
    assert [rule.status for rule in manifest.rules.redirects] == [301, 302]
    assert made.document["deploy"]["manifest_digest"] == ruled.manifest_digest
    assert (await stored(control, plain.manifest_digest)).rules.is_empty


async def test_the_site_says_whose_reading_counts(control: Control, blog: Api) -> None:
    await blog.patch("/v1/sites/blog", {"settings": {"rules_mode": "cloudflare"}})
    await deploy(blog, "blog", PAGE | RULES)
    (ruled,) = await prepared(control)
    assert (await stored(control, ruled.manifest_digest)).rules.mode is RulesMode.CLOUDFLARE


async def test_every_fault_is_told_at_once_and_nothing_is_recorded(control: Control, blog: Api) -> None:
    faulty = PAGE | {"/_redirects": b"/a\n/ok /b\n/c javascript:alert(1)\n", "/_headers": b"  X-A: before any path\n"}
    answer = await attempt(blog, faulty)
    assert (answer.status, answer.document["field"]) == (422, "rules")
    details = answer.document["details"]
    assert len(details) >= 3
    for place in ("_redirects:1", "_redirects:3", "_headers:1"):
        assert any(line.startswith(f"{place}: ") for line in details), place
    assert f"({len(details)} faults in all)" in answer.document["detail"]
    assert await prepared(control) == []
    assert [facts async for facts in control.store.scan(f"sites/{_site_id(control)}/manifests/")] == []


async def test_a_rule_file_that_is_too_long_is_not_even_read(blog: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.control.deploy_rules.MAX_RULE_FILE_BYTES", 20)
    assert (await attempt(blog, PAGE | {"/_redirects": b"/a /b" + b" " * 15})).status == 201
    answer = await attempt(blog, PAGE | {"/_redirects": b"/a /b" + b" " * 16})
    assert answer.status == 422
    assert answer.document["details"] == ["_redirects: has 21 bytes, at most 20 are read: make it shorter"]


async def test_a_rule_file_that_the_store_has_damaged_is_noticed(control: Control, blog: Api) -> None:
    files = PAGE | RULES
    upload_id, _ = await upload(blog, "blog", files)
    key = blob_key(_site_id(control), entry_of(RULES["/_redirects"]).digest)
    await control.store.put(key, b"/evil /elsewhere\n")
    answer = await blog.post(DEPLOYS, deploy_request(upload_id, files))
    assert (answer.status, answer.document["field"]) == (422, "rules")
    assert await prepared(control) == []


async def test_a_manifest_with_rules_from_outside_is_refused(control: Control, blog: Api) -> None:
    upload_id, _ = await upload(blog, "blog", PAGE | RULES)
    await deploy(blog, "blog", PAGE | RULES)
    (ruled,) = await prepared(control)
    content = json.loads(await control.store.get(manifest_key(_site_id(control), ruled.manifest_digest)))
    assert content["version"] == 2
    answer = await blog.post(DEPLOYS, {"upload": upload_id, "manifest": content})
    assert answer.status == 400
    assert answer.document["field"].startswith("manifest")


async def test_rules_travel_with_rollback_and_promotion(control: Control, blog: Api) -> None:
    ruled = await deploy(blog, "blog", PAGE | RULES, alias="next")
    await deploy(blog, "blog", PAGE)
    path = f"{DEPLOYS}/{ruled.document['deploy']['id']}/activate"
    assert (await blog.post(path, {"alias": "production"})).status == 200
    plain, promoted = [await blog.post(f"/v1/sites/blog/{way}", {}) for way in ("rollback", "rollforward")]
    assert (plain.status, promoted.status) == (200, 200), "though the preview's deploy is the older one"
    assert plain.document["deploy"]["id"] != ruled.document["deploy"]["id"] == promoted.document["deploy"]["id"]


async def test_an_archive_has_rules_and_a_commit_too(control: Control, blog: Api) -> None:
    answer = await blog.post(
        DEPLOYS, data=packed(PAGE | RULES), params={"commit": "0123abc", "alias": "next", "expires": "60"}
    )
    assert answer.status == 201, answer
    assert answer.document["deploy"]["commit"] == "0123abc"
    (made,) = await prepared(control)
    assert (made.manifest_version, made.commit) == (2, "0123abc")
    listed = (await blog.get("/v1/sites/blog/aliases/next")).document
    assert listed["expires_at"] == control.clock.now + 60
    for params in ({"expires": "soon"}, {"commit": "a\nb"}, {"commit": "x" * 257}):
        assert (await blog.post(DEPLOYS, data=packed(PAGE), params=params)).status == 400


async def take_down(control: Control, content: bytes, *, everywhere: bool = False) -> None:
    site_id = "" if everywhere else _site_id(control)
    await control.plane.state.append_always("takedown", TakenDown(entry_of(content).digest, site_id, "why"), "test")


@pytest.mark.parametrize("everywhere", [False, True])
async def test_what_was_taken_down_is_in_no_deploy_again(control: Control, blog: Api, everywhere: bool) -> None:
    first = await deploy(blog, "blog", PAGE | {"/bad.txt": b"bad", "/copy.txt": b"bad"})
    await deploy(blog, "blog", PAGE)
    upload_id, _ = await upload(blog, "blog", PAGE | {"/bad.txt": b"bad"})
    await take_down(control, b"bad", everywhere=everywhere)
    for answer in (
        await blog.post("/v1/sites/blog/rollback", {}),
        await blog.post("/v1/sites/blog/rollback", {"to": first.document["deploy"]["id"]}),
        await blog.post(f"{DEPLOYS}/{first.document['deploy']['id']}/activate", {"alias": "next"}),
        await blog.post(DEPLOYS, deploy_request(upload_id, PAGE | {"/bad.txt": b"bad"})),
    ):
        assert answer.status == 410, answer
        assert "/bad.txt" in answer.document["detail"]
    records = await control.journal.read(0, limit=1000)
    assert sum(isinstance(record.change, DeployActivated) for record in records) == 2
    await deploy(blog, "blog", PAGE | {"/good.txt": b"good"})


async def test_another_sites_takedown_is_its_own(control: Control, blog: Api) -> None:
    await take_down(control, b"bad")
    made = await deploy(blog, "shop", {"/bad.txt": b"bad"})
    assert made.document["deploy"]["active_on"] == ["production"]


async def test_a_fleet_that_is_upgraded_deploys_without_the_commit_meanwhile(control: Control, blog: Api) -> None:
    await control.following_node("edge-1")
    old = await control.node("edge-0")
    await old.connect(record_version=3)
    old.follow()
    made = await deploy(blog, "blog", PAGE, commit="0123abc")
    assert made.document["deploy"]["commit"] == ""
    (said,) = made.document["warnings"]
    assert "the commit was not recorded" in said
    assert "edge-0" in said
    refused = await attempt(blog, PAGE | RULES, commit="0123abc")
    assert refused.status == 409, "rules are no trifle: that node would answer without them"
    await old.connect()
    old.follow()
    made = await deploy(blog, "blog", PAGE | {"/b": b"b"}, commit="0123abc")
    assert (made.document["deploy"]["commit"], made.document["warnings"]) == ("0123abc", [])


async def test_a_commit_is_one_short_line(blog: Api) -> None:
    for commit in ("a\nb", "x" * 257):
        answer = await attempt(blog, PAGE, commit=commit)
        assert (answer.status, answer.document["field"]) == (400, "commit")


async def compared(api: Api, deploy_id: str, **params: str) -> Any:
    answer = await api.get(f"{DEPLOYS}/{deploy_id}/diff", params=params)
    assert answer.status == 200, answer
    return answer.document


async def test_differences_name_files_and_sizes(blog: Api) -> None:
    first = await deploy(blog, "blog", {"/a": b"a", "/b": b"bb", "/same": b"same"})
    second = await deploy(blog, "blog", {"/b": b"b", "/c": b"cccc", "/same": b"same"})
    one, two = (each.document["deploy"]["id"] for each in (first, second))
    found = await compared(blog, two)
    assert found["against"] == one
    assert found["added"] == [{"path": "/c", "size_bytes": 4}]
    assert found["changed"] == [{"path": "/b", "size_bytes": 1, "before_bytes": 2}]
    assert found["removed"] == [{"path": "/a", "size_bytes": 1}]
    assert [found[f"{name}_count"] for name in ("added", "changed", "removed", "unchanged")] == [1, 1, 1, 1]
    assert [found[f"{name}_bytes"] for name in ("added", "changed", "removed")] == [4, -1, 1]
    assert found["rules_changed"] is False
    nothing = await compared(blog, one)
    assert (nothing["against"], nothing["added_count"], nothing["removed"]) == (None, 3, [])
    same = await compared(blog, one, against=one)
    assert (same["unchanged_count"], same["added_count"]) == (3, 0)
    assert (await blog.get(f"{DEPLOYS}/{two}/diff", params={"against": "none"})).status == 404
    reader = await blog.token_for("read:blog")
    assert (await reader.get(f"{DEPLOYS}/{two}/diff")).status == 200
    other = await blog.token_for("deploy:shop")
    assert (await other.get(f"{DEPLOYS}/{two}/diff")).status == 403


async def test_a_preview_is_compared_with_what_was_made_for_it_before_else_with_the_newest(blog: Api) -> None:
    first = await deploy(blog, "blog", PAGE)
    preview = await deploy(blog, "blog", PAGE | {"/a": b"a"}, alias="next")
    await deploy(blog, "blog", PAGE | {"/b": b"b"})
    again = await deploy(blog, "blog", PAGE | {"/c": b"c"}, alias="next")
    ids = [each.document["deploy"]["id"] for each in (first, preview, again)]
    assert (await compared(blog, ids[1]))["against"] == ids[0]
    assert (await compared(blog, ids[2]))["against"] == ids[1]


async def test_other_rules_are_a_difference(blog: Api) -> None:
    await deploy(blog, "blog", PAGE)
    ruled = await deploy(blog, "blog", PAGE | RULES)
    found = await compared(blog, ruled.document["deploy"]["id"])
    assert found["rules_changed"] is True
    assert [each["path"] for each in found["added"]] == ["/_headers", "/_redirects"]


async def test_lists_of_differences_are_bounded(blog: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.control.deploy_difference.MOST_FILES_LISTED", 2)
    made = await deploy(blog, "blog", {f"/{number}": b"x" for number in range(5)})
    found = await compared(blog, made.document["deploy"]["id"])
    assert (len(found["added"]), found["added_count"]) == (2, 5)


async def test_deploys_beyond_what_a_site_keeps_are_forgotten(control: Control, blog: Api) -> None:
    made = [await deploy(blog, "blog", {"/index.html": bytes([48 + number])}) for number in range(4)]
    await blog.patch("/v1/sites/blog", {"settings": {"keep_deploys": 2, "retention_s": 0}})
    control.clock.now += 8 * 86400
    control.plane.services.catalog.forget_retained(control.clock.now)
    await blog.patch("/v1/sites/blog", {"settings": {"keep_deploys": 1}})
    listed = [each["id"] for each in (await blog.get(DEPLOYS)).document["deploys"]]
    ids = [each.document["deploy"]["id"] for each in made]
    assert listed == [ids[3], ids[2]], "what is active, and what a rollback goes to"
    assert (await blog.get(f"{DEPLOYS}/{ids[0]}")).status == 404
    assert (await blog.post("/v1/sites/blog/rollback", {})).status == 200


async def test_a_lost_manifest_is_a_sentence(control: Control, blog: Api) -> None:
    first = (await deploy(blog, "blog", PAGE)).document["deploy"]
    second = (await deploy(blog, "blog", PAGE | {"/b": b"b"})).document["deploy"]
    await control.store.put(manifest_key(_site_id(control), first["manifest_digest"]), b'{"files":{},"version":1}')
    for answer in (
        await blog.post("/v1/sites/blog/rollback", {}),
        await blog.get(f"{DEPLOYS}/{second['id']}/diff"),
    ):
        assert answer.status == 422
        assert "deploy it again" in answer.document["detail"]


async def test_racing_rollbacks_go_to_the_same_deploy(blog: Api) -> None:
    ids = [(await deploy(blog, "blog", {"/index.html": text})).document["deploy"]["id"] for text in (b"1", b"2", b"3")]
    answers = await asyncio.gather(*(blog.post("/v1/sites/blog/rollback", {"to": ids[0]}) for _ in range(4)))
    assert {answer.status for answer in answers} == {200}
    shown = (await blog.get("/v1/sites/blog/aliases/production")).document
    assert (shown["deploy"], shown["forward"]) == (ids[0], ids[2])
