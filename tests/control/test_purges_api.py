"""Purges, receipts, status and explanations over HTTP."""

from __future__ import annotations

import asyncio

import pytest

from cdn.journal.record import Change, Purged, Record
from tests.control.control_room import Api, Control, deploy


@pytest.fixture
async def blog(api: Api) -> Api:
    for name in ("blog", "shop"):
        await api.post("/v1/sites", {"name": name})
    await api.post("/v1/sites/blog/domains", {"domain": "www.example.com", "verified": True})
    return api


async def test_a_purge_is_one_record_with_its_scopes(control: Control, blog: Api) -> None:
    await control.following_node()
    answer = await blog.post(
        "/v1/sites/blog/purges?wait=5",
        {
            "urls": ["/a", "http://www.example.com/b?c=d", "https://next--blog.cdn.localhost/e", "http://blog.cdn.localhost:8080/"],
            "prefixes": ["/img/"],
            "tags": ["news"],
            "soft": True,
        },
    )  # fmt: skip
    assert answer.status == 200
    assert answer.document["complete"] is True
    (record,) = await control.journal.read(answer.document["position"]["sequence"] - 1, limit=10)
    assert isinstance(record.change, Purged)
    assert record.change.soft is True
    assert {(scope.kind, scope.value) for scope in record.change.scopes} == {
        ("url", "/a"), ("url", "/b?c=d"), ("url", "/e"), ("url", "/"), ("prefix", "/img/"), ("tag", "news"),
    }  # fmt: skip


async def _purged(control: Control, api: Api, site: str, url: str) -> set[str]:
    """What the last record says after a purge of one URL."""
    answer = await api.post(f"/v1/sites/{site}/purges", {"urls": [url]})
    assert answer.status == 200, answer
    (record,) = await control.journal.read(answer.document["position"]["sequence"] - 1, limit=10)
    assert isinstance(record.change, Purged)
    return {scope.value for scope in record.change.scopes}


async def test_a_purged_url_is_named_as_the_sites_query_policy_stores_it(control: Control, api: Api) -> None:
    settings = {"origin": "https://upstream.example", "query": {"allow": ["page"]}}
    await api.post("/v1/sites", {"name": "shop", "settings": settings})
    assert await _purged(control, api, "shop", "/list?utm=1&page=2") == {"/list?utm=1&page=2", "/list?page=2"}
    await api.patch("/v1/sites/shop", {"settings": {"query": "drop"}})
    assert await _purged(control, api, "shop", "http://shop.cdn.localhost/list?page=2") == {"/list?page=2", "/list"}
    await api.patch("/v1/sites/shop", {"settings": {"query": "keep"}})
    assert await _purged(control, api, "shop", "/list?page=2") == {"/list?page=2"}


async def test_a_purge_that_a_change_of_the_policy_overtook_is_recorded_again(
    control: Control, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored under the new policy between the two records is covered as well."""
    await api.post("/v1/sites", {"name": "shop", "settings": {"origin": "https://upstream.example"}})
    state, overtakes = control.plane.services.state, [{"settings": {"query": {"allow": ["page"]}}}]
    append_always = state.append_always

    async def overtaken(subject: str, change: Change, actor: str) -> Record:
        if overtakes:
            await api.patch("/v1/sites/shop", overtakes.pop())
        return await append_always(subject, change, actor)  # type: ignore[no-any-return]

    monkeypatch.setattr(state, "append_always", overtaken)
    assert await _purged(control, api, "shop", "/a?utm=1&page=2") == {"/a?utm=1&page=2", "/a?page=2"}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({}, None),
        ({"urls": ["http://shop.cdn.localhost/"]}, "urls"),
        ({"urls": ["http://other.example.com/"]}, "urls"),
        ({"urls": ["http://cdn.localhost/"]}, "urls"),
        ({"urls": ["relative"]}, "urls"),
        ({"tags": ["a,b"]}, "tags"),
        ({"everything": "yes"}, "everything"),
        ({"keys": ["x"]}, "keys"),
    ],
)
async def test_purges_of_what_is_not_the_sites_are_refused(blog: Api, content: dict[str, object], field: str) -> None:
    answer = await blog.post("/v1/sites/blog/purges", content)
    assert answer.status == 400
    assert field is None or answer.document["field"].startswith(field)


async def test_a_receipt_is_pending_until_every_node_has_applied(control: Control, blog: Api) -> None:
    node = await control.node()
    answer = await blog.post("/v1/sites/blog/purges", {"everything": True})
    assert answer.status == 202
    sequence = answer.document["position"]["sequence"]
    (line,) = answer.document["nodes"]
    assert (line["node"], line["outcome"], line["applied_at"], line["applied_by"]) == ("edge-1", "pending", None, None)
    assert (line["state"], line["reason"]) == ("serving", "current")
    assert abs(line["since"] - control.clock.now) < 60
    assert answer.document["counts"] == {"applied": 0, "pending": 1, "fenced": 0, "excused": 0}
    waiting = asyncio.create_task(blog.get(f"/v1/receipts/{sequence}?wait=10"))
    pending = await blog.get(f"/v1/receipts/{sequence}")
    assert pending.document["counts"] == answer.document["counts"]
    control.clock.now += 2
    control.directory.applied(node.node_id, control.plane.state.position)
    complete = (await waiting).document
    assert complete["complete"] is True
    (line,) = complete["nodes"]
    assert (line["node"], line["outcome"], line["applied_at"]) == ("edge-1", "applied", control.clock.now)
    assert (complete["counts"]["applied"], complete["more_after"]) == (1, None)
    assert complete["recorded_at"] == control.clock.now - 2


async def test_waiting_ends_with_the_time_that_was_given(control: Control, blog: Api) -> None:
    await control.node()
    answer = await blog.post("/v1/sites/blog/purges?wait=0.05", {"everything": True})
    assert answer.status == 202
    assert answer.document["complete"] is False


async def test_status_names_every_node_and_how_far_it_lags(control: Control, blog: Api) -> None:
    node = await control.node()
    await blog.post("/v1/sites/blog/purges", {"everything": True})
    await blog.post("/v1/sites/blog/purges", {"everything": True})
    status = (await blog.get("/v1/status")).document
    assert status["position"]["sequence"] == control.plane.state.position.sequence
    assert [(each["node"], each["connected"], each["lag"]) for each in status["nodes"]] == [("edge-1", True, 2)]
    assert abs(status["nodes"][0]["answered_at"] - control.clock.now) < 60
    control.directory.applied(node.node_id, control.plane.state.position)
    control.directory.disconnected(node.node_id)
    status = (await blog.get("/v1/status")).document
    assert [(each["connected"], each["lag"]) for each in status["nodes"]] == [(False, 0)]


async def test_a_node_that_will_not_come_back_is_forgotten(control: Control, blog: Api) -> None:
    node = await control.node()
    control.directory.applied(node.node_id, control.plane.state.position)
    refused = await blog.delete(f"/v1/nodes/{node.node_id}")
    assert refused.status == 409, "it is connected"
    control.directory.disconnected(node.node_id)
    control.directory.left(node.node_id)
    assert (await blog.delete(f"/v1/nodes/{node.node_id}")).status == 200
    assert (await blog.get("/v1/status")).document["nodes"] == []
    assert (await blog.delete(f"/v1/nodes/{node.node_id}")).status == 404


async def test_an_explanation_says_which_site_and_deploy_a_url_has(control: Control, blog: Api) -> None:
    made = (await deploy(blog, "blog", {"/index.html": b"x"})).document
    await control.node("edge-away")
    for url in ("http://www.example.com/a?b=c", "www.example.com/a?b=c", "https://WWW.example.com:443/a?b=c"):
        answer = (await blog.get("/v1/explain", params={"url": url})).document
        assert (answer["host"], answer["target"]) == ("www.example.com", "/a?b=c")
        assert (answer["site"], answer["alias"], answer["deploy"]) == ("blog", "production", made["deploy"]["id"])
        assert [(each["node"], each["result"]) for each in answer["nodes"]] == [("edge-away", None)]
        assert answer["nodes"][0]["failure"]
    unknown = (await blog.get("/v1/explain", params={"url": "http://nobody.example.com"})).document
    assert (unknown["site"], unknown["target"]) == (None, "/")
    assert (await blog.get("/v1/explain", params={"url": "http://x/%zz"})).status == 400
    assert (await blog.get("/v1/explain", params={"url": "http://x/", "node": "nosuch"})).status == 404


async def test_health_needs_no_token(api: Api) -> None:
    assert (await api.get("/healthz", token=None)).document == {"status": "ok"}
