"""Aliases over HTTP: passwords, ends, locks; promotion and the ways back and forth."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cdn.control.preview_expiry import KEPT_OVER_S
from cdn.journal.record import AliasRemoved, AliasSet, DeployActivated, DeployPrepared, Record, encode_record
from cdn.origin.activation import read_pointer
from cdn.origin.store import StoreUnavailable
from cdn.sites.password import verify_password
from tests.control.control_room import Answer, Api, Control, ControlMaker, deploy, deploy_request, upload

OLD, NEW, NEWER = {"/index.html": b"old"}, {"/index.html": b"new"}, {"/index.html": b"newer"}
ALIASES = "/v1/sites/blog/aliases"
SECRET = "open sesame"


@pytest.fixture
async def blog(control: Control, api: Api) -> Api:
    await api.post("/v1/sites", {"name": "blog"})
    await api.post("/v1/sites", {"name": "shop"})
    return api


async def records(control: Control) -> list[Record]:
    return list(await control.journal.read(0, limit=1000))


async def changes(control: Control, *kinds: type) -> list[Any]:
    return [record.change for record in await records(control) if isinstance(record.change, kinds)]


async def set_alias(api: Api, alias: str, **asked: Any) -> Answer:
    return await api.call("PUT", f"{ALIASES}/{alias}", asked)


def id_of(answer: Answer) -> str:
    return str(answer.document["deploy"]["id"])


async def active(api: Api, alias: str = "production") -> str | None:
    found = (await api.get(f"{ALIASES}/{alias}")).document["deploy"]
    return None if found is None else str(found)


async def test_a_preview_has_a_password_that_is_kept_as_a_hash_and_told_to_nobody(control: Control, blog: Api) -> None:
    await control.following_node()
    await deploy(blog, "blog", NEW, alias="next")
    answer = await blog.call("PUT", f"{ALIASES}/next?wait=5", {"password": SECRET})
    assert answer.status == 200, answer
    assert answer.document["alias"]["has_password"] is True
    assert answer.document["receipt"]["complete"] is True
    (change,) = await changes(control, AliasSet)
    assert {each.actor.split(":")[0] for each in (await records(control))[1:]} == {"token"}, "who did it is on record"
    assert verify_password(SECRET, change.password)
    assert not verify_password(SECRET + " ", change.password)
    assert SECRET.encode() not in b"".join(map(encode_record, await records(control)))
    listed = (await blog.get(ALIASES)).document
    assert SECRET not in str(listed)
    assert change.password not in str(listed)
    assert (await set_alias(blog, "next", password=None)).document["alias"]["has_password"] is False


async def test_what_is_not_named_stays(control: Control, blog: Api) -> None:
    await set_alias(blog, "next", password=SECRET, expires_s=60, lock="a freeze")
    changed = (await set_alias(blog, "next", expires_s=120)).document["alias"]
    assert changed["has_password"] is True
    assert changed["expires_at"] == control.clock.now + 120
    assert changed["lock"].endswith(": a freeze")
    changed = (await set_alias(blog, "next", expires_s=None)).document["alias"]
    assert (changed["has_password"], changed["expires_at"]) == (True, None)


@pytest.mark.parametrize(
    ("alias", "asked", "status", "field"),
    [
        ("production", {"password": SECRET}, 400, "password"),
        ("production", {"expires_s": 60}, 400, "expires_s"),
        ("next", {"password": ""}, 400, "password"),
        ("next", {"password": "x" * 257}, 400, "password"),
        ("next", {"expires_s": 0}, 400, "expires_s"),
        ("next", {"expires_s": -1}, 400, "expires_s"),
        ("next", {"expires_s": 1e12}, 400, "expires_s"),
        ("next", {"expires_s": "soon"}, 400, "expires_s"),
        ("next", {"lock": "x" * 501}, 400, "lock"),
        ("next", {"lock": "two\nlines"}, 400, "lock"),
        ("next", {}, 400, None),
        ("next", {"secret": SECRET}, 400, "secret"),
        ("Next", {"lock": ""}, 400, "alias"),
        ("n" * 60, {"lock": ""}, 400, "alias"),
    ],
)
async def test_what_cannot_be_said_of_an_alias(
    control: Control, blog: Api, alias: str, asked: dict[str, Any], status: int, field: str | None
) -> None:
    answer = await set_alias(blog, alias, **asked)
    assert (answer.status, answer.document.get("field")) == (status, field), answer
    assert SECRET not in str(answer.document)
    assert await changes(control, AliasSet) == []


async def test_nothing_but_a_lock_is_said_of_production(blog: Api) -> None:
    assert (await set_alias(blog, "production", lock="", password=None, expires_s=None)).status == 200


async def test_aliases_are_for_who_may_deploy(blog: Api) -> None:
    reader = await blog.token_for("read:blog")
    stranger = await blog.token_for("deploy:shop")
    assert (await set_alias(reader, "next", lock="")).status == 403
    assert (await reader.delete(f"{ALIASES}/next")).status == 403
    assert (await reader.get(ALIASES)).status == 200
    for method, path in (("GET", ALIASES), ("GET", f"{ALIASES}/next"), ("PUT", f"{ALIASES}/next")):
        assert (await stranger.call(method, path, {"lock": ""})).status == 403


async def test_a_lock_says_whose_it_is_and_holds_against_everything(control: Control, blog: Api) -> None:
    first = await deploy(blog, "blog", OLD)
    await deploy(blog, "blog", NEW)
    preview = await deploy(blog, "blog", NEWER, alias="next")
    keeper = await blog.token_for("deploy:blog")
    locked = (await set_alias(keeper, "production", lock="until Monday")).document["alias"]
    assert locked["lock"].startswith("token:")
    assert locked["lock"].endswith(": until Monday")
    before = len(await records(control))
    upload_id, _ = await upload(blog, "blog", NEWER)
    for path, content in (
        ("/deploys", deploy_request(upload_id, NEWER)),
        ("/rollback", {}),
        ("/rollback", {"to": id_of(first)}),
        (f"/deploys/{id_of(preview)}/activate", {"alias": "production"}),
    ):
        refused = await blog.post(f"/v1/sites/blog{path}", content)
        assert refused.status == 409, path
        for said in (locked["lock"], "cdn alias unlock production --site blog"):
            assert said in refused.document["detail"]
    assert len(await records(control)) == before, "nothing was recorded"
    other = await set_alias(blog, "production", lock="mine")
    assert other.status == 409
    assert (await set_alias(keeper, "production", lock="until Tuesday")).status == 200, "its own"
    assert (await blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, NEWER, alias="free"))).status == 201
    assert (await set_alias(blog, "production", lock=None)).document["alias"]["lock"] is None
    assert (await blog.post("/v1/sites/blog/rollback")).status == 200


async def test_a_lock_that_comes_while_nodes_prepare_wins(control: Control, blog: Api) -> None:
    await deploy(blog, "blog", OLD)
    upload_id, _ = await upload(blog, "blog", NEW)
    node = await control.node()
    asked = asyncio.create_task(blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, NEW)))
    while not control.plane.services.catalog.preparing(_site_id(control)):
        await asyncio.sleep(0)
    await set_alias(blog, "production", lock="now")
    (preparing,) = control.plane.services.catalog.preparing(_site_id(control))
    control.directory.prepared(node.node_id, _site_id(control), preparing.id)
    answer = await asked
    assert answer.status == 409
    assert len(await changes(control, DeployActivated)) == 1


async def test_a_proposal_that_comes_again_finds_its_deploy_though_it_was_locked_since(blog: Api) -> None:
    upload_id, _ = await upload(blog, "blog", NEW)
    first = await blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, NEW))
    await set_alias(blog, "production", lock="")
    again = await blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, NEW))
    assert (again.status, id_of(again)) == (201, id_of(first))


async def test_a_deploys_own_password_and_end_are_in_force_before_anything_of_it_is_reachable(
    control: Control, blog: Api
) -> None:
    upload_id, _ = await upload(blog, "blog", NEW)
    request = deploy_request(upload_id, NEW, alias="next", password=SECRET, expires_s=3600)
    assert (await blog.post("/v1/sites/blog/deploys", request)).status == 201
    kinds = [type(change) for change in await changes(control, AliasSet, DeployPrepared, DeployActivated)]
    assert kinds == [AliasSet, DeployPrepared, DeployActivated]
    shown = (await blog.get(f"{ALIASES}/next")).document
    assert (shown["has_password"], shown["expires_at"]) == (True, control.clock.now + 3600)
    await deploy(blog, "blog", NEWER, alias="next")
    assert (await blog.get(f"{ALIASES}/next")).document["has_password"] is True, "it stays"
    await deploy(blog, "blog", OLD, alias="next", password=SECRET)
    assert len(await changes(control, AliasSet)) == 1, "the same password changes nothing"
    await deploy(blog, "blog", OLD, alias="next", password=SECRET + "!")
    first, second = await changes(control, AliasSet)
    assert verify_password(SECRET + "!", second.password)
    assert first.expires_at == second.expires_at
    refused = await blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, NEW, password=SECRET))
    assert (refused.status, refused.document["field"]) == (400, "password")


async def test_a_preview_that_is_over_begins_anew_without_what_was_there(control: Control, blog: Api) -> None:
    upload_id, _ = await upload(blog, "blog", OLD)
    request = deploy_request(upload_id, OLD, alias="next", password=SECRET, expires_s=60)
    await blog.post("/v1/sites/blog/deploys", request)
    control.clock.now += 61
    assert (await blog.get(f"{ALIASES}/next")).document["expired"] is True
    made = await deploy(blog, "blog", NEW, alias="next")
    shown = (await blog.get(f"{ALIASES}/next")).document
    assert (shown["deploy"], shown["expired"], shown["expires_at"]) == (id_of(made), False, None)
    assert shown["has_password"] is True, "what protects it stays"
    assert shown["back"] is None
    site_id = _site_id(control)
    assert control.plane.services.catalog.alias(site_id, "next").retained == ()
    control.clock.now += 61
    await set_alias(blog, "next", expires_s=1)
    control.clock.now += 2
    promoted = await blog.post(f"/v1/sites/blog/deploys/{id_of(made)}/activate", {"alias": "next"})
    assert promoted.status == 200
    assert (await blog.get(f"{ALIASES}/next")).document["expired"] is False


async def test_one_record_begins_a_preview_anew_so_that_no_death_opens_it(control: Control, blog: Api) -> None:
    await deploy(blog, "blog", OLD, alias="next")
    await set_alias(blog, "next", password=SECRET, expires_s=60)
    control.clock.now += 61
    before = control.plane.state.position.sequence
    await deploy(blog, "blog", NEW, alias="next")
    records = await control.journal.read(before, limit=100)
    first = records[0].change
    assert isinstance(first, AliasSet), "before anything of the deploy can be reached"
    assert (first.begins_anew, bool(first.password), first.expires_at) == (True, True, None)
    assert not any(isinstance(record.change, AliasRemoved) for record in records)
    state = control.plane.services.catalog.alias(first.site_id, "next")
    assert (state.retained, state.former) == ((), ())


async def test_previews_that_are_over_are_removed_a_day_later(control: Control, blog: Api) -> None:
    for alias, expires_s in (("short", 60), ("long", 10 * KEPT_OVER_S)):
        upload_id, _ = await upload(blog, "blog", NEW)
        await blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, NEW, alias=alias, expires_s=expires_s))
    await deploy(blog, "blog", NEW, alias="forever")
    await deploy(blog, "blog", NEW)
    expiry = control.plane.previews
    control.clock.now += 60
    assert await expiry.look() == 0, "visitors are told that it was there"
    control.clock.now += KEPT_OVER_S
    assert await expiry.look() == 1
    assert await expiry.look() == 0
    listed = [each["alias"] for each in (await blog.get(ALIASES)).document["aliases"]]
    assert listed == ["production", "forever", "long"]
    (removed,) = [record for record in await records(control) if isinstance(record.change, AliasRemoved)]
    assert removed.actor == "control"
    assert len((await blog.get("/v1/sites/blog/deploys")).document["deploys"]) == 4, "deploys stay in the list"


async def test_another_replica_has_the_office(control: Control, blog: Api) -> None:
    upload_id, _ = await upload(blog, "blog", NEW)
    await blog.post("/v1/sites/blog/deploys", deploy_request(upload_id, NEW, alias="next", expires_s=1))
    control.clock.now += 1 + KEPT_OVER_S
    services = control.plane.services
    other = await services.offices.acquire("preview-expiry", "another", now=services.monotonic())
    assert other is not None
    assert await control.plane.previews.look() == 0
    await services.offices.release(other)
    assert await control.plane.previews.look() == 1


async def test_an_alias_is_removed_and_its_name_is_free_again(control: Control, blog: Api) -> None:
    await deploy(blog, "blog", OLD, alias="next")
    await set_alias(blog, "next", password=SECRET)
    removed = await blog.delete(f"{ALIASES}/next")
    assert removed.status == 200
    assert removed.document["receipt"]["position"]["sequence"] > 0
    assert (await blog.get(f"{ALIASES}/next")).status == 404
    assert (await blog.delete(f"{ALIASES}/next")).status == 404
    await deploy(blog, "blog", NEW, alias="next")
    shown = (await blog.get(f"{ALIASES}/next")).document
    assert (shown["has_password"], shown["back"]) == (False, None)
    await set_alias(blog, "next", lock="")
    assert (await blog.delete(f"{ALIASES}/next")).status == 409
    refused = await blog.delete(f"{ALIASES}/production")
    assert refused.status == 409
    assert "cdn site rm blog" in refused.document["detail"]


@pytest.mark.parametrize("said", ["password", "expires_s", "removed"])
async def test_no_node_goes_by_a_pointer_to_what_it_may_not_show(control: Control, blog: Api, said: str) -> None:
    await blog.patch("/v1/sites/blog", {"settings": {"on_detach": "validate"}})
    await deploy(blog, "blog", NEW, alias="next")
    site_id = _site_id(control)
    assert await read_pointer(control.store, site_id, "next") is not None
    if said == "removed":
        await blog.delete(f"{ALIASES}/next")
    else:
        await set_alias(blog, "next", **{said: SECRET if said == "password" else 60})
        assert (await deploy(blog, "blog", NEWER, alias="next")).status == 201
    assert await read_pointer(control.store, site_id, "next") is None


async def test_a_store_that_keeps_the_pointer_keeps_the_alias_as_it_is(
    control: Control, blog: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(key: str) -> None:
        raise StoreUnavailable(f"{key} cannot be removed: this test says so")

    monkeypatch.setattr(control.store, "delete", fail)
    assert (await set_alias(blog, "next", password=SECRET)).status == 503
    assert await changes(control, AliasSet) == []
    assert (await set_alias(blog, "next", lock="")).status == 200, "which shows nobody less"


async def test_back_and_forth_with_receipts(control: Control, blog: Api) -> None:
    await control.following_node()
    made = [id_of(await deploy(blog, "blog", files)) for files in (OLD, NEW, NEWER)]
    nothing = await blog.post("/v1/sites/blog/rollforward")
    assert nothing.status == 409
    assert "nothing was rolled back" in nothing.document["detail"]
    for path, expected in (("rollback", 1), ("rollback", 0), ("rollforward", 1), ("rollforward", 2)):
        answer = await blog.post(f"/v1/sites/blog/{path}?wait=5")
        assert (answer.status, id_of(answer)) == (200, made[expected])
        assert answer.document["receipt"]["complete"] is True
        assert await active(blog) == made[expected]
    shown = (await blog.get(f"{ALIASES}/production")).document
    assert (shown["back"], shown["forward"]) == (made[1], None)
    assert (await blog.post("/v1/sites/blog/rollforward", {"alias": "next"})).status == 404


async def test_a_preview_is_promoted_without_upload(control: Control, blog: Api) -> None:
    await deploy(blog, "blog", OLD)
    preview = await deploy(blog, "blog", NEW, alias="next")
    answer = await blog.post(f"/v1/sites/blog/deploys/{id_of(preview)}/activate", {"alias": "production"})
    assert answer.status == 200
    assert sorted(answer.document["deploy"]["active_on"]) == ["next", "production"]
    assert len(await changes(control, DeployPrepared)) == 2


async def test_what_was_said_of_aliases_survives_a_restart(make_control: ControlMaker) -> None:
    control = await make_control()
    await control.api.post("/v1/sites", {"name": "blog"})
    await deploy(control.api, "blog", OLD, alias="next")
    await set_alias(control.api, "next", password=SECRET, expires_s=60, lock="why")
    before = (await control.api.get(ALIASES)).document
    await control.reopen()
    assert (await control.api.get(ALIASES)).document == before


def _site_id(control: Control) -> str:
    site = control.plane.services.catalog.site_named("blog")
    assert site is not None
    return str(site.id)
