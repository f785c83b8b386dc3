"""Rewrites to another server: asked over the road of pull sites, and kept apart from everything else of the site."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cdn.edge.clocks import machine_clocks
from cdn.edge.proxied import proxied
from cdn.edge.pull_visit import visit_of
from cdn.edge.shield_news import ShieldNews
from cdn.edge.shield_upstream import ShieldedUpstreams
from cdn.edge.visitor import Visitor
from cdn.errors import InvalidInput
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.journal.record import SiteChanged
from cdn.sites.origin import parse_origin
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.redirect_rule import RedirectRule
from cdn.sites.rules.rule_set import RuleSet
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site
from tests.edge.rules_stage import RulesStage, basic, hashed, rules_stage


@dataclass
class Asked:
    line: str
    fields: dict[str, str]
    content: bytes


@dataclass
class Api:
    """An HTTP server that answers what a test says, and remembers what it was asked."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], tuple[str, dict[str, str], bytes]] = lambda asked: (
        "200 OK",
        {"cache-control": "max-age=600"},
        f"{asked.line} {asked.content.decode()}".encode(),
    )

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            line, *lines = head.split("\r\n")
            fields = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines if each)}
            content = await reader.readexactly(int(fields.get("content-length", "0")))
            asked = Asked(line.removesuffix(" HTTP/1.1"), fields, content)
            self.asked.append(asked)
            status, more, body = self.answer(asked)
            told = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            writer.write(f"HTTP/1.1 {status}\r\n{told}content-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()


async def _head(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return ""


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    made = Api()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[RulesStage]:
    async with rules_stage(tmp_path, allows_private_upstreams=True) as made:
        yield made


def to_api(api: Api, *more: RedirectRule) -> RuleSet:
    return RuleSet(redirects=(RedirectRule("/api/*", f"{api.url}/v1/:splat", 200), *more))


async def test_another_server_answers_and_what_it_says_is_stored(stage: RulesStage, api: Api) -> None:
    await stage.deploy({"/index.html": "home"}, to_api(api))
    first = await stage.ask("/api/users?page=2")
    assert (first.status, first.content) == (200, b"GET /v1/users?page=2 ")
    assert "stored" in first.fields["cache-status"]
    again = await stage.ask("/api/users?page=2")
    assert again.fields["cache-status"].startswith("cdn; hit")
    assert [each.line for each in api.asked] == ["GET /v1/users?page=2"]
    assert len(stage.node.prepared) == 0, "nobody would look for it there"
    (asked,) = api.asked
    assert asked.fields["host"] == f"localhost:{api.port}"
    assert asked.fields["cdn-loop"] == "cdn.localhost"
    assert asked.fields["x-forwarded-for"] == "127.0.0.1"
    assert (await stage.ask("/")).content == b"home"


async def test_every_method_goes_there_with_its_content(stage: RulesStage, api: Api) -> None:
    await stage.deploy({"/index.html": "home"}, to_api(api))
    assert (await stage.ask("/api/users")).content == b"GET /v1/users "
    for method in ("POST", "PUT", "PATCH", "DELETE", "BREW"):
        answer = await stage.ask("/api/users", method=method, content=b"new")
        assert (answer.status, answer.content) == (200, f"{method} /v1/users new".encode())
    # What was stored is obsolete by then (RFC 9111 section 4.4).
    assert (await stage.ask("/api/users")).fields["cache-status"].startswith("cdn; fwd=")
    assert (await stage.ask("/", method="POST", content=b"x")).status == 405


@pytest.mark.parametrize(("kind", "value"), [("url", "/api/a"), ("prefix", "/api/"), ("everything", "")])
async def test_purges_go_by_the_address_that_was_asked_for(stage: RulesStage, api: Api, kind: str, value: str) -> None:
    await stage.deploy({"/index.html": "home"}, to_api(api))
    await stage.ask("/api/a")
    await stage.purge(kind, value)
    assert "hit" not in (await stage.ask("/api/a")).fields["cache-status"]
    await stage.node.reclaim.sweep_now("s1")
    assert len(api.asked) == 2
    assert (await stage.ask("/api/a")).fields["cache-status"].startswith("cdn; hit")


async def test_nothing_meets_that_another_target_gave(stage: RulesStage, api: Api) -> None:
    await stage.deploy({"/index.html": "home"}, RuleSet(redirects=(RedirectRule("/a", f"{api.url}/one", 200),)))
    assert (await stage.ask("/a")).content == b"GET /one "
    await stage.deploy({"/index.html": "home"}, RuleSet(redirects=(RedirectRule("/a", f"{api.url}/two", 200),)))
    assert (await stage.ask("/a")).content == b"GET /two "
    await stage.deploy({"/a": "a file"})
    assert (await stage.ask("/a")).content == b"a file"
    await stage.deploy({"/index.html": "home"}, RuleSet(redirects=(RedirectRule("/a", f"{api.url}/one", 200),)))
    kept = await stage.ask("/a")
    assert (kept.content, kept.fields["cache-status"][:8]) == (b"GET /one ", "cdn; hit")


async def test_credentials_that_were_for_this_cdn_stay_here(stage: RulesStage, api: Api) -> None:
    guard = Guard("/api/inner/*", "r", (("ann", hashed("apple")),))
    rules = RuleSet(redirects=to_api(api).redirects, guards=(guard,))
    await stage.deploy({"/index.html": "home"}, rules)
    assert (await stage.ask("/api/inner/a")).status == 401
    assert (await stage.ask("/api/inner/a", method="POST", content=b"x")).status == 401
    assert api.asked == []
    inner = await stage.ask("/api/inner/a", basic("ann", "apple"))
    assert (inner.status, inner.fields["cache-control"]) == (200, "private, max-age=600")
    assert "authorization" not in api.asked[-1].fields
    assert (await stage.ask("/api/inner/a")).status == 401
    own = basic("somebody", "of the api")
    await stage.ask("/api/open", own)
    assert api.asked[-1].fields["authorization"] == own["authorization"]


async def test_lifetimes_of_files_are_not_those_of_another_server(tmp_path: Path, api: Api) -> None:
    async with rules_stage(tmp_path, allows_private_upstreams=True) as stage:
        await stage.tell(SiteChanged("s1", {"edge_ttl_s": 3600, "stale_while_revalidate_s": 3600}))
        await stage.deploy({"/index.html": "home"}, to_api(api))
        for status in ("200 OK", "404 Not Found"):
            api.asked.clear()
            api.answer = lambda asked, status=status: (status, {}, b"said nothing of how long")  # type: ignore[misc]
            for _ in range(3):
                assert "hit" not in (await stage.ask("/api/" + status[:3])).fields["cache-status"]
            assert len(api.asked) == 3


async def test_where_the_server_leads_to_is_not_read_as_a_place_of_the_site(stage: RulesStage, api: Api) -> None:
    await stage.deploy({"/index.html": "home"}, to_api(api))
    api.answer = lambda asked: ("302 Found", {"location": f"{api.url}/v1/login"}, b"")
    assert (await stage.ask("/api/a")).fields["location"] == f"{api.url}/v1/login"


async def test_a_server_that_is_away_is_said_plainly(stage: RulesStage) -> None:
    await stage.deploy({"/a": "x"}, RuleSet(redirects=(RedirectRule("/api", "http://localhost:1/", 200),)))
    away = await stage.ask("/api")
    assert (away.status, away.fields["retry-after"]) == (502, "1")
    assert b"localhost" not in away.content


async def test_addresses_are_judged_when_they_are_connected_to(tmp_path: Path, api: Api) -> None:
    async with rules_stage(tmp_path) as stage:  # without allows_private_upstreams
        await stage.deploy({"/a": "x"}, to_api(api))
        assert (await stage.ask("/api/a")).status == 502
        assert api.asked == []


async def test_a_circle_is_seen(stage: RulesStage) -> None:
    rule = RedirectRule("/api", f"http://localhost:{stage.node.port}/api", 200)
    await stage.deploy({"/a": "x"}, RuleSet(redirects=(rule,)))
    assert (await stage.ask("/api", {"cdn-loop": "cdn.localhost"})).status == 508


SITE = Site("s1", "blog", 0.0, SiteSettings())


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://api.example/v1/a?b=c", "https://api.example", "/v1/a?b=c"),
        ("http://api.example:8080", "http://api.example:8080", "/"),
        ("https://api.example/a%20b", "https://api.example", "/a%20b"),
    ],
)
def test_what_a_target_comes_to(url: str, origin: str, target: str) -> None:
    made = proxied(SITE, url)
    assert (str(made.site.settings.origin), made.sent_target, made.site.id) == (origin, target, "s1")


class EveryShield:
    """A shield for whatever is asked for."""

    has_any = True
    is_down = True
    region = ""

    def choose(self, key: object) -> str:
        return "shield"


def test_no_shield_is_asked_for_the_target_of_a_rule() -> None:
    """It knows sites, not the rules of their deploys."""
    shields = ShieldedUpstreams(EveryShield(), ShieldNews(), machine_clocks())  # type: ignore[arg-type]
    visitor = Visitor("192.0.2.1", lambda status, fields: None)
    request = Request("GET", Target("/a", None, "/a"), "blog.cdn.localhost", None, Fields(()), "http")
    of_pull = replace(SITE, settings=SiteSettings(origin=parse_origin("https://api.example")))
    to = proxied(SITE, "https://api.example/a")
    assert shields.asks_another(visit_of(request, visitor, of_pull, generation=1, number=1, cdn_id="cdn"))
    ruled = visit_of(request, visitor, to.site, generation=1, number=1, cdn_id="cdn", to=to)
    assert not shields.asks_another(ruled)
    assert shields.why_passed(ruled) is None


@pytest.mark.parametrize("url", ["ftp://a.example/", "https://u:p@a.example/", "https://[::1/", "s3://bucket/x", "//a"])
def test_what_is_no_target(url: str) -> None:
    with pytest.raises(InvalidInput):
        proxied(SITE, url)
