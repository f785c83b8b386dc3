"""A deploy that is asked for again, since its answer was lost, is the one that there is."""

from __future__ import annotations

import asyncio

from cdn.journal.record import DeployActivated, DeployPrepared
from tests.control.control_room import Control, deploy, deploy_request, upload

OLD, NEW = {"/index.html": b"old"}, {"/index.html": b"new"}


async def recorded(control: Control, kind: type) -> int:
    return sum(isinstance(record.change, kind) for record in await control.journal.read(0, limit=1000))


async def test_the_same_upload_and_manifest_make_one_deploy(control: Control) -> None:
    api = control.api
    await api.post("/v1/sites", {"name": "blog"})
    upload_id, _ = await upload(api, "blog", NEW)
    request = deploy_request(upload_id, NEW)
    answers = await asyncio.gather(*(api.post("/v1/sites/blog/deploys", request) for _ in range(3)))
    answers.append(await api.post("/v1/sites/blog/deploys", request))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.document["deploy"]["id"] for answer in answers}) == 1
    assert await recorded(control, DeployPrepared) == 1
    last, again = answers[-1].document, (await api.post("/v1/sites/blog/deploys", request)).document
    assert last["receipt"]["position"] == again["receipt"]["position"], "the record that activated it"
    activated = await recorded(control, DeployActivated)
    await api.post("/v1/sites/blog/deploys", request)
    assert await recorded(control, DeployActivated) == activated


async def test_it_never_takes_the_place_of_what_came_after_it(control: Control) -> None:
    api = control.api
    await api.post("/v1/sites", {"name": "blog"})
    upload_id, _ = await upload(api, "blog", OLD)
    request = deploy_request(upload_id, OLD)
    first = await api.post("/v1/sites/blog/deploys", request)
    later = await deploy(api, "blog", NEW)
    again = await api.post("/v1/sites/blog/deploys", request)
    assert again.status == 409
    assert first.document["deploy"]["id"] in again.document["detail"]
    assert later.document["deploy"]["id"] in again.document["detail"]
    assert (await api.get("/v1/sites/blog")).document["active"] == later.document["deploy"]["id"]


async def test_what_differs_is_another_deploy(control: Control) -> None:
    api = control.api
    await api.post("/v1/sites", {"name": "blog"})
    both = {**OLD, "/new.html": b"new"}
    upload_id, _ = await upload(api, "blog", both)
    asked = [
        deploy_request(upload_id, OLD),
        deploy_request(upload_id, both),
        deploy_request(upload_id, both, alias="next"),
        deploy_request(None, both),
        deploy_request(None, both),
    ]
    answers = [await api.post("/v1/sites/blog/deploys", each) for each in asked]
    assert [answer.status for answer in answers] == [201] * len(asked)
    assert len({answer.document["deploy"]["id"] for answer in answers}) == len(asked)
