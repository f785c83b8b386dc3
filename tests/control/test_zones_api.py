"""Zones and their keys over HTTP."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

from cdn.control.zones_api import MAX_ZONE_RECORD_BYTES
from tests.control.control_room import Answer, Api, Control, ControlMaker
from tests.control.zone_seams import SOA, PlainKeys, plain_reader

ZONE = f"{SOA}\n@ 300 NS ns1.example.org.\nwww 60 A 192.0.2.1\nwww 60 A 192.0.2.2\n@ 60 ALIAS blog.cdn.localhost.\n"


@pytest.fixture
async def served(make_control: ControlMaker) -> Control:
    control = await make_control()
    return await _with_seams(control)


async def _with_seams(control: Control) -> Control:
    control.zone_reader, control.zone_keys = plain_reader, PlainKeys()
    return await control.reopen()


async def put(api: Api, zone: str = "example.org", text: str = ZONE, **more: Any) -> Answer:
    return await api.put(f"/v1/zones/{zone}", io.BytesIO(text.encode()), fields={"Content-Type": "text/dns"}, **more)


async def sequence(control: Control) -> int:
    return int((await control.journal.position()).sequence)


async def test_a_zone_is_imported_shown_replaced_and_removed(served: Control) -> None:
    api = served.api
    made = await put(api, "Example.ORG.")
    assert (made.status, made.document["zone"], made.document["replaced"]) == (201, "example.org", False)
    assert (made.document["records"], made.document["signed"], made.document["own"]) == (5, False, False)
    assert made.document["position"]["sequence"] == made.document["sequence"] == await sequence(served)
    listed = (await api.get("/v1/zones")).document["zones"]
    assert [(each["zone"], each["own"]) for each in listed] == [("cdn.localhost", True), ("example.org", False)]
    shown = (await api.get("/v1/zones/example.org")).document
    assert shown["text"].splitlines()[1:] == [
        "example.org. 3600 IN SOA ns1.example.org. hostmaster.example.org. 1 7200 900 1209600 300",
        "example.org. 300 IN NS ns1.example.org.",
        "example.org. 60 IN ALIAS blog.cdn.localhost.",
        "www.example.org. 60 IN A 192.0.2.1",
        "www.example.org. 60 IN A 192.0.2.2",
    ]
    again = await put(api, text=f"{SOA}\n")
    assert (again.status, again.document["replaced"], again.document["records"]) == (200, True, 1)
    removed = await api.delete("/v1/zones/example.org")
    assert (removed.status, removed.document["zone"]) == (200, "example.org")
    for path in ("/v1/zones/example.org", "/v1/zones/example.org/signing"):
        assert (await api.get(path)).status == 404
    assert (await api.delete("/v1/zones/example.org")).status == 404


async def test_names_that_lead_to_no_site_or_to_one_that_does_not_know_them_are_told(served: Control) -> None:
    api = served.api
    zone = (
        f"{SOA}\n@ 60 ALIAS blog.cdn.localhost.\nwww 60 CNAME blog.cdn.localhost.\n*.w 60 CNAME blog.cdn.localhost.\n"
        "next 60 CNAME next--blog.cdn.localhost.\nother 60 CNAME blog.example.net.\nx 60 CNAME a.b.cdn.localhost.\n"
    )
    told = (await put(api, text=zone)).document["warnings"]
    assert [each.split()[0] for each in told] == [
        "example.org", "www.example.org", "*.w.example.org", "next.example.org",
    ]  # fmt: skip
    assert all("there is no site blog (yet): cdn site create blog" in each for each in told)
    await api.post("/v1/sites", {"name": "blog"})
    await api.post("/v1/sites/blog/domains", {"domain": "www.example.org", "verified": True})
    told = (await put(api, text=zone)).document["warnings"]
    assert [each.split()[0] for each in told] == ["example.org", "*.w.example.org", "next.example.org"]
    assert told[0].endswith("cdn domain add example.org --site blog")
    assert told[1].endswith("cdn domain add '*.w.example.org' --site blog")
    assert "leads to the preview next--blog.cdn.localhost" in told[2]
    for domain in ("*.example.org", "*.w.example.org"):
        await api.post("/v1/sites/blog/domains", {"domain": domain, "verified": True})
    told = (await put(api, text=zone.replace("www 60", "a 60"))).document["warnings"]
    assert [each.split()[0] for each in told] == ["example.org", "next.example.org"], "a wildcard knows the others"


async def test_a_fault_leaves_the_zone_as_it_was_and_says_where_it_is(served: Control) -> None:
    api = served.api
    await put(api)
    before = await sequence(served)
    refused = await put(api, text=f"{SOA}\nbroken\n", params={"file": "example.zone"})
    assert refused.status == 400
    assert refused.document["details"] == ["example.zone, line 2: this is not a record"]
    no_text = await api.put("/v1/zones/example.org", SOA.encode() + b"\n\nwww 60 TXT \xff\n")
    assert (no_text.status, "line 3" in no_text.document["detail"]) == (400, True)
    assert await sequence(served) == before
    assert len((await api.get("/v1/zones/example.org")).document["text"].splitlines()) == 6


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("cdn.localhost", "is the CDN's own zone"),
        ("CDN.localhost.", "is the CDN's own zone"),
        ("blog.cdn.localhost", "lies in the CDN's own zone cdn.localhost"),
        ("localhost", "delegate it with NS records at cdn.localhost"),
        ("a..b", "is not a domain name"),
        ("a b", "is not a domain name"),
        ("b\u00fccher.example", "xn--"),
        ("x" * 64, "1 to 63"),
        (".".join(["x" * 60] * 5), "253"),
    ],
)
async def test_names_that_no_zone_has(served: Control, zone: str, said: str) -> None:
    refused = await put(served.api, zone)
    assert (refused.status, said in refused.document["detail"]) == (400, True), refused


async def test_a_zone_above_the_cdns_own_delegates_it_and_has_nothing_else_there(served: Control) -> None:
    delegation = f"{SOA}\ncdn 60 NS ns1.cdn.localhost.\ncdn 60 DS 1 13 2 {'ab' * 32}\nns1.cdn 60 A 192.0.2.1\n"
    assert (await put(served.api, "localhost", delegation)).status == 201
    for more in ("cdn 60 A 192.0.2.1", "blog.cdn 60 TXT hello"):
        refused = await put(served.api, "localhost", f"{delegation}{more}\n")
        assert (refused.status, more.split()[0] in refused.document["detail"]) == (400, True), refused
    assert (await put(served.api, "localhost", f"{delegation}nocdn 60 A 192.0.2.1\n")).status == 200


async def test_one_who_saw_an_older_zone_does_not_replace_a_newer(served: Control) -> None:
    api = served.api
    first = (await put(api, params={"replaces": "0"})).document["sequence"]
    assert (await put(api, params={"replaces": "0"})).status == 409
    answers = await asyncio.gather(*(put(api, params={"replaces": str(first)}) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
    refused = await put(api, params={"replaces": "1x"})
    assert (refused.status, refused.document["field"]) == (400, "replaces")
    missing = await put(api, "example.net", params={"replaces": "5"})
    assert (missing.status, "there is none now" in missing.document["detail"]) == (409, True)


async def test_zones_are_bounded_each_and_together(make_control: ControlMaker) -> None:
    control = await _with_seams(await make_control(max_zones=2, max_zones_bytes=4000, max_zone_file_bytes=3_000_000))
    api = control.api
    long = f'{SOA}\n@ 60 TXT "{"x" * 255}"\n'
    too_long = SOA + "".join(f'\n@ 60 TXT "{number:0255d}"' for number in range(MAX_ZONE_RECORD_BYTES // 340))
    refused = await put(api, "a.example", too_long)
    assert (refused.status, str(MAX_ZONE_RECORD_BYTES) in refused.document["detail"]) == (413, True)
    assert (await put(api, "a.example", SOA + " " * 3_000_000)).status == 413
    assert (await put(api, "a.example", long * 1)).status == 201
    crowded = await put(api, "b.example", SOA + f'\n@ 60 TXT "{"x" * 255}"' * 12)
    assert (crowded.status, "limit is 4000" in crowded.document["detail"]) == (409, True)
    assert (await put(api, "a.example", long)).status == 200, "what is replaced does not count twice"
    assert (await put(api, "b.example", long)).status == 201
    full = await put(api, "c.example", long)
    assert (full.status, "2 zones, the limit" in full.document["detail"]) == (409, True)
    assert (await put(api, "a.example", long)).status == 200, "one that is there is no further one"


async def test_only_admins_see_and_change_zones(served: Control) -> None:
    await served.api.post("/v1/sites", {"name": "blog"})
    await put(served.api)
    for scopes in (("admin:blog",), ("node",), ("dns",)):
        other = await served.api.token_for(*scopes)
        assert (await put(other)).status == 403
        for path in ("/v1/zones", "/v1/zones/example.org", "/v1/zones/example.org/signing", "/v1/geography"):
            assert (await other.get(path)).status == 403
        assert (await other.delete("/v1/zones/example.org")).status == 403
        assert (await other.post("/v1/zones/example.org/signing", {"do": "on"})).status == 403
        assert (await other.delete("/v1/geography")).status == 403


async def test_zones_and_keys_outlive_a_restart_from_records_and_from_a_snapshot(served: Control) -> None:
    await put(served.api)
    await served.api.post("/v1/zones/example.org/signing", {"do": "on"})
    before = (await served.api.get("/v1/zones/example.org")).document
    await served.reopen()
    assert (await served.api.get("/v1/zones/example.org")).document == before
    await served.plane.snapshots.save()
    await served.journal.trim(await sequence(served))
    await served.reopen()
    assert (await served.api.get("/v1/zones/example.org")).document == before
    assert before["signed"] is True


async def test_whoever_does_not_know_zones_is_named_before_one_is_recorded(served: Control) -> None:
    old = await served.node("edge-1")
    await old.connect(record_version=1)
    before = await sequence(served)
    refused = await put(served.api)
    assert (refused.status, "node edge-1" in refused.document["detail"]) == (409, True)
    assert await sequence(served) == before
    await old.connect()  # upgraded
    assert (await put(served.api)).status == 201


async def test_a_control_without_a_reader_or_keys_says_so(control: Control) -> None:
    refused = await put(control.api)
    assert (refused.status, "reader of zone files" in refused.document["detail"]) == (503, True)
    signing = await control.api.get("/v1/zones/cdn.localhost/signing")
    assert signing.document == {"zone": "cdn.localhost", "signed": False, "keys": [], "next_step": ""}
    refused = await control.api.post("/v1/zones/cdn.localhost/signing", {"do": "on"})
    assert (refused.status, "`dns` key" in refused.document["detail"]) == (409, True)


async def test_a_zone_is_signed_rolled_and_no_longer_signed(served: Control) -> None:
    api, path = served.api, "/v1/zones/example.org/signing"
    await put(api)
    assert (await api.get(path)).document["signed"] is False
    on = (await api.post(path, {"do": "on"})).document
    assert (on["signed"], on["next_step"]) == (True, "Give the DS record to the zone above.")
    assert [(key["id"], key["stage"], key["ds"]) for key in on["keys"]] == [
        ("k1", "active", "example.org. IN DS 7 13 2 AB")
    ]
    assert on["keys"][0]["created_at"] == served.clock.now
    assert served.zone_keys.asked[-1] == ("example.org", 3600, served.clock.now), "the longest TTL is its SOA's"
    assert (await api.post(path, {"do": "on"})).status == 409
    assert len((await api.post(path, {"do": "roll"})).document["keys"]) == 2
    unknown = await api.post(path, {"do": "jump"})
    assert (unknown.status, unknown.document["field"], "on, off, roll" in unknown.document["detail"]) == (
        400, "do", True,
    )  # fmt: skip
    refused = await api.delete("/v1/zones/example.org")
    assert (refused.status, "--off" in refused.document["detail"]) == (409, True)
    assert (await api.get("/v1/zones/example.org")).document["signed"] is True
    off = (await api.post(path, {"do": "off"})).document
    assert (off["signed"], off["keys"]) == (False, [])
    assert (await api.delete("/v1/zones/example.org")).status == 200


async def test_the_cdns_own_zone_is_signed_too(served: Control) -> None:
    path = "/v1/zones/cdn.localhost/signing"
    assert (await served.api.post(path, {"do": "on"})).document["signed"] is True
    own = (await served.api.get("/v1/zones")).document["zones"][0]
    assert (own["zone"], own["own"], own["signed"]) == ("cdn.localhost", True, True)
    assert (await served.api.get("/v1/zones/cdn.localhost")).document["text"] == ""


async def test_name_servers_get_zones_and_edges_do_not(served: Control) -> None:
    await put(served.api)
    (record,) = await served.journal.read(await sequence(served) - 1, limit=1)
    assert (record.version, record.audience.value, record.subject) == (2, "dns", "zone/example.org")
