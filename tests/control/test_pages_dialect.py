"""Cloudflare Pages' deploy calls: what wrangler does, and what it must not be able to do."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cdn.control.pages_digest import pages_digest
from cdn.control.pages_token import LIFETIME_S
from cdn.journal.record import TakenDown
from cdn.sites.manifest import BundleLimits
from cdn.sites.name import PRODUCTION
from tests.control.control_room import Api, Control, ControlMaker, entry_of
from tests.control.deploy_clients import FILES, PagesClient, asset, form_of


@pytest.fixture
async def pages(api: Api) -> PagesClient:
    await api.post("/v1/sites", {"name": "blog"})
    return PagesClient(api)


def active(control: Control, alias: str = PRODUCTION) -> Any:
    services = control.plane.services
    state = services.catalog.alias(services.catalog.site_named("blog").id, alias)
    return None if state is None else state.active


def told(document: Any) -> str:
    assert document["success"] is False
    assert document["result"] is None
    return "\n".join(error["message"] for error in document["errors"])


async def test_a_deployment_is_live_when_it_is_answered(pages: PagesClient, control: Control) -> None:
    answer, missing = await pages.deploy(
        FILES, branch="main", commit_hash="c0ffee", commit_message="Say hello", commit_dirty="false"
    )
    assert answer.status == 200, answer
    assert len(missing) == len(FILES)
    result = answer.document["result"]
    assert result["latest_stage"] == {**result["latest_stage"], "name": "deploy", "status": "success"}
    assert (result["environment"], result["url"]) == ("production", "http://blog.cdn.localhost:8080")
    assert result["receipt"]["complete"] is True
    assert answer.fields["CDN-Receipt"] == f"/v1/receipts/{result['receipt']['position']['sequence']}"
    deploy = active(control)
    assert (deploy.id, deploy.commit, deploy.message) == (result["id"], "c0ffee", "Say hello")
    assert deploy.file_count == len(FILES)
    answer, missing = await pages.deploy({**FILES, "new.txt": b"new"})
    assert missing == [pages_digest(b"new", "txt")]
    assert active(control).id == answer.document["result"]["id"]


@pytest.mark.parametrize(
    ("branch", "alias"),
    [("main", PRODUCTION), ("master", PRODUCTION), ("production", PRODUCTION), ("Feature/Login", "feature-login")],
)
async def test_branches_are_previews_unless_they_are_productions(
    pages: PagesClient, control: Control, branch: str, alias: str
) -> None:
    answer, _ = await pages.deploy(FILES, branch=branch)
    result = answer.document["result"]
    assert result["environment"] == ("production" if alias == PRODUCTION else "preview")
    assert active(control, alias).id == result["id"]
    shown = await pages.api.get(f"{pages.path}/deployments/{result['id']}")
    assert shown.document["result"]["latest_stage"]["name"] == "deploy"
    assert shown.document["result"]["url"] == result["url"]


async def test_rule_files_come_in_the_form_and_are_read_as_cloudflare_reads_them(
    pages: PagesClient, control: Control
) -> None:
    answer, _ = await pages.deploy(FILES, _redirects="/old /new 301\n", _headers="/*\n  X-Test: yes\n")
    assert answer.status == 200, answer
    services = control.plane.services
    deploy = active(control)
    manifest = json.loads(await control.store.get(f"sites/{deploy.site_id}/manifests/{deploy.manifest_digest}"))
    assert manifest["version"] == 2
    assert manifest["rules"]["mode"] == "cloudflare"
    assert {"/_redirects", "/_headers"} <= manifest["files"].keys()
    assert services.catalog.deploy(deploy.site_id, deploy.id).manifest_version == 2


async def test_rules_that_are_wrong_are_all_told_and_nothing_is_deployed(pages: PagesClient, control: Control) -> None:
    answer, _ = await pages.deploy(FILES, _redirects="/a /b 999\n/c x://y\n")
    assert answer.status == 422
    text = told(answer.document)
    assert "_redirects:1" in text
    assert "_redirects:2" in text
    assert 8_000_000 not in [error["code"] for error in answer.document["errors"]], "clients would try again"
    assert active(control) is None


async def test_a_digest_that_is_not_that_of_the_content_is_found_out(pages: PagesClient, control: Control) -> None:
    token = await pages.upload_token()
    wrong = pages_digest(b"announced", "txt")
    sent = await pages.upload(token, [asset("a.txt", b"another", key=wrong)])
    assert sent.status == 200, "whose name ends in what is not known yet"
    assert (await pages.check_missing(token, [wrong])).document["result"] == []
    refused = await pages.deployment({"/a.txt": wrong})
    assert refused.status == 422
    assert "/a.txt" in told(refused.document)
    assert active(control) is None
    # Who sends what it said after all is believed.
    await pages.upload(token, [asset("a.txt", b"announced")])
    assert (await pages.deployment({"/a.txt": wrong})).status == 200
    deploy = active(control)
    manifest = json.loads(await control.store.get(f"sites/{deploy.site_id}/manifests/{deploy.manifest_digest}"))
    assert manifest["files"]["/a.txt"]["digest"] == entry_of(b"announced").digest


async def test_files_that_were_not_uploaded_are_named(pages: PagesClient) -> None:
    refused = await pages.deployment({"/a.txt": pages_digest(b"a", "txt")})
    assert refused.status == 404
    assert "/a.txt" in told(refused.document)


async def test_another_site_has_nothing_of_what_a_site_sent(pages: PagesClient, api: Api) -> None:
    await pages.deploy(FILES)
    await api.post("/v1/sites", {"name": "other"})
    other = PagesClient(api, "other")
    token = await other.upload_token()
    digests = [pages_digest(FILES["index.html"], "html"), pages_digest(FILES["none"], "")]
    assert (await other.check_missing(token, digests)).document["result"] == digests
    refused = await other.deployment({"/index.html": digests[0], "/none": digests[1]})
    assert refused.status == 404
    # What was uploaded with one site's token is that site's, whatever is deployed afterwards.
    await other.upload(await pages.upload_token(), [asset("new.txt", b"new")])
    assert (await other.deployment({"/new.txt": pages_digest(b"new", "txt")})).status == 404
    assert (await pages.deployment({"/new.txt": pages_digest(b"new", "txt")})).status == 200


async def test_upload_tokens_end(pages: PagesClient, control: Control, api: Api) -> None:
    deployer = await api.token_for("deploy:blog")
    token = await PagesClient(deployer).upload_token()
    digest = [pages_digest(b"a", "")]
    assert (await pages.check_missing(token, digest)).status == 200
    head, claims, signature = token.split(".")
    other_claims = base64.urlsafe_b64encode(
        json.dumps({**json.loads(base64.urlsafe_b64decode(claims + "==")), "exp": 2**40}).encode()
    ).decode()
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    for bad in (
        f"{head}.{other_claims.rstrip('=')}.{signature}",
        f"{unsigned}.{claims}.",
        f"{head}.{claims}.",
        f"{head}.{claims}",
        "nonsense",
        "a.b.c",
        f"{'a' * 3000}.b.c",
        deployer.token,
        None,
    ):
        for path, content in (("check-missing", {"hashes": digest}), ("upload", []), ("upsert-hashes", {"hashes": []})):
            refused = await api.post(f"/client/v4/pages/assets/{path}", content, token=bad)
            assert refused.status == 401, (bad, path)
            assert refused.document["errors"][0]["code"] == 8_000_013, "clients get another one"
    control.clock.now += LIFETIME_S + 1
    assert (await pages.check_missing(token, digest)).status == 401
    token = await PagesClient(deployer).upload_token()
    assert (await pages.check_missing(token, digest)).status == 200
    await api.delete(f"/v1/tokens/{(deployer.token or '').split('_')[1]}")
    assert (await pages.check_missing(token, digest)).status == 401


async def test_a_batch_with_files_that_cannot_be_is_refused_whole(pages: PagesClient) -> None:
    token = await pages.upload_token()
    good = asset("a.txt", b"a")
    for bad in (
        asset("b.txt", b"b", key="nonsense"),
        asset("b.txt", b"b", base64=False),
        asset("b.txt", b"b", value="%%%"),
        asset("b.txt", b"b", value="YQ"),
        asset("b.txt", b"b", value="é"),
    ):
        refused = await pages.upload(token, [good, bad])
        assert refused.status == 400, bad
        assert "file 2" in told(refused.document)
        assert (await pages.check_missing(token, [good["key"]])).document["result"] == [good["key"]]
    for nonsense in ({"key": 1}, [{"key": 1}], [1], "x"):
        assert (await pages.upload(token, nonsense)).status == 400


async def test_files_and_batches_above_the_limits_are_refused(
    pages: PagesClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in (("MAX_FILE_BYTES", 100), ("MAX_BATCH_FILES", 2), ("MAX_BATCH_BYTES", 500)):
        monkeypatch.setattr(f"cdn.control.pages_assets.{name}", limit)
    token = await pages.upload_token()
    assert (await pages.upload(token, [asset("a.bin", b"a" * 100)])).status == 200
    for batch in ([asset("a.bin", b"a" * 101)], [asset("a", b"a")] * 3, [asset("a.bin", b"a" * 500)]):
        refused = await pages.upload(token, batch)
        assert refused.status in (400, 413)
        assert any(limit in told(refused.document) for limit in ("100", "2", "500"))


async def test_content_of_countless_short_values_is_refused_before_it_is_read(
    make_control: ControlMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = await make_control(bundle=BundleLimits(max_files=2))
    await control.api.post("/v1/sites", {"name": "blog"})
    pages = PagesClient(control.api)
    monkeypatch.setattr("cdn.control.pages_assets.MAX_BATCH_FILES", 2)
    token = await pages.upload_token()
    assert (await pages.upload(token, [{}] * 9)).status == 413
    assert (await pages.check_missing(token, ["x"] * 40)).status == 413
    assert (await pages.check_missing(token, [f"{n:032x}" for n in range(3)])).status == 413
    assert (await pages.form({"manifest": json.dumps([1] * 10)})).status == 413
    assert (await pages.deployment({f"/{n}": f"{n:032x}" for n in range(3)})).status == 413


async def test_hashes_that_cannot_be_are_refused(pages: PagesClient) -> None:
    token = await pages.upload_token()
    for hashes in (["x"], ["A" * 32], ["../../../../etc/passwd"], [""]):
        assert (await pages.check_missing(token, hashes)).status == 400
    assert (await pages.api.post("/client/v4/pages/assets/upsert-hashes", {"hashes": ["x"]}, token=token)).status == 400


async def test_workers_are_refused_and_the_way_out_is_said(pages: PagesClient, control: Control) -> None:
    for name in ("_worker.js", "_worker.bundle"):
        answer, _ = await pages.deploy(FILES, **{name: "export default {}"})
        assert answer.status == 422
        assert "functions/" in told(answer.document)
    assert active(control) is None
    answer, _ = await pages.deploy(FILES, **{"_routes.json": '{"version":1,"include":[],"exclude":[]}'})
    assert answer.status == 200


async def test_forms_that_are_none_are_refused(pages: PagesClient) -> None:
    content, kind = form_of({"manifest": "{}"})
    for data, content_type in (
        (content, "application/json"),
        (content, "multipart/form-data"),
        (content, "multipart/form-data; boundary=other"),
        (content[:-8], kind),
        (content.replace(b'name="manifest"', b"x"), kind),
        (b"", kind),
    ):
        refused = await pages.api.post(f"{pages.path}/deployments", data=data, fields={"Content-Type": content_type})
        assert refused.status == 400, (content_type, refused)
    for manifest in ("", "[]", "{", '{"/a": 1}', '{"/a": "x"}', "{}"):
        assert (await pages.form({"manifest": manifest})).status == 400, manifest
    assert (await pages.form({"branch": "main"})).status == 400


async def test_paths_that_cannot_be_are_refused(pages: PagesClient) -> None:
    token = await pages.upload_token()
    await pages.upload(token, [asset("a", b"a")])
    digest = pages_digest(b"a", "")
    refused = await pages.deployment({"/../a": digest})
    assert refused.status == 400
    assert "/../a" in told(refused.document)


async def test_a_token_of_another_site_learns_nothing(pages: PagesClient, api: Api) -> None:
    await api.post("/v1/sites", {"name": "other"})
    stranger = await api.token_for("deploy:other")
    for name in ("blog", "absent"):
        project = f"/client/v4/accounts/any/pages/projects/{name}"
        for method, path in (("GET", ""), ("GET", "/upload-token"), ("POST", "/deployments"), ("GET", "/deployments")):
            refused = await stranger.call(method, project + path)
            assert (refused.status, refused.document["errors"][0]["code"]) == (403, 10_000)
            assert name in told(refused.document)
    listed = await stranger.get("/client/v4/accounts/any/pages/projects")
    assert [project["name"] for project in listed.document["result"]] == ["other"]
    assert (await pages.api.get("/client/v4/accounts/any/pages/projects/blog", token="cdn_a_b")).status == 401


async def test_the_project_as_clients_see_it(pages: PagesClient) -> None:
    project = (await pages.api.get(pages.path)).document["result"]
    assert (project["name"], project["production_branch"]) == ("blog", "main")
    absent = await pages.api.get("/client/v4/accounts/any/pages/projects/absent")
    assert (absent.status, absent.document["errors"][0]["code"]) == (404, 8_000_007)
    refused = await pages.api.post("/client/v4/accounts/any/pages/projects", {"name": "new"})
    assert (refused.status, "cdn site create" in told(refused.document)) == (403, True)
    assert (await pages.api.get("/client/v4/accounts/any/pages/else")).status == 404
    assert (await pages.api.get("/client/v4/accounts")).document["result"][0]["id"] == "cdn"
    assert (await pages.api.get("/client/v4/memberships")).document["result"][0]["account"]["id"] == "cdn"
    keyed = await pages.api.get(pages.path, token=None, fields={"X-Auth-Key": pages.api.token or ""})
    assert keyed.status == 200


async def test_a_deployment_of_the_past_is_rolled_back_to(pages: PagesClient, control: Control) -> None:
    first, _ = await pages.deploy({"a": b"1"})
    await pages.deploy({"a": b"2"})
    deployment = first.document["result"]["id"]
    rolled = await pages.api.post(f"{pages.path}/deployments/{deployment}/rollback")
    assert rolled.document["result"]["receipt"]["complete"] is True
    assert active(control).id == deployment
    listed = (await pages.api.get(f"{pages.path}/deployments")).document["result"]
    assert len(listed) == 2
    logs = await pages.api.get(f"{pages.path}/deployments/{deployment}/history/logs")
    assert logs.document["result"]["data"] == []
    assert (await pages.api.get(f"{pages.path}/deployments/absent")).status == 404


async def test_a_deployment_is_not_called_done_while_a_node_has_not_applied_it(
    pages: PagesClient, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.control.pages_dialect.LIVE_WAIT_S", 0.05)
    await pages.api.patch("/v1/sites/blog", {"settings": {"prepare_timeout_s": 0.01}})
    node = await control.node()
    answer, _ = await pages.deploy(FILES)
    result = answer.document["result"]
    assert (result["latest_stage"]["status"], result["receipt"]["complete"]) == ("active", False)
    shown = await pages.api.get(f"{pages.path}/deployments/{result['id']}")
    assert shown.document["result"]["latest_stage"]["name"] == "build"
    control.directory.applied(node.node_id, control.plane.state.position)
    shown = await pages.api.get(f"{pages.path}/deployments/{result['id']}")
    assert shown.document["result"]["latest_stage"]["name"] == "deploy"


async def test_what_was_taken_down_does_not_come_back(pages: PagesClient, control: Control) -> None:
    services = control.plane.services
    site_id = services.catalog.site_named("blog").id
    await services.state.append(
        "takedown", lambda: TakenDown(entry_of(b"bad").digest, site_id, "court order"), "token:x"
    )
    refused = await pages.upload(await pages.upload_token(), [asset("bad", b"bad")])
    assert refused.status == 410
    assert told(refused.document)
