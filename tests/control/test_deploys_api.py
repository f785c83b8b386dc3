"""Uploads, deploys, rollbacks over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from cdn.journal.record import DeployActivated, DeployPrepared
from cdn.origin.layout import blob_key, manifest_key
from tests.control.control_room import (
    Api,
    Control,
    ControlMaker,
    deploy,
    deploy_request,
    entry_of,
    upload,
)

FILES = {"/index.html": b"<h1>hello</h1>", "/app.css": b"h1 { color: teal }", "/copy.css": b"h1 { color: teal }"}


@pytest.fixture
async def blog(api: Api) -> Api:
    await api.post("/v1/sites", {"name": "blog"})
    await api.post("/v1/sites", {"name": "shop"})
    return api


async def test_what_is_missing_is_uploaded_and_activated(control: Control, blog: Api) -> None:
    await control.following_node()
    upload_id, missing = await upload(blog, "blog", FILES)
    assert len(missing) == 2
    answer = await blog.post(
        "/v1/sites/blog/deploys?wait=5", deploy_request(upload_id, FILES, message="first", author="kim")
    )
    assert answer.status == 201
    made = answer.document
    assert made["url"] == "http://blog.cdn.localhost:8080/"
    assert made["unprepared"] == []
    assert made["receipt"]["complete"] is True
    assert [node["outcome"] for node in made["receipt"]["nodes"]] == ["applied"]
    assert (made["deploy"]["file_count"], made["deploy"]["message"], made["deploy"]["author"]) == (3, "first", "kim")
    assert made["deploy"]["active_on"] == ["production"]
    site = (await blog.get("/v1/sites/blog")).document
    assert site["active"] == made["deploy"]["id"]
    assert await control.store.head(manifest_key(site["id"], made["deploy"]["manifest_digest"])) is not None
    assert (await blog.get("/v1/sites/blog/deploys")).document == {"deploys": [made["deploy"]]}
    assert (await blog.get(f"/v1/sites/blog/deploys/{made['deploy']['id']}")).document == made["deploy"]


async def test_a_second_deploy_misses_only_what_changed(blog: Api) -> None:
    await deploy(blog, "blog", FILES)
    changed = {**FILES, "/index.html": b"<h1>goodbye</h1>"}
    _, missing = await upload(blog, "blog", changed)
    assert missing == [entry_of(changed["/index.html"]).digest]


async def test_another_sites_blob_is_missing_here_and_no_manifest_may_name_it(blog: Api) -> None:
    await deploy(blog, "blog", FILES)
    opened = await blog.post(
        "/v1/sites/shop/uploads", {"blobs": {entry_of(content).digest: len(content) for content in FILES.values()}}
    )
    assert len(opened.document["missing"]) == 2
    answer = await blog.post("/v1/sites/shop/deploys", deploy_request(opened.document["id"], FILES))
    assert answer.status == 422
    assert len(answer.document["details"]) == 2


async def test_digests_that_were_not_uploaded_are_listed(blog: Api) -> None:
    upload_id, _ = await upload(blog, "blog", FILES)
    more = {**FILES, "/new.html": b"new", "/other.html": b"other"}
    answer = await blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, more))
    assert answer.status == 422
    assert answer.document["field"] == "manifest"
    assert sorted(line.split(":")[0] for line in answer.document["details"]) == sorted(
        entry_of(content).digest for content in (b"new", b"other")
    )
    assert (await blog.get("/v1/sites/blog/deploys")).document == {"deploys": []}


async def test_a_manifest_with_a_wrong_size_is_refused(blog: Api) -> None:
    upload_id, _ = await upload(blog, "blog", {"/a": b"abc"})
    request = deploy_request(upload_id, {"/a": b"abc"})
    request["manifest"]["files"]["/a"]["size_bytes"] = 4
    for session in (upload_id, None):
        answer = await blog.post("/v1/sites/blog/deploys", {**request, "upload": session})
        assert answer.status == 422
        assert "has 3 bytes" in answer.document["details"][0]


@pytest.mark.parametrize(
    ("manifest", "field"),
    [
        ({}, "manifest.version"),
        ([], "manifest"),
        ({"version": 1, "files": {"../etc": {"digest": "a" * 64, "size_bytes": 1}}}, "manifest.files"),
        ({"version": 1, "files": {"/a": {"digest": "zz", "size_bytes": 1}}}, "manifest.files"),
        ({"version": 1, "files": {}}, "manifest.files"),
        ({"version": 9, "files": {}}, "manifest.version"),
    ],
)
async def test_a_bad_manifest_is_400_with_its_faults(blog: Api, manifest: Any, field: str) -> None:
    answer = await blog.post("/v1/sites/blog/deploys", {"manifest": manifest})
    assert (answer.status, answer.document["field"]) == (400, field), answer


async def test_bytes_that_are_not_what_was_announced_are_refused(control: Control, blog: Api) -> None:
    digest = hashlib.sha256(b"right").hexdigest()
    opened = (await blog.post("/v1/sites/blog/uploads", {"blobs": {digest: 5}})).document
    path = f"/v1/sites/blog/uploads/{opened['id']}/blobs/{digest}"

    async def chunked(content: bytes) -> Any:
        yield content

    for data in (b"wrong", b"longer", b"", chunked(b"wrong"), chunked(b"much longer"), chunked(b"r")):
        answer = await blog.put(path, data)
        assert answer.status in (413, 422), answer
        assert answer.is_problem
    site_id = (await blog.get("/v1/sites/blog")).document["id"]
    assert await control.store.head(blob_key(site_id, digest)) is None
    assert (await blog.put(path, b"right")).status == 201
    assert (await blog.put(path, b"right")).status == 201


async def test_blobs_that_were_not_announced_and_uploads_that_are_not_open(blog: Api) -> None:
    opened = (await blog.post("/v1/sites/blog/uploads", {"blobs": {}})).document
    other = hashlib.sha256(b"x").hexdigest()
    assert (await blog.put(f"/v1/sites/blog/uploads/{opened['id']}/blobs/{other}", b"x")).status == 404
    assert (await blog.put(f"/v1/sites/shop/uploads/{opened['id']}/blobs/{other}", b"x")).status == 404
    assert (await blog.put(f"/v1/sites/blog/uploads/nosuch/blobs/{other}", b"x")).status == 404


async def test_an_upload_of_one_site_is_not_open_to_another(blog: Api) -> None:
    upload_id, _ = await upload(blog, "blog", FILES)
    digest = entry_of(FILES["/index.html"]).digest
    stolen = await blog.put(f"/v1/sites/shop/uploads/{upload_id}/blobs/{digest}", FILES["/index.html"])
    assert stolen.status == 404
    assert (await blog.post(f"/v1/sites/shop/uploads/{upload_id}/urls", {"digests": [digest]})).status == 404
    assert (await blog.post("/v1/sites/shop/deploys", deploy_request(upload_id, FILES))).status == 422


async def test_announced_digests_and_sizes_are_checked(make_control: ControlMaker) -> None:
    api = (await make_control(max_sessions_per_site=2)).api
    await api.post("/v1/sites", {"name": "blog"})
    good = "a" * 64
    for blobs in ({"A" * 64: 1}, {"a": 1}, {good: -1}, {good: 10**15}, {good: 1.5}, {good: "1"}):
        answer = await api.post("/v1/sites/blog/uploads", {"blobs": blobs})
        assert answer.status == 400, (blobs, answer)
        assert answer.document["field"].startswith("blobs")
    for status in (201, 201, 503):
        answer = await api.post("/v1/sites/blog/uploads", {"blobs": {good: 1}})
        assert answer.status == status
    assert int(answer.fields["Retry-After"]) > 0


async def test_a_session_expires_and_what_it_uploaded_stays_proven(control: Control, blog: Api) -> None:
    upload_id, _ = await upload(blog, "blog", FILES)
    control.clock.now += control.plane.services.settings.upload_session_s + 1
    digest = entry_of(b"hello").digest
    assert (await blog.put(f"/v1/sites/blog/uploads/{upload_id}/blobs/{digest}", b"hello")).status == 404
    answer = await blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, FILES))
    assert answer.status == 201


async def test_two_deploys_that_race_are_both_recorded_and_the_order_decides(control: Control, blog: Api) -> None:
    await control.following_node()
    answers = await asyncio.gather(
        *(deploy(blog, "blog", {"/index.html": f"deploy {number}".encode()}) for number in range(6))
    )
    assert [answer.status for answer in answers] == [201] * 6
    assert len((await blog.get("/v1/sites/blog/deploys")).document["deploys"]) == 6
    latest = max(answers, key=lambda answer: answer.document["receipt"]["position"]["sequence"])
    assert (await blog.get("/v1/sites/blog")).document["active"] == latest.document["deploy"]["id"]


async def test_a_rollback_goes_back_step_by_step_or_to_a_named_deploy(blog: Api) -> None:
    ids = []
    for number in range(3):
        made = await deploy(blog, "blog", {"/index.html": f"{number}".encode()})
        ids.append(made.document["deploy"]["id"])
    assert (await blog.post("/v1/sites/blog/rollback")).document["deploy"]["id"] == ids[1]
    back = await blog.post("/v1/sites/blog/rollback")
    assert (back.status, back.document["deploy"]["id"]) == (200, ids[0])
    assert (await blog.post("/v1/sites/blog/rollback")).status == 409
    named = await blog.post("/v1/sites/blog/rollback", {"to": ids[2]})
    assert named.document["deploy"]["active_on"] == ["production"]
    assert (await blog.get("/v1/sites/blog")).document["active"] == ids[2]
    assert (await blog.post("/v1/sites/blog/rollback", {"to": "nosuch"})).status == 404


async def test_an_alias_has_a_preview_of_its_own_and_can_be_promoted(blog: Api) -> None:
    made = await deploy(blog, "blog", FILES, alias="next")
    assert made.document["url"] == "http://next--blog.cdn.localhost:8080/"
    assert (await blog.get("/v1/sites/blog")).document["active"] is None
    deploy_id = made.document["deploy"]["id"]
    promoted = await blog.post(f"/v1/sites/blog/deploys/{deploy_id}/activate", {"alias": "production"})
    assert promoted.document["deploy"]["active_on"] == ["next", "production"]
    for alias in ("Next", "a--b", "x" * 60, ""):
        answer = await blog.post("/v1/sites/blog/deploys", deploy_request(None, FILES, alias=alias))
        assert (answer.status, answer.document["field"]) == (400, "alias")


async def test_activating_a_deploy_whose_bytes_are_gone_is_422_with_the_list(control: Control, blog: Api) -> None:
    first = (await deploy(blog, "blog", {"/index.html": b"one"})).document["deploy"]
    await deploy(blog, "blog", {"/index.html": b"two"})
    site_id = (await blog.get("/v1/sites/blog")).document["id"]
    await control.store.delete(blob_key(site_id, entry_of(b"one").digest))
    await control.reopen()
    answer = await control.api.post(f"/v1/sites/blog/deploys/{first['id']}/activate")
    assert answer.status == 422
    assert answer.document["details"][0].startswith(entry_of(b"one").digest)
    await control.store.delete(manifest_key(site_id, first["manifest_digest"]))
    answer = await control.api.post("/v1/sites/blog/rollback")
    assert answer.status == 422
    assert "manifest" in answer.document["detail"]


async def test_a_node_that_cannot_prepare_is_named_and_does_not_hold_up_the_others(control: Control, blog: Api) -> None:
    await blog.patch("/v1/sites/blog", {"settings": {"prepare_timeout_s": 0.2}})
    await control.following_node("edge-good")
    await control.node("edge-silent")
    broken = await control.node("edge-broken")

    def refuse(position: object) -> None:
        for one in control.plane.services.catalog.preparing(site_id):
            control.directory.prepared(broken.node_id, site_id, one.id, "no room")

    site_id = (await blog.get("/v1/sites/blog")).document["id"]
    control.plane.state.watch(refuse)
    made = (await deploy(blog, "blog", FILES)).document
    assert made["unprepared"] == [
        {"node": "edge-broken", "reason": "no room"},
        {"node": "edge-silent", "reason": "not prepared after 0.2 s"},
    ]
    assert made["receipt"]["complete"] is False
    assert (await blog.get("/v1/sites/blog")).document["active"] == made["deploy"]["id"]


async def test_activation_is_recorded_only_after_every_serving_node_has_prepared(control: Control, blog: Api) -> None:
    node = await control.node()
    upload_id, _ = await upload(blog, "blog", FILES)
    making = asyncio.create_task(blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, FILES)))
    site_id = (await blog.get("/v1/sites/blog")).document["id"]
    while not control.plane.services.catalog.preparing(site_id):
        await asyncio.sleep(0)
    assert (await blog.get("/v1/sites/blog")).document["active"] is None
    (preparing,) = control.plane.services.catalog.preparing(site_id)
    control.directory.prepared(node.node_id, site_id, preparing.id)
    assert (await making).status == 201
    records = await control.journal.read(0, limit=100)
    kinds = [type(record.change) for record in records]
    assert kinds.index(DeployPrepared) < kinds.index(DeployActivated)


class CountingStore:
    """Counts the calls that reach the store, and can pretend to be slow to write manifests."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def counted(*words: Any, **more: Any) -> Any:
            key = words[0] if words else ""
            if not str(key).startswith("control/"):  # what control keeps of itself, whatever is deployed
                self.calls[name] = self.calls.get(name, 0) + 1
            return method(*words, **more)

        return counted


async def test_a_redeploy_of_a_large_site_costs_a_handful_of_store_calls(control: Control, blog: Api) -> None:
    files = {f"/{number}.txt": b"%d" % number for number in range(300)}
    await deploy(blog, "blog", files)
    store = CountingStore(control.store)
    control.store = store
    changed = {**files, "/0.txt": b"changed"}
    for _ in range(2):
        await control.reopen()
        store.calls.clear()
        await deploy(control.api, "blog", changed)
        counted = sum(store.calls.get(name, 0) for name in ("head", "scan", "get", "put", "put_stream"))
        assert counted <= 4, store.calls


async def test_a_manifest_is_in_the_store_before_its_record(control: Control, blog: Api) -> None:
    order: list[str] = []
    put, append = control.store.put, control.journal.append

    async def noted_put(key: str, *arguments: Any, **named: Any) -> Any:
        outcome = await put(key, *arguments, **named)
        order.append(key.split("/")[2])
        return outcome

    async def noted_append(draft: Any, **named: Any) -> Any:
        order.append(type(draft.change).__name__)
        return await append(draft, **named)

    upload_id, _ = await upload(blog, "blog", FILES)
    control.store.put = noted_put
    control.journal.append = noted_append
    await blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, FILES))
    assert order == ["manifests", "DeployPrepared", "DeployActivated"]


async def test_a_site_that_goes_away_in_the_middle_takes_the_deploy_with_it(control: Control, blog: Api) -> None:
    await control.node()
    upload_id, _ = await upload(blog, "blog", FILES)
    making = asyncio.create_task(blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, FILES)))
    site_id = (await blog.get("/v1/sites/blog")).document["id"]
    while not control.plane.services.catalog.preparing(site_id):
        await asyncio.sleep(0)
    (preparing,) = control.plane.services.catalog.preparing(site_id)
    await blog.delete("/v1/sites/blog")
    control.directory.prepared("edge-1", site_id, preparing.id)
    assert (await making).status == 404


async def test_nothing_is_deployed_to_a_site_with_an_upstream(api: Api) -> None:
    await api.post("/v1/sites", {"name": "pulled", "settings": {"origin": "https://upstream.example/app"}})
    position = (await api.get("/v1/status")).document["position"]
    for path, more in (
        ("/uploads", {"content": {"blobs": {}}}),
        ("/deploys", {"content": deploy_request(None, FILES)}),
        ("/deploys", {"data": b"PK\x03\x04 and so on"}),
        ("/deploys/0123456789abcdef/activate", {"content": {}}),
        ("/rollback", {"content": {}}),
    ):
        refused = await api.post(f"/v1/sites/pulled{path}", **more)
        assert refused.status == 409, (path, refused)
        assert "answered from https://upstream.example/app, so nothing is deployed to it" in refused.document["detail"]
        assert "cdn purge --site pulled" in refused.document["detail"]
    assert (await api.get("/v1/sites/pulled/deploys")).document == {"deploys": []}
    assert (await api.get("/v1/status")).document["position"] == position
