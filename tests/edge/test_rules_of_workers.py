"""Rules on a node with workers: what a worker keeps is what everybody gets."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network
from pathlib import Path

from cdn.sites.rules.country_rule import CountryRule
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.redirect_rule import RedirectRule
from cdn.sites.rules.rule_set import RuleSet
from tests.edge.pull_stage import until
from tests.edge.rules_stage import Passports, basic, hashed, rules_stage

FILES = {"/index.html": "home", "/a.html": "a", "/secret/plan.html": "plan", "/closed.html": "closed"}

RULES = RuleSet(
    redirects=(
        RedirectRule("/", "/a", 302, is_forced=True, cookies=("beta",)),
        RedirectRule("/app/*", "/index.html", 200),
    ),
    guards=(Guard("/secret/*", "r", (("ann", hashed("apple")),)),),
    countries=(CountryRule("/closed", ("CH",)),),
)


async def test_workers_ask_the_node_about_whatever_depends_on_who_asks(tmp_path: Path) -> None:
    passports = Passports(**{"192_0_2_1": "CH"})
    from_there = {"x-forwarded-for": "192.0.2.1"}
    async with rules_stage(tmp_path, passports, workers=2, trusted_proxies=(IPv4Network("127.0.0.0/8"),)) as stage:
        await stage.deploy(FILES, RULES)
        for _ in range(6):  # on a new connection each: of either worker
            assert (await stage.ask("/")).content == b"home"
            assert (await stage.ask("/", {"cookie": "beta=1"})).status == 302
            assert (await stage.ask("/app/x")).content == b"home"
            assert (await stage.ask("/secret/plan")).status == 401
            assert (await stage.ask("/secret/plan", basic("ann", "apple"))).content == b"plan"
            assert (await stage.ask("/closed")).content == b"closed"
            assert (await stage.ask("/closed", from_there)).status == 403
        counted = stage.node.counted()
        assert len(stage.node.prepared) == 1, "that of the rewrite alone"
        assert counted["passwords_right"] == 6
        await stage.deploy({"/index.html": "home", "/app/x": "file"}, RuleSet())
        answers = await asyncio.gather(*(stage.ask("/app/x") for _ in range(6)))
        assert {answer.content for answer in answers} == {b"file"}
        await stage.deploy(FILES, alias="next")
        assert {(await stage.ask("/", host="next--blog.cdn.localhost")).status for _ in range(6)} == {200}
        await stage.set_alias("next", password="pear")
        assert {(await stage.ask("/", host="next--blog.cdn.localhost")).status for _ in range(6)} == {401}


async def test_every_hit_is_counted_whichever_process_has_it(tmp_path: Path) -> None:
    async with rules_stage(tmp_path, Passports(), workers=2) as stage:
        await stage.deploy(FILES)
        for number in range(12):  # a head that never came before
            assert (await stage.ask("/", {"user-agent": f"n{number}"})).content == b"home"
        await until(lambda: stage.node.counted()["misses"] + stage.node.counted()["hits"] == 12)
