"""Domains over HTTP: claims, names on an administrator's word, what DNS has to say, certificates, their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cdn.journal.record import CertificateSet, Change, DomainClaimed, DomainVerified
from tests.control.control_room import Answer, Api, Control, ControlMaker
from tests.control.office_stage import CHAIN, StagedOffice, staff

NAMES = "/v1/sites/blog/domains"
WWW = f"{NAMES}/www.example.com"


@pytest.fixture
async def sites(api: Api) -> Api:
    for name in ("blog", "shop"):
        await api.post("/v1/sites", {"name": name})
    return api


@pytest.fixture
async def office(control: Control, sites: Api) -> AsyncIterator[StagedOffice]:
    office = StagedOffice(control.plane)
    await staff(control, office)
    yield office
    await control.api.client.close()


async def add(api: Api, domain: str, site: str = "blog", **more: Any) -> Answer:
    return await api.post(f"/v1/sites/{site}/domains", {"domain": domain, **more})


async def verify(control: Control, domain: str, site: str = "blog", redirect_to: str = "") -> None:
    found = control.plane.services.catalog.site_named(site)
    change = DomainVerified(domain, found.id, redirect_to)
    await control.plane.state.append(f"domain/{domain}", lambda: change, "control")


def records(answer: Answer) -> list[tuple[str, ...]]:
    return [(each["purpose"], each["type"], each["name"], each["value"]) for each in answer.document["records"]]


async def listed(api: Api, path: str = "/v1/domains") -> list[tuple[str, str, str]]:
    return [(each["domain"], each["site"], each["stage"]) for each in (await api.get(path)).document["domains"]]


async def certificates(api: Api) -> list[tuple[str, str | None]]:
    answer = await api.get("/v1/certificates")
    return [(each["name"], each["site"]) for each in answer.document["certificates"]]


async def test_a_domain_is_claimed_in_its_one_form_and_says_what_dns_has_to_say(control: Control, sites: Api) -> None:
    added = await add(sites, "WWW.Example.COM.")
    assert added.status == 201
    document = added.document
    assert (document["domain"], document["site"], document["stage"]) == ("www.example.com", "blog", "added")
    assert (document["verified"], document["receipt"]["complete"]) == (False, True)
    (claim,) = control.plane.services.claims.claims()
    assert len(claim.token) == 32
    assert records(added) == [
        ("ownership", "TXT", "_cdn-verify.www.example.com", f"cdn-verify={claim.token}"),
        ("pointing", "CNAME", "www.example.com", "blog.cdn.localhost"),
    ]
    assert control.plane.services.catalog.bind("www.example.com") is None, "nobody has shown whose it is"
    assert await listed(sites) == await listed(sites, NAMES) == [("www.example.com", "blog", "added")]


async def test_asked_again_it_says_the_same_and_records_nothing(control: Control, sites: Api) -> None:
    first = await add(sites, "www.example.com")
    position = control.plane.state.position
    again = await add(sites, "www.example.com")
    assert (again.status, again.document["receipt"]) == (200, None)
    assert records(again) == records(first)
    assert control.plane.state.position == position


async def test_several_sites_may_claim_a_name_until_one_is_verified(control: Control, sites: Api) -> None:
    answers = await asyncio.gather(*(add(sites, "www.example.com", site) for site in ("blog", "shop") * 3))
    assert sorted(answer.status for answer in answers) == [200] * 4 + [201] * 2
    tokens = {answer.document["records"][0]["value"] for answer in answers}
    assert len(tokens) == 2, "each site has its own"
    await verify(control, "www.example.com", "shop")
    assert await listed(sites) == [("www.example.com", "shop", "verified")]
    refused = await add(sites, "www.example.com")
    assert refused.status == 409
    assert "verified for another site" in refused.document["detail"]
    assert "shop" not in refused.document["detail"]


async def test_a_domain_on_an_administrators_word_is_answered_at_once(control: Control, sites: Api) -> None:
    await add(sites, "www.example.com", "shop")
    added = await add(sites, "www.example.com", verified=True)
    assert (added.status, added.document["stage"], added.document["verified"]) == (201, "verified", True)
    assert records(added) == [("pointing", "CNAME", "www.example.com", "blog.cdn.localhost")]
    assert control.plane.services.claims.claims() == ()
    deployer = await sites.token_for("admin:blog")
    assert (await add(deployer, "b.example.com", verified=True)).status == 403
    assert (await add(deployer, "b.example.com")).status == 201
    assert (await add(await sites.token_for("read:blog"), "c.example.com")).status == 403


async def test_names_on_an_administrators_word_belong_to_one_site_also_in_a_race(sites: Api) -> None:
    answers = await asyncio.gather(
        *(add(sites, "www.example.com", name, verified=True) for name in ("blog", "shop") * 3)
    )
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200, 200, 201, 409, 409, 409]
    assert len(await listed(sites)) == 1


async def test_the_twin_comes_with_it_and_one_of_them_sends_its_visitors_to_the_other(
    control: Control, sites: Api
) -> None:
    added = await add(sites, "www.example.com", with_twin=True, redirect="apex")
    assert (added.document["redirect_to"], added.document["twin"]) == ("example.com", "example.com")
    (other,) = added.document["others"]
    assert (other["domain"], other["redirect_to"]) == ("example.com", "")
    catalog = control.plane.services.catalog
    await verify(control, "www.example.com", redirect_to="example.com")
    assert catalog.redirect_of("www.example.com") == "", "nobody is sent to a name that is not verified"
    await verify(control, "example.com")
    assert catalog.redirect_of("www.example.com") == "example.com"
    changed = await add(sites, "example.com", redirect="www")
    assert (changed.status, changed.document["redirect_to"]) == (201, "www.example.com")
    assert dict(catalog.redirects()) == {"example.com": "www.example.com"}
    assert (await sites.delete(WWW)).status == 200
    assert dict(catalog.redirects()) == {}, "nobody is sent to a name that is gone"


async def test_a_claim_changes_where_its_visitors_go_and_keeps_its_token(control: Control, sites: Api) -> None:
    first = await add(sites, "example.com", with_twin=True)
    again = await add(sites, "example.com", with_twin=True, redirect="www")
    assert (again.status, again.document["redirect_to"]) == (201, "www.example.com")
    assert records(again) == records(first)
    assert (await add(sites, "example.com", redirect="none")).document["redirect_to"] == ""
    assert (await add(sites, "example.com")).status == 200


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"domain": "a.example.com", "with_twin": True}, "with_twin"),
        ({"domain": "*.example.com", "with_twin": True}, "with_twin"),
        ({"domain": "a.example.com", "redirect": "apex"}, "redirect"),
        ({"domain": "example.com", "redirect": "www"}, "redirect"),
        ({"domain": "example.com", "redirect": "elsewhere"}, "redirect"),
    ],
)
async def test_twins_that_there_are_not(sites: Api, content: dict[str, Any], field: str) -> None:
    refused = await sites.post(NAMES, content)
    assert refused.status == 400
    assert field in (refused.document["field"] or "") + refused.document["detail"]
    assert await listed(sites) == []


async def test_a_twin_of_another_site_leaves_neither(control: Control, sites: Api) -> None:
    await verify(control, "www.example.com", "shop")
    assert (await add(sites, "example.com", with_twin=True)).status == 409
    assert await listed(sites) == [("www.example.com", "shop", "verified")]


async def test_an_apex_may_have_addresses_in_the_place_of_a_name(control: Control, sites: Api) -> None:
    added = await add(sites, "example.com")
    assert [each[1:] for each in records(added)][1:] == [("ALIAS", "example.com", "blog.cdn.localhost")]
    wild = await add(sites, "*.example.com")
    assert [each[1:3] for each in records(wild)] == [
        ("TXT", "_cdn-verify.example.com"),
        ("CNAME", "*.example.com"),
    ]


async def test_an_apex_is_what_can_be_registered(sites: Api) -> None:
    registered = await add(sites, "example.co.uk")
    assert registered.document["twin"] == "www.example.co.uk"
    assert records(registered)[1][1] == "ALIAS"
    below = await add(sites, "a.example.co.uk")
    assert (below.document["twin"], records(below)[1][1]) == (None, "CNAME")


async def test_claims_of_a_site_are_bounded(make_control: ControlMaker) -> None:
    control = await make_control(max_claims_per_site=2, max_claims=3)
    for name in ("blog", "shop"):
        await control.api.post("/v1/sites", {"name": name})
    for number in range(2):
        assert (await add(control.api, f"d{number}.example")).status == 201
    full = await add(control.api, "d2.example")
    assert (full.status, "the limit" in full.document["detail"]) == (409, True)
    assert (await add(control.api, "d0.example")).status == 200, "what there is may be asked for"
    assert (await add(control.api, "d0.example", "shop")).status == 201
    assert (await add(control.api, "d1.example", "shop")).status == 409, "of all sites together"


async def test_a_claim_is_given_up_and_a_domain_released(control: Control, office: StagedOffice) -> None:
    api = control.api
    site = control.plane.services.catalog.site_named("blog")
    await add(api, "www.example.com")
    assert (await api.delete("/v1/sites/shop/domains/www.example.com")).status == 404
    assert (await api.delete(WWW)).status == 200
    await add(api, "www.example.com", verified=True)
    assert (await api.delete(WWW)).status == 200
    assert office.forgotten == [("www.example.com", site.id)] * 2
    assert (await api.delete(WWW)).status == 404
    assert await listed(api) == []


async def test_what_was_seen_is_shown_with_its_evidence(control: Control, office: StagedOffice) -> None:
    await add(control.api, "www.example.com")
    shown = (await control.api.get(WWW)).document
    assert shown["steps"] == [
        {
            "step": "ownership",
            "right": False,
            "says": "ns1.example.net has no TXT record there",
            "servers": [{"server": "ns1.example.net (192.0.2.53)", "answer": "NXDOMAIN"}],
        }
    ]
    assert (shown["fault"], shown["failures"], shown["next_try_at"]) == ("no TXT record", 2, 61.0)
    office.is_away = True
    shown = (await control.api.get(WWW)).document
    assert (shown["stage"], shown["steps"]) == ("added", [])
    assert "The store does not answer" in shown["waits_for"]
    assert (await control.api.get(f"{NAMES}/other.example.com")).status == 404


async def test_a_check_looks_now_and_says_what_came_of_it(control: Control, office: StagedOffice) -> None:
    await add(control.api, "www.example.com")
    looked = await control.api.post(f"{WWW}/check?wait=2")
    assert (looked.status, looked.document["stage"]) == (200, "added")
    office.is_right = True
    looked = await control.api.post(f"{WWW}/check")
    assert (looked.document["stage"], looked.document["verified"], looked.document["fault"]) == (
        "verified",
        True,
        None,
    )
    site = control.plane.services.catalog.site_named("blog")
    assert office.checked == [(site.id, "www.example.com", 2.0), (site.id, "www.example.com", 0.0)]
    assert records(looked)[0][0] == "ownership", "it has to stay, or the domain is released some day"
    office.is_right = False
    assert (await control.api.get(WWW)).document["stage"] == "verified", "records go before what was seen"


async def test_without_anybody_who_looks_a_check_says_so(sites: Api) -> None:
    await add(sites, "www.example.com")
    assert (await sites.post(f"{WWW}/check")).status == 503
    assert (await sites.get(WWW)).document["steps"] == []


async def test_a_certificate_that_its_owner_brings(control: Control, office: StagedOffice) -> None:
    api = control.api
    await add(api, "www.example.com")
    sent = {"certificate": CHAIN, "key": "a private key"}
    put = await api.call("PUT", f"{WWW}/certificate", sent)
    assert put.status == 409
    await verify(control, "www.example.com")
    put = await api.call("PUT", f"{WWW}/certificate", sent)
    assert (put.status, put.document["certificate"]["issuer"]) == (200, "upload")
    assert "private" not in str(put.document)
    shown = (await api.get(WWW)).document
    assert (shown["stage"], shown["certificate"]["state"]) == ("live", "valid")
    assert await listed(api) == [("www.example.com", "blog", "live")]
    (listed_one,) = (await api.get("/v1/certificates")).document["certificates"]
    assert (listed_one["name"], listed_one["site"]) == ("www.example.com", "blog")
    assert (await api.delete(f"{WWW}/certificate")).status == 200
    assert office.released == ["www.example.com"]
    shopper = await api.token_for("admin:shop")
    assert (await shopper.get("/v1/certificates")).document == {"certificates": []}
    assert (await shopper.call("PUT", f"{WWW}/certificate", sent)).status == 403


async def test_certificates_say_when_they_end(control: Control, sites: Api) -> None:
    await verify(control, "www.example.com")
    site = control.plane.services.catalog.site_named("blog")
    now = control.clock.now

    async def certify(name: str, site_id: str, begins_s: float, ends_s: float) -> None:
        change = CertificateSet(
            name, "ab" * 32, site_id, (name,), now + begins_s, now + ends_s, "development", CHAIN, {}
        )  # fmt: skip
        await control.plane.state.append_always(f"certificate/{name}", change, "control")

    day = 86400.0
    for begins, ends, state in (
        (-80 * day, 10 * day, "ending"),
        (-60 * day, 30 * day, "valid"),
        (-5.5 * day, 0.5 * day, "ending"),
        (-4 * day, 2 * day, "valid"),
        (-90 * day, 0.0, "over"),
        (60.0, 90 * day, "early"),
    ):
        await certify("www.example.com", site.id, begins, ends)
        (shown,) = (await sites.get("/v1/certificates")).document["certificates"]
        assert shown["state"] == state, (begins, ends)
    await certify("*.cdn.localhost", "", -day, 3 * day)
    assert [
        (each["name"], each["site"]) for each in (await sites.get("/v1/certificates")).document["certificates"]
    ] == [
        ("*.cdn.localhost", None),
        ("www.example.com", "blog"),
    ]
    reader = await sites.token_for("read:blog")
    assert [each["name"] for each in (await reader.get("/v1/certificates")).document["certificates"]] == [
        "www.example.com"
    ]


@pytest.mark.parametrize(
    "domain",
    [
        "cdn.localhost",
        "blog.cdn.localhost",
        "NEW.CDN.localhost.",
        "*.cdn.localhost",
        "*.*.example.com",
        "a.*.example.com",
        "*",
        "*.com",
        "co.uk",
        "*.github.io",
        "localhost",
        "127.0.0.1",
        "*.127.0.0.1",
        "a b.com",
        "",
    ],
)
async def test_names_that_cannot_be_added(sites: Api, domain: str) -> None:
    answer = await add(sites, domain)
    assert (answer.status, answer.document["field"]) == (400, "domain"), answer


@pytest.mark.parametrize(
    "domain",
    [
        "%00",
        "a%2Fb.example",
        "xn--.example",
        "a" * 300,
        "*",
        "%F0%9F%92%A9.example",
        "*.*.b.c",
        "[::1]",
    ],
)
async def test_paths_that_name_no_domain_are_refused_in_words(
    control: Control, office: StagedOffice, domain: str
) -> None:
    sent = {"certificate": CHAIN, "key": "a private key"}
    for answer in (
        await control.api.get(f"{NAMES}/{domain}"),
        await control.api.post(f"{NAMES}/{domain}/check"),
        await control.api.delete(f"{NAMES}/{domain}"),
        await control.api.call("PUT", f"{NAMES}/{domain}/certificate", sent),
        await control.api.delete(f"{NAMES}/{domain}/certificate"),
    ):
        assert answer.status in {400, 404, 405}, answer
        assert answer.is_problem
        assert "private" not in str(answer.document)
    assert not office.keys
    assert not office.checked


@pytest.mark.parametrize(
    "content",
    [{}, {"certificate": CHAIN}, {"certificate": 1, "key": "a private key"}, {"certificate": "", "key": "", "more": 1}],
)
async def test_a_certificate_that_is_half_sent_is_refused_without_its_key(
    control: Control, office: StagedOffice, content: dict[str, Any]
) -> None:
    await add(control.api, "www.example.com", verified=True)
    refused = await control.api.call("PUT", f"{WWW}/certificate", content)
    assert refused.status == 400
    assert "private" not in str(refused.document)
    assert office.keys == []


async def test_claims_and_certificates_survive_a_restart(control: Control, sites: Api) -> None:
    await add(sites, "open.example.com")
    await add(sites, "www.example.com")
    await verify(control, "www.example.com")
    before = [fold.dump() for fold in control.plane.state.folds]
    await control.reopen()
    assert [fold.dump() for fold in control.plane.state.folds] == before
    assert await listed(control.api) == [("open.example.com", "blog", "added"), ("www.example.com", "blog", "verified")]


async def test_a_claim_waits_for_the_last_node_that_does_not_understand_it(control: Control, sites: Api) -> None:
    node = await control.node("old")
    await node.connect(record_version=2)
    refused = await add(sites, "www.example.com")
    assert (refused.status, "node old" in refused.document["detail"]) == (409, True)
    assert (await add(sites, "www.example.com", verified=True)).status == 201, "as every release understands it"


async def test_an_edge_is_sent_nothing_of_a_claim_but_its_sequence(control: Control, sites: Api) -> None:
    await add(sites, "www.example.com")
    record = (await control.journal.read(control.plane.state.position.sequence - 1, limit=1))[0]
    change: Change = record.change
    assert isinstance(change, DomainClaimed)
    assert record.audience.value == "control"
