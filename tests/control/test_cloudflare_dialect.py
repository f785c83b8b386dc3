"""Cloudflare's purge API over HTTP: its envelope, its kinds of purges, its errors."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import pytest

from cdn.journal.record import Purged
from tests.control.control_room import Answer, Api, Control, ControlMaker

ROOT = "/client/v4"


@pytest.fixture
async def blog(control: Control, api: Api) -> Api:
    for name in ("blog", "shop"):
        await api.post("/v1/sites", {"name": name})
    await api.post("/v1/sites/blog/domains", {"domain": "www.example.com", "verified": True})
    await api.post("/v1/sites/shop/domains", {"domain": "shop.example.net", "verified": True})
    await control.following_node()
    return api


async def _purge(api: Api, content: Any, zone: str = "blog", call: str = "purge_cache") -> Answer:
    return await api.post(f"{ROOT}/zones/{zone}/{call}", content)


async def _recorded(control: Control, answer: Answer) -> tuple[set[tuple[str, str]], bool]:
    """Scopes and softness of the record that the answer names."""
    sequence = int(answer.document["result"]["id"])
    assert answer.fields["CDN-Receipt"] == f"/v1/receipts/{sequence}"
    (record,) = await control.journal.read(sequence - 1, limit=1)
    assert isinstance(record.change, Purged)
    return {(scope.kind, scope.value) for scope in record.change.scopes}, record.change.soft


KINDS: Sequence[tuple[Any, set[tuple[str, str]]]] = (
    ({"purge_everything": True}, {("everything", "")}),
    (
        {"files": ["https://www.example.com/a.css", "http://blog.cdn.localhost:8080/b?c=d"]},
        {("url", "/a.css"), ("url", "/b?c=d")},
    ),
    ({"files": [{"url": "https://www.example.com/a", "headers": {"CF-IPCountry": "DE"}}]}, {("url", "/a")}),
    ({"tags": ["news", "a b"]}, {("tag", "news"), ("tag", "a b")}),
    ({"hosts": ["www.example.com", "next--blog.cdn.localhost"]}, {("everything", "")}),
    ({"prefixes": ["www.example.com/blog", "www.example.com"]}, {("prefix", "/blog"), ("prefix", "/")}),
    ({"tags": ["news"], "purge_everything": False, "files": None}, {("tag", "news")}),
)


async def test_each_kind_becomes_its_scopes(control: Control, blog: Api) -> None:
    for content, scopes in KINDS:
        answer = await _purge(blog, content)
        assert answer.status == 200, answer
        assert (answer.document["success"], answer.document["errors"], answer.document["messages"]) == (True, [], [])
        assert await _recorded(control, answer) == (scopes, False)


async def test_invalidate_is_soft_and_a_zone_may_be_named_by_its_id(control: Control, blog: Api) -> None:
    site_id = (await blog.get("/v1/sites/blog")).document["id"]
    answer = await _purge(blog, {"tags": ["news"]}, site_id, "invalidate_cache")
    assert await _recorded(control, answer) == ({("tag", "news")}, True)


FAULTS: Sequence[tuple[Any, str]] = (
    ({}, "exactly one"),
    ({"tags": ["a"], "purge_everything": True}, "exactly one"),
    ({"purge_everything": "yes"}, "must be true"),
    ({"file": ["https://www.example.com/"]}, "no 'file'"),
    ({"files": "https://www.example.com/"}, "must be an array"),
    ({"files": [{"uri": "https://www.example.com/"}]}, "must be an array"),
    ({"files": []}, "is empty"),
    ({"files": ["https://shop.example.net/"]}, "not one of this site's"),
    ({"files": ["https://nobody.example/"]}, "not one of this site's"),
    ({"files": ["ftp://www.example.com/"]}, "neither a path"),
    ({"hosts": ["shop.example.net"]}, "not one of this zone's"),
    ({"hosts": ["nobody.example"]}, "not one of this zone's"),
    ({"prefixes": ["https://www.example.com/a"]}, "has a scheme"),
    ({"prefixes": ["www.example.com/a?b"]}, "has a query"),
    ({"prefixes": ["shop.example.net/a"]}, "not one of this zone's"),
    ({"tags": ["a,b"]}, "comma"),
    ([], "not a JSON object"),
)


async def test_what_cannot_be_purged_is_named_in_the_envelope(control: Control, blog: Api) -> None:
    before = control.plane.state.position
    for content, sentence in FAULTS:
        answer = await _purge(blog, content)
        assert (answer.status, answer.document["success"], answer.document["result"]) == (400, False, None), content
        assert sentence in answer.document["errors"][0]["message"]
        assert isinstance(answer.document["errors"][0]["code"], int)
    assert control.plane.state.position == before, "nothing was recorded"


async def test_every_fault_is_told(blog: Api) -> None:
    answer = await _purge(blog, {"hosts": ["a.example", "www.example.com", "b.example"]})
    assert [error["message"][:8] for error in answer.document["errors"]] == ["hosts[0]", "hosts[2]"]
    answer = await _purge(blog, {"files": ["//", "nonsense", "http://b.example/"]})
    assert [error["message"][:15] for error in answer.document["errors"]] == ["The URL 'nonsen", "The URL 'http:/"]


async def test_too_much_and_too_often(make_control: ControlMaker) -> None:
    control = await make_control(max_purged_tags_per_minute=1500)
    await control.api.post("/v1/sites", {"name": "blog"})
    large = await _purge(control.api, {"tags": [f"t{number}" for number in range(1001)]})
    assert (large.status, large.document["success"]) == (413, False)
    huge = await control.api.post(f"{ROOT}/zones/blog/purge_cache", data=BytesIO(b" " * (1024 * 1024 + 1)))
    assert (huge.status, huge.document["success"]) == (413, False)
    for status in (200, 429):
        answer = await _purge(control.api, {"tags": [f"t{number}" for number in range(1000)]})
        assert answer.status == status
    assert int(answer.fields["Retry-After"]) == 20
    assert answer.document["errors"][0]["code"] == 971


async def test_who_may_not_is_told_the_same_of_zones_that_are_and_that_are_not(control: Control, blog: Api) -> None:
    shop = await blog.token_for("purge:shop")
    site_id = (await blog.get("/v1/sites/blog")).document["id"]
    refusals = [await _purge(shop, {"purge_everything": True}, zone) for zone in ("blog", "nobody", site_id, "0" * 32)]
    assert {answer.status for answer in refusals} == {403}
    sentences = {
        answer.document["errors"][0]["message"].replace(zone, "X")
        for answer, zone in zip(refusals, ("blog", "nobody", site_id, "0" * 32), strict=True)
    }
    assert len(sentences) == 1
    read = await blog.token_for("read:blog")
    assert (await _purge(read, {"purge_everything": True})).status == 403
    missing = await _purge(blog, {"purge_everything": True}, "nobody")
    assert (missing.status, missing.document["errors"][0]["code"]) == (404, 7003)
    for token in (None, "nonsense", "cdn_0000000000000000_00"):
        answer = await blog.call("POST", f"{ROOT}/zones/blog/purge_cache", {"purge_everything": True}, token=token)
        assert (answer.status, answer.document["errors"][0]["code"]) == (401, 10000)


async def test_the_older_key_field_is_taken(blog: Api) -> None:
    fields = {"X-Auth-Email": "me@example.com", "X-Auth-Key": blog.token or ""}
    path = f"{ROOT}/zones/blog/purge_cache"
    assert (await blog.call("DELETE", path, {"purge_everything": True}, token=None, fields=fields)).status == 200
    assert (await blog.get(f"{ROOT}/user/tokens/verify")).document["result"]["status"] == "active"
    assert (await blog.get(f"{ROOT}/user")).document["result"]["email"].startswith("token:")


async def test_zones_are_found_by_name_and_only_those_that_the_token_may_read(blog: Api) -> None:
    async def names(api: Api, query: str = "") -> list[str]:
        answer = await api.get(f"{ROOT}/zones{query}")
        assert answer.document["success"] is True
        return [zone["id"] for zone in answer.document["result"]]

    assert await names(blog) == ["blog", "shop"]
    assert await names(blog, "?name=www.example.com") == ["blog"]
    assert await names(blog, "?name=example.com&status=active") == ["blog"]
    assert await names(blog, "?name=shop.cdn.localhost") == ["shop"]
    assert await names(blog, "?name=example.org") == []
    assert await names(blog, "?per_page=1&page=2") == ["shop"]
    assert await names(blog, "?status=pending") == []
    shop = await blog.token_for("purge:shop")
    assert await names(shop) == ["shop"]
    assert await names(shop, "?name=www.example.com") == []
    assert (await blog.get(f"{ROOT}/zones?page=0")).status == 400
    assert (await blog.get(f"{ROOT}/zones?page=000000001{'9' * 5000}")).status == 400
    assert (await blog.get(f"{ROOT}/zones/blog")).document["result"]["name"] == "www.example.com"
    assert (await shop.get(f"{ROOT}/zones/blog")).status == 403


async def test_a_purge_that_a_node_has_not_applied_says_so(
    make_control: ControlMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.control.purge_desk.RECEIPT_WAIT_S", 0.05)
    control = await make_control()
    await control.node()
    await control.api.post("/v1/sites", {"name": "blog"})
    answer = await _purge(control.api, {"purge_everything": True})
    assert (answer.status, answer.document["success"]) == (200, True)
    assert "1 nodes have not applied it yet" in answer.document["messages"][0]["message"]


async def test_what_is_not_spoken_here_is_told_in_the_envelope(blog: Api) -> None:
    unknown = (("GET", "zones/blog/settings"), ("PATCH", "zones/blog"), ("GET", ""), ("PUT", "user/tokens/verify"))
    for method, path in unknown:
        answer = await blog.call(method, f"{ROOT}/{path}", token=None)
        assert (answer.status, answer.document["success"]) == (404, False)
        assert answer.document["errors"][0]["code"] == 7003
