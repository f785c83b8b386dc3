"""Tokens and scopes over HTTP (DESIGN I7: a token learns nothing of sites that are not its own)."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from tests.control.control_room import Api, Control, ControlMaker


@pytest.fixture
async def sites(api: Api) -> Api:
    for name in ("blog", "shop"):
        assert (await api.post("/v1/sites", {"name": name})).status == 201
    return api


async def test_without_a_token_it_is_401_with_a_challenge(api: Api) -> None:
    for token in (None, "nonsense", "cdn_x", "cdn__", f"cdn_{'0' * 16}_{'0' * 64}", "x" * 5_000):
        answer = await api.get("/v1/sites", token=token)
        assert answer.status == 401
        assert answer.is_problem
        assert answer.fields["WWW-Authenticate"].startswith("Bearer")


async def test_a_secret_that_is_almost_right_is_wrong(api: Api) -> None:
    token = api.token or ""
    changed = token[:-1] + ("0" if token[-1] != "0" else "1")
    assert (await api.get("/v1/sites", token=changed)).status == 401
    assert (await api.get("/v1/sites", fields={"Authorization": "Basic " + token}, token=None)).status == 401
    assert (await api.get("/v1/sites", fields={"Authorization": "bearer " + token}, token=None)).status == 200


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("read:blog", {"read"}),
        ("purge:blog", {"read", "purge"}),
        ("deploy:blog", {"read", "deploy"}),
        ("admin:blog", {"read", "purge", "deploy", "patch"}),
        ("admin", {"read", "purge", "deploy", "patch"}),
        ("node", set()),
    ],
)
async def test_a_scope_allows_what_it_says_and_nothing_else(sites: Api, scope: str, allowed: set[str]) -> None:
    token = await sites.token_for(scope)
    answers = {
        "read": await token.get("/v1/sites/blog"),
        "purge": await token.post("/v1/sites/blog/purges", {"everything": True}),
        "deploy": await token.post("/v1/sites/blog/uploads", {"blobs": {}}),
        "patch": await token.patch("/v1/sites/blog", {"settings": {}}),
    }
    for what, answer in answers.items():
        assert (answer.status in (200, 201, 202)) is (what in allowed), (what, answer)
        if what not in allowed:
            assert answer.status == 403
            assert answer.is_problem


async def test_only_admin_creates_sites_and_adds_domains(sites: Api) -> None:
    token = await sites.token_for("admin:blog")
    assert (await token.post("/v1/sites", {"name": "new"})).status == 403
    assert (await token.post("/v1/sites/blog/domains", {"domain": "www.example.com", "verified": True})).status == 403


async def test_a_site_that_is_not_ones_own_looks_like_one_that_does_not_exist(sites: Api) -> None:
    token = await sites.token_for("admin:blog")
    calls: list[tuple[str, str, Any]] = [
        ("GET", "/v1/sites/{}", None),
        ("DELETE", "/v1/sites/{}", None),
        ("GET", "/v1/sites/{}/deploys", None),
        ("GET", "/v1/sites/{}/deploys/x", None),
        ("GET", "/v1/sites/{}/domains", None),
        ("POST", "/v1/sites/{}/uploads", {"blobs": {}}),
        ("POST", "/v1/sites/{}/purges", {"everything": True}),
        ("POST", "/v1/sites/{}/rollback", {}),
        ("GET", "/v1/explain?url=http://{}.cdn.localhost/", None),
        ("POST", "/v1/tokens", "scope"),
    ]
    for method, path, content in calls:
        answers = []
        for name in ("shop", "nosuch"):
            sent = {"scopes": [f"read:{name}"]} if content == "scope" else content
            answer = await token.call(method, path.format(name), sent)
            answers.append((answer.status, str(answer.document).replace(name, "NAME")))
        assert answers[0] == answers[1], (method, path)
        assert answers[0][0] == 403


async def test_lists_show_only_what_the_token_covers(sites: Api) -> None:
    await sites.post("/v1/sites/shop/domains", {"domain": "shop.example.com", "verified": True})
    await sites.post("/v1/sites/blog/domains", {"domain": "blog.example.com", "verified": True})
    token = await sites.token_for("read:blog")
    assert [site["name"] for site in (await token.get("/v1/sites")).document["sites"]] == ["blog"]
    assert [each["domain"] for each in (await token.get("/v1/domains")).document["domains"]] == ["blog.example.com"]
    assert (await token.get("/v1/status")).document["sites"] == 1


async def test_an_expired_token_stops_working(control: Control) -> None:
    made = await control.api.post("/v1/tokens", {"scopes": ["admin"], "expires_s": 90, "note": "short"})
    token = control.api.as_(made.document["token"])
    assert made.document["expires_at"] == control.clock.now + 90
    control.clock.now += 89
    assert (await token.get("/v1/sites")).status == 200
    control.clock.now += 1
    assert (await token.get("/v1/sites")).status == 401


async def test_a_revoked_token_stops_working_at_once(sites: Api) -> None:
    made = await sites.post("/v1/tokens", {"scopes": ["read:blog"]})
    token = sites.as_(made.document["token"])
    assert (await token.get("/v1/sites/blog")).status == 200
    assert (await sites.delete(f"/v1/tokens/{made.document['id']}")).status == 200
    assert (await token.get("/v1/sites/blog")).status == 401
    assert (await sites.delete(f"/v1/tokens/{made.document['id']}")).status == 404


async def test_a_revocation_that_is_refused_revokes_nothing(sites: Api) -> None:
    made = await sites.post("/v1/tokens", {"scopes": ["read:blog"]})
    refused = await sites.delete(f"/v1/tokens/{made.document['id']}?wait=soon")
    assert (refused.status, refused.document["field"]) == (400, "wait")
    assert (await sites.as_(made.document["token"]).get("/v1/sites/blog")).status == 200


async def test_a_site_has_no_more_than_its_share_of_tokens(make_control: ControlMaker) -> None:
    api = (await make_control(max_tokens_per_site=2)).api
    for name in ("blog", "shop"):
        await api.post("/v1/sites", {"name": name})
    admin = await api.token_for("admin:blog", "admin:shop")
    assert (await admin.post("/v1/tokens", {"scopes": ["read:blog"]})).status == 201
    refused = await admin.post("/v1/tokens", {"scopes": ["read:shop", "purge:blog"]})
    assert refused.status == 409
    assert "2 tokens for the site 'blog'" in refused.document["detail"]
    assert (await api.post("/v1/tokens", {"scopes": ["read:shop"]})).status == 201
    assert (await api.post("/v1/tokens", {"scopes": ["node"]})).status == 201


async def test_a_sites_admin_grants_lists_and_revokes_for_its_site_only(sites: Api) -> None:
    admin = await sites.token_for("admin:blog")
    other = await sites.post("/v1/tokens", {"scopes": ["read:shop"]})
    mixed = await sites.post("/v1/tokens", {"scopes": ["read:shop", "read:blog"]})
    made = await admin.post("/v1/tokens", {"scopes": ["deploy:blog"]})
    assert made.status == 201
    for scope in ("admin", "node", "read:shop"):
        assert (await admin.post("/v1/tokens", {"scopes": [scope]})).status == 403
    listed = (await admin.get("/v1/tokens")).document["tokens"]
    assert {scope for token in listed for scope in token["scopes"]} == {"admin:blog", "deploy:blog"}
    assert (await admin.delete(f"/v1/tokens/{other.document['id']}")).status == 403
    assert (await admin.delete(f"/v1/tokens/{mixed.document['id']}")).status == 403
    assert (await admin.delete("/v1/tokens/nosuch")).status == 403
    assert (await admin.delete(f"/v1/tokens/{made.document['id']}")).status == 200
    reader = await sites.token_for("read:blog")
    assert (await reader.get("/v1/tokens")).status == 403


async def test_bad_scopes_notes_and_lifetimes_are_named(sites: Api) -> None:
    for content, field in [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"scopes": ["write:blog"]}, "scopes"),
        ({"scopes": ["read:nosuch"]}, "scopes"),
        ({"scopes": ["admin"], "expires_s": 0}, "expires_s"),
        ({"scopes": ["admin"], "expires_s": -1}, "expires_s"),
        ({"scopes": ["admin"], "expires_s": 1e300}, "expires_s"),
        ({"scopes": ["admin"], "note": "x" * 2000}, "note"),
        ({"scopes": "admin"}, "scopes"),
        ({}, "scopes"),
    ]:
        answer = await sites.post("/v1/tokens", content)
        assert (answer.status, answer.document.get("field")) == (400, field), content


async def test_secrets_are_nowhere_in_the_journal_the_store_or_lists(control: Control) -> None:
    made = await control.api.post("/v1/tokens", {"scopes": ["admin"], "note": "careful"})
    secret = made.document["token"].split("_")[2]
    await control.plane.snapshots.save()
    assert secret not in str((await control.api.get("/v1/tokens")).document)
    await control.close()
    files = [path for path in Path(control.root).rglob("*") if path.is_file()]
    assert files
    assert all(secret.encode() not in path.read_bytes() for path in files)
    await control.open()


async def test_hashes_are_compared_in_constant_time(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []
    constant_time = hmac.compare_digest

    def compare(left: str, right: str) -> bool:
        compared.append((left, right))
        return constant_time(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    control.plane.services.authenticator.verify(control.admin_token)
    control.plane.services.authenticator.verify("cdn_unknown_0123")
    secret = control.admin_token.split("_")[2]
    assert compared[0] == (hashlib.sha256(secret.encode()).hexdigest(),) * 2
    assert len(compared) == 2


async def test_a_node_may_follow_and_others_may_not(sites: Api) -> None:
    reader = await sites.token_for("read:blog")
    assert (await reader.get("/v1/follow")).status == 403
    assert (await sites.get("/v1/follow", token=None)).status == 401
    node = await sites.token_for("node")
    async with node.client.ws_connect("/v1/follow", headers={"Authorization": f"Bearer {node.token}"}) as socket:
        assert not socket.closed
    assert (await node.get("/v1/sites")).document == {"sites": []}
