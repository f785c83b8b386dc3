"""Redirects and absence come from memory when they are asked for again, say what they said, and follow every record."""

from __future__ import annotations

import time
from pathlib import Path

from cdn.edge.answers_memory import AnswersMemory
from cdn.edge.asked_before import MAX_NOTED
from cdn.edge.file_answers import MAX_PAGE_BYTES
from cdn.edge.https_rules import ACME_PATH
from cdn.edge.prepared import Prepared, SiteRuntime
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.journal.record import DomainAdded, SiteChanged, SiteRemoved
from cdn.sites.rules.cors_rule import CorsRule
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.redirect_rule import RedirectRule
from cdn.sites.rules.rule_set import RuleSet
from tests.edge.engine_responses import Received
from tests.edge.rules_stage import SITE, RulesStage, rules_stage

FILES = {"/index.html": "home", "/a.html": "a", "/new/index.html": "new"}
RULES = RuleSet(
    redirects=(
        RedirectRule("/old", "/new/", 301),
        RedirectRule("/blog/*", "https://other.example/:splat", 302),
        RedirectRule("/.well-known/*", "/a", 302),
        RedirectRule("/long/*", "/:splat" * 16, 302),
    )
)
ENOUGH = 3
"""Times that something is asked for until it comes from memory: it is noted, kept, and found."""


async def asked(stage: RulesStage, target: str, **fields: str) -> tuple[Received, int]:
    """The last of ENOUGH answers, all of which say the same, and how many of them took no road."""
    before = stage.node.counters.answered
    answers = [await stage.ask(target, fields) for _ in range(ENOUGH)]
    assert {(answer.status, answer.content, _lines(answer)) for answer in answers} == {
        (answers[0].status, answers[0].content, _lines(answers[0]))
    }
    return answers[-1], ENOUGH - (stage.node.counters.answered - before)


def _lines(answer: Received) -> tuple[tuple[str, str], ...]:
    of_the_moment = {"date", "age", "cache-status"} if "age" in answer.fields else {"date"}
    return tuple(sorted((name, value) for name, value in answer.fields.items() if name not in of_the_moment))


async def test_redirects_come_from_memory_with_the_query_they_pass_on(tmp_path: Path) -> None:
    async with rules_stage(tmp_path) as stage:
        await stage.deploy(FILES, RULES)
        for target, location in (
            ("/old", "/new/"),
            ("/old?x=1", "/new/?x=1"),
            ("/old?x=2", "/new/?x=2"),
            ("/old?", "/new/"),
            ("/blog/post", "https://other.example/post"),
            ("/new", "/new/"),
            ("/new?q", "/new/?q"),
        ):
            answer, hits = await asked(stage, target)
            assert (answer.fields["location"], hits) == (location, 1), target
            assert "age" not in answer.fields
            head = await stage.ask(target, method="HEAD")
            assert _lines(head) == _lines(answer)
        assert stage.node.counters.hits == 2 * 7
        assert stage.node.counters.answered == 2 * 7


async def test_a_query_that_makes_a_location_too_long_says_nothing_of_others(tmp_path: Path) -> None:
    async with rules_stage(tmp_path) as stage:
        await stage.deploy(FILES, RULES)
        path = "/long/" + "x" * 500
        for target, status in ((f"{path}?{'q' * 400}", 404), (path, 302), (f"{path}?q", 302)):
            answer, _ = await asked(stage, target)
            assert answer.status == status, target


async def test_a_deploy_changes_redirects_and_absence_at_once(tmp_path: Path) -> None:
    async with rules_stage(tmp_path) as stage:
        await stage.deploy(FILES, RULES)
        assert (await asked(stage, "/old"))[1] == 1
        assert (await asked(stage, "/nowhere"))[0].status == 404
        await stage.deploy(FILES, RuleSet(redirects=(RedirectRule("/old", "/a", 302),)))
        answer, _ = await asked(stage, "/old")
        assert (answer.status, answer.fields["location"]) == (302, "/a")
        await stage.deploy({**FILES, "/old.html": "file", "/nowhere.html": "here"})
        for path, content in (("/old", b"file"), ("/nowhere", b"here")):
            assert (await asked(stage, path))[0].content == content
        await stage.deploy(FILES, RULES)
        answer, hits = await asked(stage, "/old")
        assert (answer.status, hits) == (301, ENOUGH - 1), "it was noted before"
        assert (await asked(stage, "/nowhere"))[0].status == 404
        await stage.deploy(FILES)
        assert (await asked(stage, "/old"))[0].status == 404, "what was a redirect"
        await stage.deploy(FILES, RULES)
        answer, hits = await asked(stage, "/old")
        assert (answer.status, hits) == (301, ENOUGH - 1), "what was absent"


async def test_every_record_has_it_looked_at_again(tmp_path: Path) -> None:
    async with rules_stage(tmp_path) as stage:
        await stage.deploy(FILES, RULES)
        await asked(stage, "/old")
        before = stage.node.counters.hits
        await stage.purge("everything")
        await stage.ask("/old")
        assert stage.node.counters.hits == before
        await stage.tell(SiteChanged(SITE, {"hsts_s": 60}))
        assert (await asked(stage, "/old"))[0].status == 301
        await stage.tell(SiteRemoved(SITE))
        assert (await stage.ask("/old")).status == 404
        assert len(stage.node.pipeline.hints._answers) == 0


async def test_a_page_for_what_is_absent_comes_from_memory_in_each_place(tmp_path: Path) -> None:
    rules = RuleSet(fields=(FieldRule("/x/*", (("x-one", "1"),)),))
    async with rules_stage(tmp_path) as stage:
        await stage.deploy({**FILES, "/404.html": "absent"}, rules)
        answer, hits = await asked(stage, "/nowhere?q=1")
        assert (answer.status, answer.content, hits) == (404, b"absent", 1)
        answer, hits = await asked(stage, "/x/nowhere")
        assert (answer.fields["x-one"], hits) == ("1", 1)
        assert "x-one" not in (await stage.ask("/nowhere?q=2")).fields
        await stage.deploy({**FILES, "/404.html": "gone"}, rules)
        assert (await stage.ask("/nowhere")).content == b"gone"
        await stage.deploy({**FILES, "/404.html": "x" * (MAX_PAGE_BYTES + 1)}, rules)
        assert (await asked(stage, "/nowhere"))[1] == 0, "a large one would fill the memory"


async def test_what_depends_on_who_asks_is_not_kept(tmp_path: Path) -> None:
    of_host = RuleSet(redirects=RULES.redirects, fields=(FieldRule("/*", (("x-one", "1"),), host="www.example.com"),))
    of_origin = RuleSet(redirects=RULES.redirects, cors=(CorsRule("/*", ("https://o.example", "https://p.example")),))
    async with rules_stage(tmp_path) as stage:
        await stage.tell(DomainAdded("www.example.com", SITE))
        for rules in (of_host, of_origin):
            await stage.deploy(FILES, rules)
            for path in ("/old", "/nowhere"):
                assert (await asked(stage, path))[1] == 0
        assert (await stage.ask("/old", {"origin": "https://p.example"})).fields["access-control-allow-origin"]
        await stage.deploy(FILES, of_host)
        assert (await stage.ask("/old", host="www.example.com")).fields["x-one"] == "1"
        await stage.deploy(FILES, RuleSet(redirects=(RedirectRule("/", "/a", 302, is_forced=True, cookies=("beta",)),)))
        assert [(await stage.ask("/", {"cookie": "beta=1"})).status for _ in range(ENOUGH)] == [302] * ENOUGH
        assert (await stage.ask("/")).status == 200


async def test_hosts_share_what_is_general_and_previews_keep_their_own(tmp_path: Path) -> None:
    preview = "next--blog.cdn.localhost"
    async with rules_stage(tmp_path) as stage:
        await stage.tell(DomainAdded("www.example.com", SITE))
        await stage.deploy(FILES, RULES)
        await stage.deploy(FILES, RULES, "next")
        await asked(stage, "/old")
        before = stage.node.counters.hits
        assert "x-robots-tag" not in (await stage.ask("/old", host="www.example.com")).fields
        assert stage.node.counters.hits == before + 1
        for _ in range(ENOUGH):
            assert (await stage.ask("/old", host=preview)).fields["x-robots-tag"] == "noindex"
        assert stage.node.counters.hits == before + 2
        await stage.set_alias("next", password="pear")
        assert (await stage.ask("/old", host=preview)).status == 401
        await stage.set_alias("next", expires_at=time.time() - 1)
        assert (await stage.ask("/old", host=preview)).status == 410


async def test_what_authorities_ask_for_is_always_looked_at(tmp_path: Path) -> None:
    async with rules_stage(tmp_path) as stage:
        await stage.deploy(FILES, RULES)
        assert (await asked(stage, ACME_PATH + "token"))[1] == 0
        assert (await asked(stage, "/.well-known/security.txt"))[1] == 1
        await stage.deploy({**FILES, "/404.html": "absent"})
        assert (await asked(stage, ACME_PATH + "token"))[1] == 0


async def test_who_tries_out_paths_fills_no_memory(tmp_path: Path) -> None:
    async with rules_stage(tmp_path) as stage:
        await stage.deploy(FILES, RULES)
        await asked(stage, "/a")
        for number in range(50):
            assert (await stage.ask(f"/{number}.php")).status == 404
        assert len(stage.node.pipeline.hints._answers) == 0
        stage.node.pipeline._ruled._asked_before._noted.update(range(MAX_NOTED))
        await stage.ask("/51.php")
        assert len(stage.node.pipeline.hints._answers._answers) == 0
        assert len(stage.node.pipeline._ruled._asked_before._noted) == 1
        before = stage.node.counters.hits
        await stage.ask("/a")
        assert stage.node.counters.hits == before + 1


async def test_what_they_take_counts_as_memory(tmp_path: Path) -> None:
    async with rules_stage(tmp_path) as stage:
        await stage.deploy(FILES, RULES)
        before = stage.node.counted()["memory_bytes"]
        await asked(stage, "/old")
        held = stage.node.counted()["memory_bytes"]
        assert held > before
        await stage.tell(SiteRemoved(SITE))
        assert stage.node.counted()["memory_bytes"] == 0


async def test_workers_keep_redirects_and_give_them_up(tmp_path: Path) -> None:
    async with rules_stage(tmp_path, workers=2) as stage:
        await stage.deploy({**FILES, "/404.html": "absent"}, RULES)
        for _ in range(8):
            assert (await stage.ask("/old?x=1")).fields["location"] == "/new/?x=1"
            assert (await stage.ask("/old")).fields["location"] == "/new/"
            assert (await stage.ask("/nowhere")).content == b"absent"
        await stage.deploy({**FILES, "/nowhere.html": "here"}, RuleSet(redirects=(RedirectRule("/old", "/a", 302),)))
        for _ in range(8):
            assert (await stage.ask("/old")).fields["location"] == "/a"
            assert (await stage.ask("/nowhere")).content == b"here"


def test_the_memory_is_bounded() -> None:
    memory, runtime = AnswersMemory(100_000), SiteRuntime(SITE)

    def put(path: str, status: int, codings: tuple[str, ...] = ()) -> Prepared:
        request = Request("GET", Target(path, "q", path), "a", None, Fields(()), "http")
        made = Prepared(
            status=status,
            fields=(),
            content=b"",
            base_age_at=None,
            site=runtime,
            generation=0,
            fresh_until=1e9,
        )
        memory.put(request, (SITE, "production", path), codings, made)
        assert memory.find(request, (SITE, "production", path)) is made
        return made

    first = put("/first", 301)
    for number in range(1000):
        put(f"/{number}", (301, 404)[number % 2], ("br",) if number % 4 == 1 else ())
    assert len(memory) < 100
    assert not first.is_usable(0.0)
    for status, codings in ((404, ("br",)), (301, ()), (404, ()), (301, ()), (404, ("gzip",)), (404, ())):
        put("/same", status, codings)
