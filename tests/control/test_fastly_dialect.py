"""Fastly's purge API over HTTP: keys, everything, URLs; its errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from cdn.journal.record import Purged
from tests.control.control_room import Answer, Api, Control, ControlMaker


@pytest.fixture
async def blog(control: Control, api: Api) -> Api:
    for name in ("blog", "shop"):
        await api.post("/v1/sites", {"name": name})
    await api.post("/v1/sites/blog/domains", {"domain": "www.example.com", "verified": True})
    await control.following_node()
    return api


async def _post(api: Api, path: str, content: Any = None, **fields: str) -> Answer:
    lines = {name.replace("_", "-"): value for name, value in fields.items()}
    return await api.call(
        "POST", path, content, token=None, fields={"Fastly-Key": api.token or "", **lines}, data=lines.pop("data", None)
    )


async def _recorded(control: Control, sequence: str) -> tuple[set[tuple[str, str]], bool]:
    (record,) = await control.journal.read(int(sequence) - 1, limit=1)
    assert isinstance(record.change, Purged)
    return {(scope.kind, scope.value) for scope in record.change.scopes}, record.change.soft


CALLS: Sequence[tuple[str, dict[str, str], tuple[str, str], bool]] = (
    ("/service/blog/purge_all", {}, ("everything", ""), False),
    ("/service/blog/purge_all", {"Fastly_Soft_Purge": "1"}, ("everything", ""), False),
    ("/service/blog/purge/news", {}, ("tag", "news"), False),
    ("/service/blog/purge/posts/1", {"Fastly_Soft_Purge": "1"}, ("tag", "posts/1"), True),
    ("/service/blog/purge/a%2Fb%20c", {}, ("tag", "a/b c"), False),
    ("/purge/www.example.com/a/b.png?c=d", {}, ("url", "/a/b.png?c=d"), False),
    ("/purge/https://www.example.com/a%20b", {"Fastly_Soft_Purge": "1"}, ("url", "/a%20b"), True),
    ("/purge/blog.cdn.localhost:8080/", {}, ("url", "/"), False),
    ("/purge/blog.cdn.localhost", {}, ("url", "/"), False),
)


async def test_each_call_is_one_record(control: Control, blog: Api) -> None:
    for path, fields, scope, soft in CALLS:
        answer = await _post(blog, path, **fields)
        assert (answer.status, answer.document["status"]) == (200, "ok"), answer
        assert answer.fields["CDN-Receipt"] == f"/v1/receipts/{answer.document['id']}"
        assert await _recorded(control, answer.document["id"]) == ({scope}, soft)


async def test_several_keys_in_a_field_or_in_content(control: Control, blog: Api) -> None:
    by_field = await _post(blog, "/service/blog/purge", Surrogate_Key="a b  a", Fastly_Soft_Purge="1")
    assert by_field.document.keys() == {"a", "b"}
    assert await _recorded(control, by_field.document["a"]) == ({("tag", "a"), ("tag", "b")}, True)
    by_content = await _post(blog, "/service/blog/purge", {"surrogate_keys": ["c", "d e"]})
    assert by_content.document.keys() == {"c", "d e"}
    assert await _recorded(control, by_content.document["c"]) == ({("tag", "c"), ("tag", "d e")}, False)


FAULTS: Sequence[tuple[str, Any, dict[str, str], int, str]] = (
    ("/service/blog/purge", None, {}, 400, "No key is named"),
    ("/service/blog/purge", {"surrogate_keys": "a"}, {}, 400, "not as described"),
    ("/service/blog/purge", {"surrogate_keys": [f"k{number}" for number in range(257)]}, {}, 413, "256 keys"),
    ("/service/blog/purge/a", None, {"Fastly_Soft_Purge": "yes"}, 400, "is 1 or is left out"),
    ("/service/blog/purge/a,b", None, {}, 400, "comma"),
    ("/service/nobody/purge_all", None, {}, 404, "no site 'nobody'"),
    ("/purge/nobody.example/a", None, {}, 404, "No site answers"),
    ("/purge//a", None, {}, 400, "names no host"),
    ("/purge/", None, {}, 400, "names no host"),
    ("/purge/www.example.com/%00", None, {}, 400, ""),
)


async def test_what_cannot_be_purged_is_told(control: Control, blog: Api) -> None:
    before = control.plane.state.position
    for path, content, fields, status, detail in FAULTS:
        answer = await _post(blog, path, content, **fields)
        assert answer.status == status, answer
        assert detail in answer.document["detail"]
        assert answer.document["msg"]
    assert control.plane.state.position == before, "nothing was recorded"


async def test_who_may_not_is_told_the_same_of_what_is_and_what_is_not(blog: Api) -> None:
    shop = await blog.token_for("purge:shop")
    for paths in (
        ("/service/blog/purge_all", "/service/body/purge_all"),
        ("/purge/www.example.com/", "/purge/www.example.net/"),
    ):
        answers = [await _post(shop, path) for path in paths]
        assert [answer.status for answer in answers] == [403, 403]
        details = {
            answer.document["detail"].replace("blog", "X").replace("body", "X").replace(".com", "").replace(".net", "")
            for answer in answers
        }
        assert len(details) == 1
    for token in ("", "nonsense"):
        answer = await _post(blog.as_(token), "/service/blog/purge_all")
        assert (answer.status, answer.document["msg"]) == (401, "Provided credentials are missing or invalid")
    assert (await blog.call("POST", "/service/blog/purge_all", token=None)).status == 401
    assert (await blog.call("POST", "/service/blog/purge_all")).status == 200, "as a bearer token"


async def test_too_often(make_control: ControlMaker) -> None:
    control = await make_control(max_purges_of_everything_per_minute=1)
    await control.api.post("/v1/sites", {"name": "blog"})
    assert (await _post(control.api, "/service/blog/purge_all")).status == 200
    refused = await _post(control.api, "/service/blog/purge_all")
    assert (refused.status, refused.fields["Retry-After"]) == (429, "60")
    assert refused.document["msg"] == "You have exceeded your rate limit"


async def test_what_is_not_spoken_here_is_told_as_the_vendor_does(blog: Api) -> None:
    unknown = (("GET", "/service/blog"), ("GET", "/service/blog/purge_all"), ("PUT", "/service/blog/version/1"))
    for method, path in unknown:
        answer = await blog.call(method, path, token=None)
        assert (answer.status, answer.document["msg"]) == (404, "Record not found")
