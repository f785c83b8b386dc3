"""Domains over HTTP."""

from __future__ import annotations

import asyncio

import pytest

from tests.control.control_room import Api


@pytest.fixture
async def sites(api: Api) -> Api:
    for name in ("blog", "shop"):
        await api.post("/v1/sites", {"name": name})
    return api


async def test_a_domain_is_added_in_its_one_form_and_released(sites: Api) -> None:
    added = await sites.post("/v1/sites/blog/domains", {"domain": "WWW.Example.COM."})
    assert added.status == 201
    assert (added.document["domain"], added.document["site"]) == ("www.example.com", "blog")
    assert added.document["receipt"]["complete"] is True
    listed = {"domains": [{"domain": "www.example.com", "site": "blog"}]}
    assert (await sites.get("/v1/sites/blog/domains")).document == listed
    assert (await sites.get("/v1/domains")).document == listed
    assert (await sites.delete("/v1/sites/blog/domains/www.example.com")).status == 200
    assert (await sites.get("/v1/domains")).document == {"domains": []}
    assert (await sites.post("/v1/sites/shop/domains", {"domain": "www.example.com"})).status == 201


async def test_a_domain_belongs_to_one_site_also_in_a_race(sites: Api) -> None:
    answers = await asyncio.gather(
        *(sites.post(f"/v1/sites/{name}/domains", {"domain": "www.example.com"}) for name in ("blog", "shop") * 3)
    )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 5
    assert len((await sites.get("/v1/domains")).document["domains"]) == 1


async def test_anothers_domain_is_not_removed(sites: Api) -> None:
    await sites.post("/v1/sites/blog/domains", {"domain": "www.example.com"})
    assert (await sites.delete("/v1/sites/shop/domains/www.example.com")).status == 404
    assert len((await sites.get("/v1/domains")).document["domains"]) == 1


@pytest.mark.parametrize(
    "domain",
    [
        "cdn.localhost",
        "blog.cdn.localhost",
        "NEW.CDN.localhost.",
        "localhost",
        "*.example.com",
        "127.0.0.1",
        "a b.com",
        "",
    ],
)
async def test_names_that_cannot_be_added(sites: Api, domain: str) -> None:
    answer = await sites.post("/v1/sites/blog/domains", {"domain": domain})
    assert (answer.status, answer.document["field"]) == (400, "domain"), answer
