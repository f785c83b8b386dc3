"""The index answers as a slow, plain matcher does (plain_matcher.py), for random rules and requests in both modes.

Rules and requests come from a few words, so that they meet; each test counts how often they did.
"""

from __future__ import annotations

import re
from collections import Counter
from random import Random
from urllib.parse import quote

import pytest

from cdn.errors import InvalidInput
from cdn.http.fields import Fields
from cdn.http.target import Target, encode_path
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.path_pattern import parse_pattern
from cdn.sites.rules.redirect_index import Found, Proxy, Redirect, RedirectIndex, Rewrite
from cdn.sites.rules.redirect_reading import RuleParts, rule_from
from cdn.sites.rules.redirect_rule import RedirectRule
from tests.sites.rules import plain_matcher

WORDS = ("a", "b", "a", "b", "é", "x-1")
STANDINS = (":p", ":q", ":pq", ":p_2")
NETLIFY_SEGMENTS = (*WORDS, *STANDINS, "*", "b*")
CLOUDFLARE_SEGMENTS = (
    *(*WORDS, *WORDS, *STANDINS, "*", "*", "a*", "*b", ":p.html", "a:q", ":p-:q", ":p:q", "a*:q", ":p*"),
    *("-:p-*", "-:p-:q", ":p-*-:q"),
)
PATH_SEGMENTS = (*WORDS, *WORDS, "ab", "b.html", "a-b", "-a-b-a-", "aab", "-a-", "", "a..", "...")
QUERIES = ((), (), (), (("k", "1"),), (("k", ":v"),), (("k", ":v"), ("m", "2")))
TARGETS = (
    *("/t", "/:splat", "/t/:p/:q", "/t?x=:p&y=:pq#:splat", "/:p_2-:p", "https://e.com/:splat", "https://e.com"),
    *("/t/:splat.html#f", "/:v/:p", "https://e.com/:v?y=1", "/.:p", "/:splat/:p", "/t/:v"),
)
VALUES = ("1", "1", "2", "é", "a/b", "..", "&=", "//c", "x y")


def random_rule(random: Random, mode: RulesMode, conditional: float) -> RedirectRule | None:
    """None for a rule that a reader refuses."""

    def given(choices: tuple[list[str], ...]) -> list[str]:
        return random.choice(choices) if random.random() < conditional else []

    segments = NETLIFY_SEGMENTS if mode is RulesMode.NETLIFY else CLOUDFLARE_SEGMENTS
    source = "/" + "/".join(random.choices(segments, k=random.choice((0, 1, 1, 2, 2, 3))))
    source += "/" if random.random() < 0.2 and source != "/" else ""
    conditions = {
        "Country": given((["DE"], ["FR", "DE"])),
        "Language": given((["en"], ["en-gb", "de"])),
        "Cookie": given((["c1"], ["c2", "c1"])),
    }
    origin = random.choice(("http://h.com", "https://g.com")) if random.random() < conditional else ""
    parts = RuleParts(
        origin + source,
        random.choice(TARGETS),
        random.choice((301, 302, 200, 404)),
        random.random() < 0.4,
        random.choice(QUERIES) if random.random() < conditional * 2 else (),
        {name: values for name, values in conditions.items() if values},
    )
    try:
        return rule_from(parts, mode)[0]
    except InvalidInput:
        return None


def random_rules(random: Random, mode: RulesMode, most: int) -> list[RedirectRule]:
    conditional = random.choice((0.0, 0.1, 0.4))
    rules = [random_rule(random, mode, conditional) for _ in range(random.randint(1, most))]
    return [rule for rule in rules if rule is not None]


def random_request(random: Random, path: str | None = None) -> plain_matcher.Request:
    if path is None:
        path = "/" + "/".join(random.choices(PATH_SEGMENTS, k=random.choice((0, 1, 1, 2, 2, 3, 4))))
    pairs = [(random.choice("kkmz"), random.choice(VALUES)) for _ in range(random.choice((0, 1, 2, 3)))]
    return plain_matcher.Request(
        path,
        "&".join(f"{name}={quote(value)}" for name, value in pairs),
        random.choice(("h.com", "g.com", "i.com")),
        random.choice(("http", "https")),
        random.choice(("", "DE", "FR")),
        random.choice(("", "en", "en-gb", "de", "fr")),
        frozenset(random.choices(("c1", "c2", "c3"), k=random.randint(0, 2))),
    )


def target_of(request: plain_matcher.Request) -> Target:
    return Target(encode_path(request.path), request.query or None, request.path)


def asking_of(request: plain_matcher.Request) -> Asking:
    lines = [("cookie", "; ".join(f"{name}=1" for name in sorted(request.cookies)))] if request.cookies else []
    if request.language:
        lines.append(("accept-language", f"fr;q=0.3, {request.language}"))
    return Asking(request.host, request.scheme, "GET", Fields(tuple(lines)), lambda: request.country)


def as_plain(found: Found) -> tuple[int, str] | None:
    if found.number == -1:
        return None
    match found.outcome:
        case None:
            return found.number, ""
        case Redirect(location) | Proxy(location):
            return found.number, location
        case Rewrite(path):
            return found.number, path


def compare(seeds: range, mode: RulesMode, most_rules: int) -> Counter[str]:
    """What happened, how often."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        random = Random(seed)
        rules = random_rules(random, mode, most_rules)
        index = RedirectIndex(rules, mode)
        for _ in range(6):
            request, over_file = random_request(random), random.random() < 0.3
            found = index.find(target_of(request), asking_of(request), over_file=over_file)
            plain = plain_matcher.answer(rules, mode, request, over_file=over_file)
            assert as_plain(found) == plain, f"seed {seed}: {request}, over a file: {over_file}, {[*map(str, rules)]}"
            seen["asked"] += 1
            seen["answered"] += plain is not None
            seen["leads nowhere"] += plain is not None and not plain[1]
            seen["not the first rule"] += plain is not None and plain[0] > 0
            seen["not general"] += not found.is_general
    return seen


@pytest.mark.parametrize("mode", RulesMode)
def test_the_index_answers_as_the_plain_matcher_does(mode: RulesMode) -> None:
    seen = compare(range(1500), mode, most_rules=14)
    assert seen["asked"] == 9000
    assert seen["answered"] > 2400
    assert seen["not the first rule"] > 900
    assert seen["leads nowhere"] > 0
    assert seen["not general"] > 300


def published_expression(source: str) -> re.Pattern[str]:
    """How Cloudflare's workers-sdk makes an expression of a source."""
    literal = "(?P<splat>.*)".join(re.escape(part) for part in source.split("*"))
    return re.compile(re.sub(r":([A-Za-z]\w*)", r"(?P<\1>[^/]+)", literal, flags=re.ASCII), re.DOTALL)


def test_patterns_find_what_cloudflares_expressions_find() -> None:
    matched = 0
    for seed in range(1500):
        random = Random(seed)
        source = "/" + "/".join(random.choices(CLOUDFLARE_SEGMENTS, k=random.choice((0, 1, 1, 2, 2, 3))))
        try:
            pattern = parse_pattern(source, RulesMode.CLOUDFLARE)
        except InvalidInput:
            continue
        expression = published_expression(source)
        for _ in range(8):
            path = random_request(random).path
            theirs = expression.fullmatch(path)
            assert pattern.match(path) == (None if theirs is None else theirs.groupdict()), (source, path)
            matched += theirs is not None
    assert matched > 500


@pytest.mark.soak
@pytest.mark.parametrize("mode", RulesMode)
def test_the_index_answers_as_the_plain_matcher_does_for_long(mode: RulesMode) -> None:
    assert compare(range(10_000, 60_000), mode, most_rules=60)["answered"] > 100_000


@pytest.mark.parametrize("mode", RulesMode)
def test_what_is_general_is_the_same_for_everybody(mode: RulesMode) -> None:
    """And what is not general is so for a reason: some other visitor is answered otherwise, often enough."""
    seen: Counter[str] = Counter()
    for seed in range(1500):
        random = Random(seed)
        rules = random_rules(random, mode, 6)
        index = RedirectIndex(rules, mode)
        first, over_file = random_request(random), random.random() < 0.3
        visitors = [first, *(random_request(random, first.path) for _ in range(5))]
        found = [index.find(target_of(one), asking_of(one), over_file=over_file) for one in visitors]
        same_query = [
            index.find(target_of(first), asking_of(visitor), over_file=over_file).outcome for visitor in visitors
        ]
        if found[0].is_general:
            assert {one.number for one in found} == {found[0].number}, f"seed {seed}: {first} {[*map(str, rules)]}"
            assert all(one.is_general for one in found), f"seed {seed}"
            assert all(outcome == found[0].outcome for outcome in same_query), f"seed {seed}"
        seen["general"] += found[0].is_general
        seen["not general"] += not found[0].is_general
        seen["answered otherwise"] += not found[0].is_general and len({one.number for one in found}) > 1
    assert seen["general"] > 500
    assert seen["not general"] > 80
    assert seen["answered otherwise"] > seen["not general"] / 3
