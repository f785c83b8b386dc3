"""Challenges of certificate authorities over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from cdn.control.challenges import MAX_AT_NAME, MAX_LIFE_S
from tests.control.control_room import Answer, Api, Control, ControlMaker
from tests.control.test_zones_api import put
from tests.control.zone_seams import plain_reader

NAME = "_acme-challenge.blog.cdn.localhost"


async def ask(api: Api, name: str = NAME, value: str = "one", expires_s: Any = 60) -> Answer:
    return await api.post("/v1/challenges", {"name": name, "value": value, "expires_s": expires_s})


async def shown(api: Api) -> list[tuple[str, str]]:
    return [(c["name"], c["value"]) for c in (await api.get("/v1/challenges")).document["challenges"]]


async def test_challenges_stand_beside_each_other_and_are_over_by_themselves(control: Control) -> None:
    api = control.api
    made = await ask(api, NAME.upper() + ".", expires_s=60)
    assert (made.status, made.document["name"]) == (201, NAME)
    assert made.document["expires_at"] == control.clock.now + 60
    await ask(api, value="two", expires_s=90)
    assert await shown(api) == [(NAME, "one"), (NAME, "two")]
    control.clock.now += 60
    assert await shown(api) == [(NAME, "two")]
    removed = await api.delete("/v1/challenges", params={"name": NAME, "value": "two"})
    assert (removed.status, await shown(api)) == (200, [])
    assert (await api.delete("/v1/challenges", params={"name": NAME, "value": "two"})).status == 404
    assert (await api.delete("/v1/challenges", params={"name": NAME})).status == 400


async def test_asking_again_never_shortens_it(control: Control) -> None:
    await ask(control.api, expires_s=600)
    assert (await ask(control.api, expires_s=10)).document["expires_at"] == control.clock.now + 600
    control.clock.now += 300
    assert (await ask(control.api, expires_s=600)).document["expires_at"] == control.clock.now + 600


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"name": "blog.cdn.localhost"}, "name"),
        ({"name": "_acme-challenge"}, "name"),
        ({"name": "x._acme-challenge.cdn.localhost"}, "name"),
        ({"name": "_acme-challenge..localhost"}, "name"),
        ({"value": ""}, "value"),
        ({"value": "x" * 256}, "value"),
        ({"value": "a\nb"}, "value"),
        ({"value": "\u00fc"}, "value"),
        ({"expires_s": 0}, "expires_s"),
        ({"expires_s": MAX_LIFE_S + 1}, "expires_s"),
        ({"expires_s": "x"}, "expires_s"),
    ],
)
async def test_what_is_no_challenge(api: Api, wanted: dict[str, Any], field: str) -> None:
    refused = await ask(api, **wanted)
    assert (refused.status, refused.document["field"]) == (400, field)
    assert await shown(api) == []


async def test_only_names_that_are_answered_here(control: Control) -> None:
    control.zone_reader = plain_reader
    await control.reopen()
    name = "_acme-challenge.www.example.org"
    refused = await ask(control.api, name)
    assert (refused.status, "no zone that name servers answer for" in refused.document["detail"]) == (409, True)
    await put(control.api, "example.org")
    assert (await ask(control.api, name)).status == 201
    assert (await ask(control.api, "_acme-challenge.example.org")).status == 201
    assert (await ask(control.api, "_acme-challenge.notexample.org")).status == 409


async def test_they_are_bounded_at_a_name_and_in_all(make_control: ControlMaker) -> None:
    control = await make_control(max_challenges=MAX_AT_NAME + 1)
    api = control.api
    for number in range(MAX_AT_NAME):
        assert (await ask(api, value=str(number))).status == 201
    assert (await ask(api, value="more")).status == 409
    assert (await ask(api, value="0")).status == 201, "one that is there is no further one"
    assert (await ask(api, "_acme-challenge.a.cdn.localhost")).status == 201
    full = await ask(api, "_acme-challenge.b.cdn.localhost")
    assert (full.status, "the limit" in full.document["detail"]) == (409, True)
    control.clock.now += 61
    assert (await ask(api, value="more")).status == 201
    assert len(control.plane.services.zones.challenges()) == 1, "what is over is not kept"


async def test_only_admins(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    for scopes in (("admin:blog",), ("dns",)):
        assert (await ask(await control.api.token_for(*scopes))).status == 403
