"""Netlify's deploy calls: what its client does, and what it must not be able to do."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import msgspec
import pytest

from cdn.control.netlify_deploys import NetlifyDeploys
from cdn.control.netlify_draft import DRAFT_S, NetlifyDraft
from cdn.control.vendor_digests import DigestKind, VendorDigests
from cdn.errors import Conflict
from cdn.journal.record import TakenDown
from cdn.origin.store import StoreUnavailable
from cdn.sites.manifest import BundleLimits
from cdn.sites.name import PRODUCTION
from tests.control.control_room import Api, Control, ControlMaker, deploy, entry_of
from tests.control.deploy_clients import FILES, NetlifyClient, sha1_of


@pytest.fixture
async def netlify(api: Api) -> NetlifyClient:
    await api.post("/v1/sites", {"name": "blog"})
    return NetlifyClient(api)


def active_files(control: Control, alias: str = PRODUCTION, site: str = "blog") -> Any:
    services = control.plane.services
    found = services.catalog.site_named(site)
    state = services.catalog.alias(found.id, alias)
    return None if state is None else state.active


async def test_a_deploy_asks_for_what_is_missing_and_is_live_when_it_came(
    netlify: NetlifyClient, control: Control
) -> None:
    ended, required = await netlify.deploy(FILES)
    assert ended["state"] == "ready"
    assert sorted(required) == sorted(map(sha1_of, FILES.values()))
    assert ended["ssl_url"] == "http://blog.cdn.localhost:8080"
    assert active_files(control).file_count == len(FILES)
    ended, required = await netlify.deploy({**FILES, "new.txt": b"new"}, branch="")
    assert (ended["state"], required) == ("ready", [sha1_of(b"new")])


async def test_a_deploy_that_is_ready_names_its_receipt(netlify: NetlifyClient) -> None:
    ended, _ = await netlify.deploy(FILES)
    path = (await netlify.show(ended["id"])).fields["CDN-Receipt"]
    assert (await netlify.api.get(path)).document["complete"] is True


async def test_nothing_is_missing_and_the_deploy_is_live_without_an_upload(
    netlify: NetlifyClient, control: Control
) -> None:
    await netlify.deploy(FILES)
    first = active_files(control)
    ended, required = await netlify.deploy(FILES)
    assert (ended["state"], required) == ("ready", [])
    assert active_files(control).id != first.id


async def test_drafts_have_hosts_of_their_own_and_an_end(netlify: NetlifyClient, control: Control) -> None:
    ended, _ = await netlify.deploy(FILES, draft=True)
    alias = ended["deploy_ssl_url"].removeprefix("http://").partition("--")[0]
    assert alias.startswith("draft-")
    assert active_files(control) is None
    services = control.plane.services
    state = services.catalog.alias(services.catalog.site_named("blog").id, alias)
    assert state is not None
    assert state.expires_at is not None


async def test_a_branch_is_a_preview(netlify: NetlifyClient, control: Control) -> None:
    ended, _ = await netlify.deploy(FILES, branch="Feature/Login")
    assert ended["deploy_ssl_url"] == "http://feature-login--blog.cdn.localhost:8080"
    assert active_files(control) is None
    assert active_files(control, "feature-login").file_count == len(FILES)


async def test_title_and_actor_are_recorded(netlify: NetlifyClient, control: Control) -> None:
    begun = await netlify.api.call("POST", "/api/v1/sites/blog/deploys", {"draft": False}, params={"title": "A title"})
    await netlify.announce(begun.document["id"], {"a": b"a"})
    await netlify.send(begun.document["id"], "a", b"a")
    await netlify.wait(begun.document["id"])
    assert active_files(control).message == "A title"
    assert active_files(control).author.startswith("token:")


async def test_a_file_that_is_not_what_was_announced_is_refused_and_asked_for_again(netlify: NetlifyClient) -> None:
    deploy_id = (await netlify.begin())["id"]
    await netlify.announce(deploy_id, {"a.txt": b"announced"})
    sent = await netlify.send(deploy_id, "a.txt", b"another")
    assert sent.status == 422
    assert sha1_of(b"announced") in sent.document["message"]
    shown = (await netlify.show(deploy_id)).document
    assert (shown["state"], shown["required"]) == ("uploading", [sha1_of(b"announced")])


async def test_a_file_that_was_not_announced_is_refused(netlify: NetlifyClient) -> None:
    deploy_id = (await netlify.begin())["id"]
    assert (await netlify.send(deploy_id, "a.txt", b"a")).status == 422
    await netlify.announce(deploy_id, {"a.txt": b"a"})
    sent = await netlify.send(deploy_id, "b.txt", b"a")
    assert (sent.status, sent.document["code"]) == (422, 422), "after anything else the client would try for minutes"
    assert "b.txt" in sent.document["message"]


async def test_every_file_that_cannot_be_is_named_at_once(netlify: NetlifyClient) -> None:
    deploy_id = (await netlify.begin())["id"]
    refused = await netlify.api.call(
        "PUT", f"/api/v1/deploys/{deploy_id}", {"files": {"a/../b": sha1_of(b""), "c": "nonsense", "d": sha1_of(b"")}}
    )
    assert refused.status == 400
    assert "a/../b" in refused.document["message"]
    assert "nonsense" in refused.document["message"]
    assert (await netlify.announce(deploy_id, {})).status == 400
    assert (await netlify.announce(deploy_id, {"a": b"a"})).status == 200, "nothing was kept of what was refused"


async def test_files_of_the_vendors_own_machines_are_left_out(netlify: NetlifyClient, control: Control) -> None:
    ended, required = await netlify.deploy({"a": b"a", ".netlify/edge-functions/x.js": b"code"})
    assert (ended["state"], required) == ("ready", [sha1_of(b"a")])
    assert active_files(control).file_count == 1


async def test_functions_are_left_out_and_that_is_said(netlify: NetlifyClient) -> None:
    deploy_id = (await netlify.begin())["id"]
    announced = await netlify.announce(
        deploy_id, {"a": b"a"}, functions={"hello": "f" * 64}, function_schedules=[], functions_config={}
    )
    assert announced.document["required_functions"] == []
    refused = await netlify.api.put(f"/api/v1/deploys/{deploy_id}/functions/hello", b"zip")
    assert refused.status == 422
    await netlify.send(deploy_id, "a", b"a")
    ended = await netlify.wait(deploy_id)
    assert "functions" in ended["summary"]["messages"][0]["title"]


async def test_another_site_knows_nothing_of_content_that_a_site_has(netlify: NetlifyClient, api: Api) -> None:
    await netlify.deploy(FILES)
    await api.post("/v1/sites", {"name": "other"})
    other = NetlifyClient(api, "other")
    announced = await other.announce((await other.begin())["id"], FILES)
    assert sorted(announced.document["required"]) == sorted(map(sha1_of, FILES.values()))


async def test_a_token_of_another_site_sees_no_deploy_and_changes_none(netlify: NetlifyClient, api: Api) -> None:
    await api.post("/v1/sites", {"name": "other"})
    stranger = NetlifyClient(await api.token_for("deploy:other"))
    reader = NetlifyClient(await api.token_for("read:blog"))
    deploy_id = (await netlify.begin())["id"]
    await netlify.announce(deploy_id, FILES)
    for one in (stranger, reader):
        hidden = [
            await one.show(deploy_id),
            await one.announce(deploy_id, FILES),
            await one.send(deploy_id, "index.html", FILES["index.html"]),
            await one.api.post(f"/api/v1/deploys/{deploy_id}/cancel"),
            await one.api.get(f"/api/v1/deploys/{'0' * 40}"),
        ]
        assert [answer.status for answer in hidden] == [404] * 5
        assert hidden[0].document["message"].replace(deploy_id, "ID") == hidden[4].document["message"].replace(
            "0" * 40, "ID"
        )
    assert (await NetlifyClient(stranger.api, "other").show(deploy_id)).status == 404
    for name in ("blog", "absent"):
        refused = await stranger.api.get(f"/api/v1/sites/{name}")
        assert (refused.status, refused.document["message"]) == (
            403,
            f"This token does not have the scope read:{name}.",
        )


async def test_bad_tokens_and_unknown_places_are_told_in_the_vendors_shape(netlify: NetlifyClient) -> None:
    for token in (None, "nonsense", "cdn_a_b"):
        refused = await netlify.api.get("/api/v1/sites/blog", token=token)
        assert (refused.status, refused.document["code"]) == (401, 401)
        assert refused.document["message"]
    absent = await netlify.api.get("/api/v1/forms")
    assert (absent.status, absent.document["code"]) == (404, 404)
    assert (await netlify.api.get("/api/v1/sites/absent")).status == 404


async def test_the_same_files_may_be_announced_again_and_others_may_not(netlify: NetlifyClient) -> None:
    deploy_id = (await netlify.begin())["id"]
    assert (await netlify.announce(deploy_id, FILES)).status == 200
    assert (await netlify.announce(deploy_id, FILES)).status == 200
    assert (await netlify.announce(deploy_id, {"x": b"x"})).status == 409


async def test_a_deploy_that_was_cancelled_stays_so(netlify: NetlifyClient, control: Control) -> None:
    deploy_id = (await netlify.begin())["id"]
    await netlify.announce(deploy_id, {"a": b"a"})
    assert (await netlify.api.post(f"/api/v1/deploys/{deploy_id}/cancel")).status == 200
    await netlify.send(deploy_id, "a", b"a")
    assert (await netlify.wait(deploy_id))["state"] == "error"
    assert active_files(control) is None


async def test_rules_that_are_wrong_are_told_with_file_and_line_and_nothing_is_deployed(
    netlify: NetlifyClient, control: Control
) -> None:
    toml = b'[[redirects]]\nfrom = "/a"\nto = "/b"\nstatus = 999\n'
    ended, _ = await netlify.deploy({"index.html": b"x", "netlify.toml": toml})
    assert ended["state"] == "error"
    assert "netlify.toml:1" in ended["error_message"]
    assert active_files(control) is None


async def test_control_that_starts_again_goes_on_with_a_deploy_at_every_step(
    netlify: NetlifyClient, control: Control
) -> None:
    deploy_id = (await netlify.begin())["id"]
    netlify.api = (await control.reopen()).api
    await netlify.announce(deploy_id, FILES)
    for path, content in FILES.items():
        netlify.api = (await control.reopen()).api
        assert sha1_of(content) in (await netlify.show(deploy_id)).document["required"]
        assert (await netlify.send(deploy_id, path, content)).status == 200
    netlify.api = (await control.reopen()).api
    assert (await netlify.wait(deploy_id))["state"] == "ready"
    assert len(control.plane.services.catalog.deploys(active_files(control).site_id)) == 1


async def test_publishing_that_was_cut_off_before_its_outcome_was_kept_makes_no_second_deploy(
    netlify: NetlifyClient, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_id = (await netlify.begin())["id"]
    await netlify.announce(deploy_id, {"a": b"a"})
    published = NetlifyDeploys._published

    async def cut_off(self: NetlifyDeploys, *arguments: Any) -> Any:
        await published(self, *arguments)
        raise StoreUnavailable("cut off")

    monkeypatch.setattr(NetlifyDeploys, "_published", cut_off)
    await netlify.send(deploy_id, "a", b"a")
    while active_files(control) is None:
        assert (await netlify.show(deploy_id)).document["state"] == "uploaded"
    first = active_files(control)
    monkeypatch.undo()
    netlify.api = (await control.reopen()).api
    assert (await netlify.wait(deploy_id))["state"] == "ready"
    assert active_files(control).id == first.id
    assert len(control.plane.services.catalog.deploys(first.site_id)) == 1


async def test_a_draft_ends(netlify: NetlifyClient, control: Control) -> None:
    deploy_id = (await netlify.begin())["id"]
    control.clock.now += DRAFT_S + 2
    assert (await netlify.show(deploy_id)).status == 404
    store, site_id = control.store, control.plane.services.catalog.site_named("blog").id
    assert [facts.key async for facts in store.scan(f"sites/{site_id}/drafts/")]
    await netlify.begin()
    kept = [facts.key async for facts in store.scan(f"sites/{site_id}/drafts/")]
    assert len(kept) == 1
    assert deploy_id not in kept[0]


async def test_content_that_was_swept_is_asked_for_again(netlify: NetlifyClient, control: Control) -> None:
    await netlify.deploy({"a": b"a"})
    services = control.plane.services
    site_id = services.catalog.site_named("blog").id
    keys = [facts.key async for facts in control.store.scan(f"sites/{site_id}/blobs/")]
    for key in keys:
        await control.store.delete(key)
    services.proofs.forget_site(site_id)
    _, required = await netlify.deploy({"a": b"a"})
    assert required == [sha1_of(b"a")]


async def test_large_files_keep_the_digests_of_their_chunks(netlify: NetlifyClient, control: Control) -> None:
    large = bytes(range(256)) * 10_000
    await netlify.deploy({"large.bin": large})
    ended, required = await netlify.deploy({"large.bin": large, "more": b"more"})
    assert (ended["state"], required) == ("ready", [sha1_of(b"more")])
    services = control.plane.services
    table = VendorDigests(services.store, services.proofs)
    site_id = services.catalog.site_named("blog").id
    (entry,) = (await table.find(site_id, DigestKind.SHA1, [sha1_of(large)])).values()
    assert len(entry.chunk_digests) == 3


async def test_many_files_are_looked_up_by_a_listing(netlify: NetlifyClient) -> None:
    files = {f"f{n}": b"%d" % n for n in range(70)}
    _, required = await netlify.deploy(files)
    assert len(required) == 70
    _, required = await netlify.deploy({**files, "more": b"more"})
    assert required == [sha1_of(b"more")]


async def test_large_deploys_take_turns_and_a_client_that_asks_again_gets_its_own(
    netlify: NetlifyClient, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.control.bundle_publishing.SMALL_FILES", 1)
    services = control.plane.services
    site_id = services.catalog.site_named("blog").id
    files = {"a": b"a", "b": b"b"}
    async with services.manifests.take(site_id), services.manifests.take(site_id):
        deploy_id = (await netlify.begin())["id"]
        await netlify.announce(deploy_id, files)
        for path, content in files.items():
            await netlify.send(deploy_id, path, content)
        for _ in range(5):
            assert (await netlify.show(deploy_id)).document["state"] == "uploaded"
        assert active_files(control) is None
    assert (await netlify.wait(deploy_id))["state"] == "ready"


async def test_sites_are_found_by_name_and_hidden_from_strangers(netlify: NetlifyClient, api: Api) -> None:
    await api.post("/v1/sites", {"name": "other"})
    found = await netlify.api.get("/api/v1/sites", params={"name": "blog", "filter": "all"})
    assert [site["id"] for site in found.document] == ["blog"]
    everything = await netlify.api.get("/api/v1/sites", params={"page": "1", "per_page": "100"})
    assert {site["name"] for site in everything.document} == {"blog", "other"}
    stranger = await api.token_for("deploy:other")
    assert (await stranger.get("/api/v1/sites", params={"name": "blog"})).document == []
    assert [site["name"] for site in (await stranger.get("/api/v1/sites")).document] == ["other"]


async def test_what_the_client_asks_beside_deploying(netlify: NetlifyClient) -> None:
    assert (await netlify.api.get("/api/v1/accounts")).document[0]["slug"] == "cdn"
    assert (await netlify.api.get("/api/v1/accounts/cdn/env")).document == []
    assert "@" in (await netlify.api.get("/api/v1/user")).document["email"]
    refused = await netlify.api.post("/api/v1/cdn/sites", {"name": "new"})
    assert refused.status == 403
    assert "cdn site create" in refused.document["message"]


async def test_a_deploy_of_the_past_is_published_again(netlify: NetlifyClient, control: Control) -> None:
    first, _ = await netlify.deploy({"a": b"1"})
    before = active_files(control)
    await netlify.deploy({"a": b"2"})
    for deploy_id in (first["id"], before.id):
        restored = await netlify.api.post(f"/api/v1/sites/blog/deploys/{deploy_id}/restore")
        assert restored.status == 200
        assert restored.document["receipt"]["complete"] is True
        assert active_files(control).id == before.id
    listed = (await netlify.api.get("/api/v1/sites/blog/deploys")).document
    assert len(listed) == 2
    shown = (await netlify.api.get(f"/api/v1/deploys/{before.id}")).document
    assert shown["state"] == "ready"


async def test_a_locked_site_is_said_to_be_and_takes_no_deploy(netlify: NetlifyClient, api: Api) -> None:
    await netlify.deploy({"a": b"1"})
    locked = await api.put("/v1/sites/blog/aliases/production", b'{"lock": "release freeze"}')
    assert locked.status == 200, locked
    assert (await netlify.api.get("/api/v1/sites/blog")).document["published_deploy"]["locked"] is True
    refused, _ = await NetlifyClient(await api.token_for("deploy:blog")).deploy({"a": b"2"})
    assert refused["state"] == "error"
    assert "release freeze" in refused["error_message"]


async def test_purges_by_tags_and_of_everything(netlify: NetlifyClient, api: Api) -> None:
    purged = await netlify.api.post("/api/v1/purge", {"site_id": "blog", "cache_tags": ["news"]})
    assert purged.status == 202
    assert purged.document["complete"] is True
    assert purged.fields["CDN-Receipt"] == f"/v1/receipts/{purged.document['position']['sequence']}"
    everything = await netlify.api.post("/api/v1/purge", {"site_slug": "blog", "deploy_alias": "production"})
    assert everything.document["position"]["sequence"] == purged.document["position"]["sequence"] + 1
    by_domain = await netlify.api.post("/api/v1/purge", {"domain": "blog.cdn.localhost"})
    assert by_domain.status == 202
    await api.post("/v1/sites", {"name": "other"})
    stranger = await api.token_for("purge:other")
    for wanted in ({"site_id": "blog"}, {"domain": "blog.cdn.localhost"}, {"domain": "absent.example"}):
        refused = await stranger.post("/api/v1/purge", wanted)
        assert (refused.status, refused.document["code"]) == (403, 403)
    assert (await netlify.api.post("/api/v1/purge", {})).status == 400
    assert (await netlify.api.post("/api/v1/purge", {"site_id": "blog", "cache_tags": ["\x00"]})).status == 400


async def test_what_another_replica_made_of_a_deploy_stands(
    netlify: NetlifyClient, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both publish it; this one is later, and finds that the next deploy has taken its place."""

    async def late(self: NetlifyDeploys, draft: NetlifyDraft, entries: Any) -> NetlifyDraft:
        await self.drafts.save(msgspec.structs.replace(draft, deploy_id="0123456789abcdef"))
        raise Conflict("another has replaced it since")

    monkeypatch.setattr(NetlifyDeploys, "_published", late)
    ended, _ = await netlify.deploy(FILES)
    assert (ended["state"], ended["error_message"]) == ("ready", None)


async def test_an_archive_is_a_whole_deploy(netlify: NetlifyClient, control: Control) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("index.html", "zipped")
    for query, alias in (("", PRODUCTION), ("?branch=feat", "feat")):
        answer = await netlify.api.post(
            f"/api/v1/sites/blog/deploys{query}", data=archive.getvalue(), fields={"Content-Type": "application/zip"}
        )
        assert (answer.status, answer.document["state"]) == (200, "ready")
        assert active_files(control, alias).file_count == 1


async def test_an_archive_is_a_draft_and_read_as_netlify_reads_it_whatever_the_site_is(
    netlify: NetlifyClient, control: Control
) -> None:
    changed = await netlify.api.patch("/v1/sites/blog", {"settings": {"rules_mode": "cloudflare"}})
    assert changed.status == 200, changed
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("index.html", "zipped")
        opened.writestr("_redirects", "/old /new 301!\n")  # the mark is none of Cloudflare's
    answer = await netlify.api.post(
        "/api/v1/sites/blog/deploys?draft=true", data=archive.getvalue(), fields={"Content-Type": "application/zip"}
    )
    assert (answer.status, answer.document["state"]) == (200, "ready"), answer
    services = control.plane.services
    site = services.catalog.site_named("blog")
    (alias,) = [name for name in services.catalog.aliases(site.id) if name.startswith("draft-")]
    assert services.catalog.alias(site.id, alias).expires_at is not None, "nobody removes it"
    manifest_digest = services.catalog.alias(site.id, alias).active.manifest_digest
    manifest = json.loads(await control.store.get(f"sites/{site.id}/manifests/{manifest_digest}"))
    assert manifest["rules"].get("mode", "netlify") == "netlify"


async def test_nothing_is_deployed_to_a_pull_site(netlify: NetlifyClient, api: Api) -> None:
    made = await api.post("/v1/sites", {"name": "pulled", "settings": {"origin": "https://example.com"}})
    assert made.status == 201
    refused = await api.post("/api/v1/sites/pulled/deploys", {"draft": False})
    assert refused.status == 409
    assert "example.com" in refused.document["message"]


async def test_a_file_that_was_taken_down_does_not_come_back(netlify: NetlifyClient, control: Control) -> None:
    services = control.plane.services
    site_id = services.catalog.site_named("blog").id
    await services.state.append(
        "takedown", lambda: TakenDown(entry_of(b"bad").digest, site_id, "court order"), "token:x"
    )
    deploy_id = (await netlify.begin())["id"]
    await netlify.announce(deploy_id, {"bad": b"bad"})
    refused = await netlify.send(deploy_id, "bad", b"bad")
    assert (refused.status, refused.document["code"]) == (422, 422)
    assert "taken down" in refused.document["message"]


async def test_bundles_and_files_above_the_limits_are_refused(make_control: ControlMaker) -> None:
    control = await make_control(bundle=BundleLimits(max_files=2, max_file_bytes=10))
    await control.api.post("/v1/sites", {"name": "blog"})
    netlify = NetlifyClient(control.api)
    deploy_id = (await netlify.begin())["id"]
    many = await netlify.announce(deploy_id, {"a": b"a", "b": b"b", "c": b"c"})
    assert many.status == 413
    await netlify.announce(deploy_id, {"a": b"a" * 11})
    sent = await netlify.send(deploy_id, "a", b"a" * 11)
    assert sent.status == 422
    assert "10 bytes" in sent.document["message"]


async def test_native_and_netlify_deploys_mix(netlify: NetlifyClient, api: Api) -> None:
    await deploy(api, "blog", {"/a": b"native"})
    ended, required = await netlify.deploy({"a": b"native"})
    assert ended["state"] == "ready"
    assert required == [sha1_of(b"native")], "only what came by this dialect is known by its SHA-1"
