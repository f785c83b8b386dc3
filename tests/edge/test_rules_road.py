"""What the rules of a deploy, and what is said of its alias, come to over the listener."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.journal.record import DeployActivated
from cdn.origin.layout import blob_key
from cdn.sites.manifest import digest_of
from cdn.sites.rules.cache_rule import CacheRule
from cdn.sites.rules.clean_urls import CleanUrls
from cdn.sites.rules.cors_rule import CorsRule
from cdn.sites.rules.country_rule import CountryRule
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.redirect_rule import RedirectRule
from cdn.sites.rules.rule_set import RuleSet
from tests.edge.rules_stage import Passports, RulesStage, basic, hashed, rules_stage

PREVIEW = "next--blog.cdn.localhost"

FILES = {
    "/index.html": "home",
    "/de/index.html": "daheim",
    "/about.html": "about",
    "/app.js": "js",
    "/secret/plan.html": "plan",
    "/oops/401.html": "who are you",
    "/oops/403.html": "not from there",
    "/oops/502.html": "broken",
}


@pytest.fixture
async def passports() -> Passports:
    return Passports(**{"127_0_0_1": "CH"})


@pytest.fixture
async def stage(tmp_path: Path, passports: Passports) -> AsyncIterator[RulesStage]:
    async with rules_stage(tmp_path, passports) as made:
        yield made


def has_hit(stage: RulesStage) -> int:
    return len(stage.node.prepared)


async def test_redirects_keep_the_query_and_are_asked_for_again(stage: RulesStage) -> None:
    await stage.deploy(FILES, RuleSet(redirects=(RedirectRule("/old/*", "/new/:splat", 302),)))
    moved = await stage.ask("/old/a/b?c=d")
    assert (moved.status, moved.fields["location"]) == (302, "/new/a/b?c=d")
    assert moved.fields["cache-control"] == "public, max-age=0, must-revalidate"
    posted = await stage.ask("/old/a", method="POST", content=b"x")
    assert (posted.status, posted.fields["location"]) == (302, "/new/a")
    assert (await stage.ask("/about", method="POST", content=b"x")).status == 405
    assert (await stage.ask("/oops", method="POST", content=b"x")).status == 405


async def test_what_a_deploy_kept_to_a_few_is_not_open_once_it_is_replaced(stage: RulesStage) -> None:
    chunk, guard = "/app.0a1b2c3d4e5f.js", Guard("/*", "team", (("ann", "never asked"),))
    await stage.deploy(FILES | {chunk: "secret"}, RuleSet(guards=(guard,)))
    assert (await stage.ask(chunk)).status == 401
    await stage.deploy(FILES)
    assert (await stage.ask(chunk)).status == 404
    await stage.deploy(FILES, RuleSet(guards=(guard,)))
    assert (await stage.ask(chunk)).status == 401, "there for those who may see it: no broken tabs"


async def test_a_rewrite_is_prepared_under_the_address_that_was_asked_for(stage: RulesStage) -> None:
    await stage.deploy(FILES, RuleSet(redirects=(RedirectRule("/app/*", "/index.html", 200),)))
    first = await stage.ask("/app/x")
    assert (first.status, first.content) == (200, b"home")
    assert first.fields["cache-status"].startswith("cdn; fwd=uri-miss; stored")
    assert has_hit(stage) == 1
    again = await stage.ask("/app/x")
    assert (again.content, again.fields["cache-status"]) == (b"home", "cdn; hit")
    assert (await stage.ask("/app/y")).content == b"home"


@pytest.mark.parametrize("is_soft", [False, True])
async def test_a_purge_of_the_address_of_a_rewrite_is_one_of_what_answers(stage: RulesStage, is_soft: bool) -> None:
    await stage.deploy(FILES, RuleSet(redirects=(RedirectRule("/app/*", "/index.html", 200),)))
    await stage.ask("/app/x")
    await stage.purge("url", "/app/x", soft=is_soft)
    purged = await stage.ask("/app/x")
    # Soft: shown once more while the store is asked behind; hard: fetched.
    expected = "cdn; hit; detail=stale-while-revalidate" if is_soft else "cdn; fwd=stale; stored"
    assert purged.fields["cache-status"].startswith(expected.split(";", maxsplit=1)[0])
    assert purged.fields["cache-status"] != "cdn; hit"
    assert (await stage.ask("/app/y")).content == b"home"


async def test_a_purge_of_the_address_of_a_rewrite_holds_after_its_floor_was_swept(stage: RulesStage) -> None:
    await stage.deploy(FILES, RuleSet(redirects=(RedirectRule("/app/*", "/index.html", 200),)))
    await stage.ask("/app/x")
    await stage.purge("url", "/app/x")
    await stage.node.reclaim.sweep_now("s1")
    assert stage.node.view.floors.of("s1").is_empty
    assert "hit" not in (await stage.ask("/app/x")).fields["cache-status"]
    assert (await stage.ask("/app/x")).fields["cache-status"] == "cdn; hit"
    # The same of an address that nobody has asked for: who asks first finds nothing from before the purge.
    await stage.purge("url", "/app/z")
    await stage.node.reclaim.sweep_now("s1")
    assert "hit" not in (await stage.ask("/app/z")).fields["cache-status"]


async def test_a_purge_of_a_tag_that_a_later_deploy_gave_holds_after_its_floor_was_swept(stage: RulesStage) -> None:
    await stage.deploy(FILES)
    await stage.ask("/app.js")
    await stage.deploy(FILES, RuleSet(caching=(CacheRule("/*.js", tags=("code",)),)))
    await stage.purge("tag", "code")
    await stage.node.reclaim.sweep_now("s1")
    assert stage.node.view.floors.of("s1").is_empty
    assert "hit" not in (await stage.ask("/app.js")).fields["cache-status"]
    assert (await stage.ask("/app.js")).fields["cache-status"] == "cdn; hit"


async def test_lifetimes_and_fields_by_rules(stage: RulesStage) -> None:
    rules = RuleSet(
        fields=(FieldRule("/*", (("x-frame-options", "DENY"),)), FieldRule("/about", (("x-page", "about"),))),
        caching=(CacheRule("/*.js", browser_s=600, edge_s=3600),),
    )
    await stage.deploy(FILES, rules)
    for _ in range(2):
        script = await stage.ask("/app.js")
        assert script.fields["cache-control"] == "public, max-age=600"
        assert script.fields["x-frame-options"] == "DENY"
        assert (await stage.ask("/about")).fields["x-page"] == "about"
    absent = await stage.ask("/nowhere.txt")
    assert (absent.status, absent.fields["x-frame-options"]) == (404, "DENY")


async def test_what_depends_on_who_asks_is_kept_for_nobody(stage: RulesStage) -> None:
    rules = RuleSet(
        redirects=(
            RedirectRule("/", "/de/", 302, is_forced=True, languages=("de",)),
            RedirectRule("/app.js", "/about", 302, is_forced=True, cookies=("beta",)),
        )
    )
    await stage.deploy(FILES, rules)
    for _ in range(2):
        home = await stage.ask("/")
        assert (home.status, home.content) == (200, b"home")
        assert home.fields["cache-control"] == "private, max-age=0, must-revalidate"
        assert home.fields["vary"] == "accept-language, cookie"
        german = await stage.ask("/", {"accept-language": "de-CH"})
        assert (german.status, german.fields["location"]) == (302, "/de/")
        assert german.fields["cache-control"] == "private, max-age=0, must-revalidate"
        assert german.fields["vary"] == "accept-language, cookie"
        assert (await stage.ask("/app.js", {"cookie": "beta=1"})).status == 302
        assert (await stage.ask("/app.js")).status == 200
    assert has_hit(stage) == 0
    assert (await stage.ask("/about")).fields["cache-control"] == "public, max-age=0, must-revalidate"
    assert has_hit(stage) == 1


async def test_countries_decide_and_their_page_is_shown(stage: RulesStage, passports: Passports) -> None:
    rules = RuleSet(
        countries=(CountryRule("/secret/*", ("CH",), status=403), CountryRule("/app.js", ("CH",), denies=False)),
        error_pages=((403, "/oops/403.html"),),
        fields=(FieldRule("/*", (("x-all", "1"),)),),
    )
    await stage.deploy(FILES, rules)
    for _ in range(2):
        denied = await stage.ask("/secret/plan")
        assert (denied.status, denied.content) == (403, b"not from there")
        assert denied.fields["content-type"] == "text/html; charset=utf-8"
        assert denied.fields["cache-control"] == "no-store"
        assert denied.fields["x-all"] == "1"
        assert (await stage.ask("/app.js")).content == b"js"
    passports.country_of = {"127.0.0.1": "DE"}
    assert (await stage.ask("/secret/plan")).content == b"plan"
    assert (await stage.ask("/app.js")).status == 403
    passports.country_of = {}
    assert (await stage.ask("/secret/plan")).content == b"plan"
    assert (await stage.ask("/app.js")).status == 403


async def test_a_law_is_named(stage: RulesStage) -> None:
    await stage.deploy(FILES, RuleSet(countries=(CountryRule("/*", ("CH",), status=451),)))
    assert (await stage.ask("/")).status == 451


async def test_who_has_the_credentials_of_a_guard_is_let_in(stage: RulesStage) -> None:
    guard = Guard("/secret/*", "inner circle", (("ann", hashed("apple")), ("bob", hashed("banana"))))
    await stage.deploy(FILES, RuleSet(guards=(guard,), error_pages=((401, "/oops/401.html"),)))
    asked = await stage.ask("/secret/plan")
    assert (asked.status, asked.content) == (401, b"who are you")
    assert asked.fields["www-authenticate"] == 'Basic realm="inner circle", charset="UTF-8"'
    assert asked.fields["cache-control"] == "no-store"
    for user, password in (("ann", "banana"), ("carl", "apple"), ("", "apple")):
        assert (await stage.ask("/secret/plan", basic(user, password))).status == 401
    for _ in range(3):
        for user, password in (("ann", "apple"), ("bob", "banana")):
            shown = await stage.ask("/secret/plan", basic(user, password))
            assert (shown.status, shown.content) == (200, b"plan")
            assert shown.fields["cache-control"] == "private, max-age=0, must-revalidate"
    assert (await stage.ask("/secret/plan")).status == 401
    assert (await stage.ask("/secret/absent", basic("ann", "apple"))).status == 404
    assert (await stage.ask("/about")).status == 200
    assert stage.checked.count("apple") == 2, "the right one once, and once for nobody"


async def test_a_guarded_file_stays_closed_by_whatever_address_it_is_reached(stage: RulesStage) -> None:
    guard = Guard("/secret/*", "r", (("ann", hashed("apple")),))
    await stage.deploy(FILES, RuleSet(guards=(guard,), redirects=(RedirectRule("/open", "/secret/plan.html", 200),)))
    assert (await stage.ask("/open")).status == 401
    assert (await stage.ask("/open", basic("ann", "apple"))).content == b"plan"
    assert (await stage.ask("/open")).status == 401


async def test_who_guesses_is_turned_away(stage: RulesStage) -> None:
    guard = Guard("/secret/*", "r", (("ann", hashed("apple")),))
    await stage.deploy(FILES, RuleSet(guards=(guard,)))
    for number in range(10):
        assert (await stage.ask("/secret/plan", basic("ann", f"guess {number}"))).status == 401
    refused = await stage.ask("/secret/plan", basic("ann", "guess 10"))
    assert (refused.status, refused.fields["cache-status"]) == (429, "cdn; detail=too-many-guesses")
    assert 1 <= int(refused.fields["retry-after"]) <= 61
    assert (await stage.ask("/secret/plan")).status == 401
    assert len(stage.checked) == 10


async def test_a_preview_wants_its_password_and_is_not_found_by_search(stage: RulesStage) -> None:
    await stage.deploy(FILES, alias="next")
    for _ in range(2):
        shown = await stage.ask("/", host=PREVIEW)
        assert (shown.status, shown.fields["x-robots-tag"]) == (200, "noindex")
    assert has_hit(stage) == 1
    await stage.set_alias("next", password="pear")
    for target in ("/", "/absent", "/secret/plan.html"):
        asked = await stage.ask(target, host=PREVIEW)
        assert (asked.status, asked.fields["x-robots-tag"]) == (401, "noindex")
        assert asked.fields["www-authenticate"] == 'Basic realm="next--blog", charset="UTF-8"'
        assert b"home" not in asked.content
    for user in ("", "anybody"):
        shown = await stage.ask("/", basic(user, "pear"), host=PREVIEW)
        assert (shown.status, shown.fields["cache-control"]) == (200, "private, max-age=0, must-revalidate")
    assert (await stage.ask("/", basic("", "apple"), host=PREVIEW)).status == 401
    assert (await stage.ask("/", host=PREVIEW)).status == 401
    await stage.set_alias("next")
    assert (await stage.ask("/", host=PREVIEW)).status == 200


async def test_guards_of_a_preview_with_a_password_count_in_its_place(stage: RulesStage) -> None:
    guard = Guard("/secret/*", "inner circle", (("ann", hashed("apple")),))
    await stage.deploy(FILES, RuleSet(guards=(guard,), error_pages=((401, "/oops/401.html"),)), alias="next")
    await stage.set_alias("next", password="pear")
    for target in ("/", "/secret/plan"):
        assert b"who are you" not in (await stage.ask(target, host=PREVIEW)).content, "it is of the deploy"
    assert (await stage.ask("/", basic("ann", "apple"), host=PREVIEW)).status == 401
    assert (await stage.ask("/secret/plan", basic("ann", "apple"), host=PREVIEW)).status == 200
    refused = await stage.ask("/secret/plan", basic("ann", "pear"), host=PREVIEW)
    assert (refused.status, refused.fields["www-authenticate"][:26]) == (401, 'Basic realm="inner circle"')


async def test_a_preview_that_is_over_is_gone(stage: RulesStage) -> None:
    await stage.deploy(FILES, alias="next")
    now = time.time()
    await stage.set_alias("next", expires_at=now + 3600)
    assert (await stage.ask("/", host=PREVIEW)).status == 200
    prepared = stage.node.prepared.get(("s1", "next", "/"))
    assert prepared is not None
    monotonic = stage.node._clocks.monotonic()
    assert monotonic + 3590 < prepared.usable_until < monotonic + 3601
    await stage.set_alias("next", expires_at=now - 1)
    for method in ("GET", "POST", "OPTIONS"):
        gone = await stage.ask("/", host=PREVIEW, method=method)
        assert (gone.status, gone.fields["cache-status"]) == (410, "cdn; detail=preview-over")
        assert gone.fields["x-robots-tag"] == "noindex"


async def test_pages_of_other_origins(stage: RulesStage) -> None:
    one = CorsRule("/app.js", ("https://a.example",), methods=("GET",), fields=("x-token",), max_age_s=60)
    two = CorsRule("/*", ("https://a.example", "https://b.example"))
    await stage.deploy(FILES, RuleSet(cors=(one, two)))
    asking = {"origin": "https://a.example", "access-control-request-method": "GET"}
    preflight = await stage.ask("/app.js", asking, method="OPTIONS")
    assert (preflight.status, preflight.fields["access-control-max-age"]) == (204, "60")
    assert preflight.fields["access-control-allow-origin"] == "https://a.example"
    plain = await stage.ask("/app.js", method="OPTIONS")
    assert (plain.status, plain.fields["allow"]) == (204, "GET, HEAD, OPTIONS")
    for _ in range(2):
        assert (await stage.ask("/app.js")).fields["access-control-allow-origin"] == "https://a.example"
        for origin in ("https://a.example", "https://b.example"):
            answer = await stage.ask("/about", {"origin": origin})
            assert (answer.fields["access-control-allow-origin"], answer.fields["vary"]) == (origin, "Origin")
        assert "access-control-allow-origin" not in (await stage.ask("/about")).fields


async def test_a_page_of_the_site_stands_in_for_what_the_store_lost(stage: RulesStage) -> None:
    await stage.deploy(FILES, RuleSet(error_pages=((502, "/oops/502.html"),)))
    await stage.store.delete(blob_key("s1", digest_of(b"js")))
    lost = await stage.ask("/app.js")
    assert (lost.status, lost.content) == (502, b"broken")
    assert (lost.fields["cache-control"], lost.fields["retry-after"]) == ("no-store", "60")
    await stage.deploy({"/x.js": "x", "/oops/502.html": "gone too"}, RuleSet(error_pages=((502, "/oops/502.html"),)))
    for text in (b"x", b"gone too"):
        await stage.store.delete(blob_key("s1", digest_of(text)))
    plain = await stage.ask("/x.js")
    assert (plain.status, plain.fields["content-type"]) == (502, "text/plain; charset=utf-8")


async def test_an_application_of_one_page_and_canonical_addresses(stage: RulesStage) -> None:
    await stage.deploy(FILES, RuleSet(spa="/index.html", clean_urls=CleanUrls.CANONICAL))
    for _ in range(2):
        assert (await stage.ask("/some/place")).content == b"home"
        assert (await stage.ask("/some/place.js")).status == 404
        moved = await stage.ask("/about.html?q")
        assert (moved.status, moved.fields["location"]) == (308, "/about?q")


async def test_what_a_deploy_keeps_of_those_before_it(stage: RulesStage) -> None:
    await stage.deploy({"/index.html": "1", "/kept/old.txt": "kept", "/app.1a2b3c4d.js": "chunk"})
    await stage.deploy({"/index.html": "2"}, RuleSet(keep=("/kept/*",)))
    assert (await stage.ask("/kept/old.txt")).content == b"kept"
    assert (await stage.ask("/app.1a2b3c4d.js")).content == b"chunk"
    await stage.deploy({"/index.html": "3"}, RuleSet(retention_s=0))
    assert (await stage.ask("/kept/old.txt")).status == 404
    assert (await stage.ask("/app.1a2b3c4d.js")).status == 404
    await stage.deploy({"/index.html": "4"})
    assert (await stage.ask("/app.1a2b3c4d.js")).content == b"chunk"


async def test_what_is_kept_of_a_former_deploy_is_not_behind_the_guard_of_a_page(stage: RulesStage) -> None:
    await stage.deploy({"/index.html": "1", "/a/app.1a2b3c4d.js": "chunk"})
    guard = Guard("/404.html", "r", (("ann", hashed("apple")),))
    await stage.deploy({"/index.html": "2", "/404.html": "absent"}, RuleSet(guards=(guard,)))
    assert (await stage.ask("/a/nothing.txt")).status == 401
    assert (await stage.ask("/a/app.1a2b3c4d.js")).content == b"chunk"


async def test_rules_change_with_the_deploy_and_with_it_alone(stage: RulesStage) -> None:
    first = await stage.deploy(FILES)
    assert (await stage.ask("/about")).content == b"about"
    assert (await stage.ask("/about")).fields["cache-status"] == "cdn; hit"
    await stage.deploy(FILES, RuleSet(redirects=(RedirectRule("/about", "/", 302, is_forced=True),)))
    assert (await stage.ask("/about")).status == 302
    await stage.tell(DeployActivated("s1", "production", first))
    assert (await stage.ask("/about")).content == b"about"


async def test_explain_names_the_rule_and_what_is_said_of_the_alias(stage: RulesStage) -> None:
    guard = Guard("/secret/*", "inner circle", (("ann", hashed("apple")),))
    rule = RedirectRule("/app/*", "/index.html", 200)
    german = RedirectRule("/about", "/de/", 302, is_forced=True, languages=("de",))
    await stage.deploy(FILES, RuleSet(guards=(guard,), redirects=(rule, german)), alias="next")
    await stage.set_alias("next", password="pear", expires_at=time.time() + 60)
    explain = stage.node._explainer.explain
    rewritten = await explain(PREVIEW, "/app/x")
    assert rewritten["rule"] == str(rule)
    assert (rewritten["password"], rewritten["file"]) == ("is asked for", "/index.html")
    guarded = await explain(PREVIEW, "/secret/plan")
    assert (guarded["access"], guarded["file"]) == ("for users of 'inner circle'", "/secret/plan.html")
    assert (await explain(PREVIEW, "/about"))["depends_on"] == "who asks, or how"
    assert "apple" not in str((rewritten, guarded))
    await stage.set_alias("next", expires_at=1.0)
    assert (await explain(PREVIEW, "/"))["expires_at"] == "1970-01-01T00:00:01+00:00"
    assert (await explain(PREVIEW, "/"))["answer"] == "410: the time of this preview is over"
