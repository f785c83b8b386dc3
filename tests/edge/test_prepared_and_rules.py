"""No prepared hit is given to a visitor for whom the whole road would have answered otherwise, whatever the rules; and
HEAD says what GET says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from hashlib import sha256

import hpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdn.edge.prepared import Prepared
from cdn.edge.response import Response
from cdn.edge.visitor import Visitor
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.journal.record import DomainAdded
from cdn.sites.name import PRODUCTION
from cdn.sites.rules.cache_rule import CacheRule
from cdn.sites.rules.clean_urls import CleanUrls
from cdn.sites.rules.cors_rule import CorsRule
from cdn.sites.rules.country_rule import CountryRule
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_rule import RedirectRule
from cdn.sites.rules.rule_set import RuleSet
from tests.edge.engine_responses import Received, read_responses
from tests.edge.rules_stage import SITE, Passports, RulesStage, basic, hashed, rules_stage

FILES = {"/index.html": "home", "/a.html": "a", "/b/index.html": "b", "/c.js": "c", "/404.html": "absent"}
PATHS = ("/a", "/c.js", "/", "/b/", "/nowhere", "/a.html", "/b", "/b/nowhere.js")
PATTERNS = ("/*", "/a", "/b/*", "/c.js", "/nowhere")
ADDRESSES = {"192.0.2.1": "CH", "192.0.2.2": "DE", "192.0.2.3": ""}
DOMAIN = "www.example.com"
HOSTS = ("blog.cdn.localhost", DOMAIN, "next--blog.cdn.localhost")
OF_THE_MOMENT = frozenset(("age", "date", "cache-status", "content-length"))


TAGS = st.sampled_from([f'"{sha256(text.encode()).hexdigest()[:32]}"' for text in ("a", "home")]).flatmap(
    lambda tag: st.sampled_from((tag, f"W/{tag}", f'"x", {tag}', "no tag"))
)
DATES = st.sampled_from(
    ("Tue, 14 Nov 2023 22:13:20 GMT", "Tuesday, 14-Nov-23 22:13:20 GMT", "Fri, 14 Nov 2053 22:13:20 GMT", "yesterday")
)

Asked = tuple[str, str | None, str, str, dict[str, str], str]
"""Path, query, host, scheme, fields and address."""


NOTHING: tuple[bytes, ...] = ()


class NoContent:
    """Of a request without content."""

    size_bytes = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in NOTHING:
            yield part


moved = st.builds(
    RedirectRule,
    st.sampled_from(("/b/*", "/*")),
    st.sampled_from(("/moved/:splat", "/moved/:splat?k=1", "https://other.example/:splat")),
    st.sampled_from((301, 302)),
    is_forced=st.booleans(),
)

redirects = moved | st.builds(
    RedirectRule,
    st.sampled_from(PATTERNS),
    st.sampled_from(("/a", "/c.js", "/b/", "https://other.example/")),
    st.sampled_from((200, 301, 302, 404)),
    is_forced=st.booleans(),
    host=st.sampled_from(("", "", DOMAIN)),
    scheme=st.sampled_from(("", "", "https")),
    query=st.sampled_from(((), (), (("q", "1"),))),
    countries=st.sampled_from(((), (), ("CH",))),
    languages=st.sampled_from(((), (), ("de",))),
    cookies=st.sampled_from(((), (), ("beta",))),
).filter(lambda rule: not (rule.target.startswith("https:") and rule.status in {200, 404}))

rule_sets = st.builds(
    RuleSet,
    mode=st.sampled_from((RulesMode.NETLIFY, RulesMode.NETLIFY, RulesMode.CLOUDFLARE)),
    redirects=st.lists(redirects, max_size=3).map(tuple),
    fields=st.lists(
        st.builds(
            FieldRule,
            st.sampled_from(PATTERNS),
            st.sampled_from(((("x-one", "1"),), (("cache-control", "max-age=9"),))),
            host=st.sampled_from(("", DOMAIN)),
        ),
        max_size=2,
    ).map(tuple),
    caching=st.lists(st.builds(CacheRule, st.sampled_from(PATTERNS), st.sampled_from((None, 60))), max_size=1).map(
        tuple
    ),
    guards=st.lists(
        st.builds(Guard, st.sampled_from(PATTERNS), st.just("r"), st.just((("ann", hashed("apple")),))), max_size=1
    ).map(tuple),
    countries=st.lists(
        st.builds(CountryRule, st.sampled_from(PATTERNS), st.just(("CH",)), st.booleans(), st.sampled_from((403, 451))),
        max_size=1,
    ).map(tuple),
    cors=st.lists(
        st.builds(
            CorsRule, st.sampled_from(PATTERNS), st.sampled_from((("*",), ("https://o.example", "https://p.example")))
        ),
        max_size=1,
    ).map(tuple),
    spa=st.sampled_from(("", "", "/index.html")),
    clean_urls=st.sampled_from(CleanUrls),
)

visitors = st.tuples(
    st.sampled_from(PATHS),
    st.sampled_from((None, "q=1", "r")),
    st.sampled_from(HOSTS),
    st.sampled_from(("http", "https")),
    st.fixed_dictionaries(
        {},
        optional={
            "accept-language": st.sampled_from(("de", "en")),
            "cookie": st.sampled_from(("beta=1", "x=y")),
            "origin": st.sampled_from(("https://o.example", "https://p.example", "https://q.example")),
            "authorization": st.sampled_from(
                [basic("ann", "apple")["authorization"], basic("ann", "pear")["authorization"]]
            ),
            "if-none-match": TAGS | st.just("*"),
            "if-match": TAGS,
            "if-modified-since": DATES,
            "if-unmodified-since": DATES,
            "range": st.sampled_from(("bytes=0-0", "bytes=1-", "bytes=-2", "bytes=9-", "bytes=0-0,3-3", "lines=1-2")),
            "if-range": TAGS | DATES,
        },
    ),
    st.sampled_from(sorted(ADDRESSES)),
)


class Played:
    """One stage for all examples, in a loop of its own."""

    def __init__(self, runner: asyncio.Runner, stage: RulesStage) -> None:
        self.runner = runner
        self.stage = stage
        self.hits = 0
        self.of_status: Counter[int] = Counter()

    async def play(self, rules: RuleSet, password: str, asked: list[Asked]) -> None:
        stage = self.stage
        await stage.deploy(FILES, rules, PRODUCTION)
        await stage.deploy(FILES, rules, "next")
        await stage.set_alias("next", password=password)
        for path, query, host, scheme, fields, address in asked:
            request = Request("GET", Target(path, query, path), host, None, Fields(tuple(fields.items())), scheme)
            await self.compare(request, address)

    async def compare(self, request: Request, address: str) -> None:
        node = self.stage.node
        prepared = node.pipeline.recall(request, node._clocks.monotonic())
        received = None if prepared is None else _received(prepared, node._clocks.monotonic())
        if prepared is not None:
            self.of_status[prepared.status] += 1
            _assert_both_protocols_agree(prepared, node._clocks.monotonic())
        visitor = Visitor(address, lambda status, fields: None)
        response = await node.pipeline.answer(request, NoContent(), visitor)
        if "range" not in request.fields:  # it means nothing to HEAD (RFC 9110 section 14.2)
            told = await node.pipeline.answer(replace(request, method="HEAD"), NoContent(), visitor)
            assert _said(told)[:2] == _said(response)[:2]
        if received is not None:
            self.hits += 1
            assert _said(received) == _said(response)
            if not any(name == "age" for name, _ in response.fields):  # it never was stored: all of it is the same
                assert _all_said(received.fields.items()) == _all_said(response.fields)


def _received(prepared: Prepared, now: float) -> Received:
    (received,) = read_responses(prepared.wire(now))
    return received


def _assert_both_protocols_agree(prepared: Prepared, now: float) -> None:
    lines = prepared.wire_head(now).decode("latin-1").split("\r\n")[1:-2]
    read = hpack.Decoder().decode(prepared.h2_block(now))
    assert [f"{name!s}: {value!s}" for name, value in read] == [f":status: {prepared.status}", *lines]


def _all_said(lines: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(line for line in lines if line[0] not in {"date", "content-length"})


def _said(answer: Response | Received) -> tuple[int, list[tuple[str, str]], object]:
    lines = answer.fields.items() if isinstance(answer, Received) else answer.fields
    return answer.status, sorted(line for line in lines if line[0] not in OF_THE_MOMENT), answer.content


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    countries = Passports()
    countries.country_of = dict(ADDRESSES)
    with asyncio.Runner() as runner:
        context = rules_stage(tmp_path_factory.mktemp("rules"), countries)
        stage = runner.run(context.__aenter__())
        runner.run(stage.tell(DomainAdded(DOMAIN, SITE)))
        try:
            yield Played(runner, stage)
        finally:
            runner.run(context.__aexit__(None, None, None))


@settings(deadline=None, max_examples=45, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rules=rule_sets,
    password=st.sampled_from(("", "", "pear")),
    asked=st.lists(visitors, min_size=4, max_size=24),
)
def test_a_prepared_hit_says_what_the_whole_road_says(
    played: Played,
    rules: RuleSet,
    password: str,
    asked: list[Asked],
) -> None:
    played.runner.run(played.play(rules, password, asked + asked))


def test_there_were_hits_to_compare(played: Played) -> None:
    before = played.hits
    conditions: list[dict[str, str]] = [{}, {"if-none-match": "*"}, {"range": "bytes=0-0"}]
    for path in PATHS:
        asked: list[Asked] = [(path, None, HOSTS[0], "http", fields, "192.0.2.3") for fields in conditions * 2]
        played.runner.run(played.play(RuleSet(), "", asked))
    assert played.hits - before >= 4 + 4 * 2 * (len(conditions) - 1)
    assert played.of_status[308] >= 4, "canonical names"
    assert played.of_status[404] >= 4, "pages for what is absent"
