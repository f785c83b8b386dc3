"""Bounds of redirects: each is a fault that names the limit, and none costs time out of proportion."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from time import process_time

import pytest

from cdn.errors import InvalidInput
from cdn.http.target import Target, encode_path
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.path_pattern import parse_pattern
from cdn.sites.rules.redirect_checks import check_redirects
from cdn.sites.rules.redirect_form import redirects_from, redirects_to
from cdn.sites.rules.redirect_index import RedirectIndex
from cdn.sites.rules.redirect_reading import MAX_FINDINGS, RedirectsRead
from cdn.sites.rules.redirect_rule import RedirectRule
from cdn.sites.rules.redirects_file import read_redirects

NETLIFY, CLOUDFLARE = RulesMode.NETLIFY, RulesMode.CLOUDFLARE


def read(lines: list[str], mode: RulesMode = NETLIFY) -> RedirectsRead:
    return read_redirects("\n".join(lines).encode(), mode)


def the_fault(lines: list[str], mode: RulesMode = NETLIFY) -> str:
    """The only fault, of reading or of what is between the rules."""
    found = read(lines, mode)
    faults = [*found.faults, *check_redirects(found.rules, mode, ()).faults]
    assert len(faults) == 1, faults
    return str(faults[0])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["/" + "a" * 2048 + " /b"], "the path has 2049 characters, at most 2048 are allowed"),
        (["/a /" + "b" * 2048], "the target has 2049 characters, at most 2048 are allowed"),
        (["/a" * 65 + " /b"], "the path has 65 segments, at most 64 are allowed"),
        (["".join(f"/:p{n}" for n in range(17)) + " /b"], "has 17 placeholders, at most 16 are allowed"),
        (["/:a /" + ":a" * 33], "the target has 33 placeholders, at most 32 are allowed"),
        (["/a " + " ".join(f"p{n}=1" for n in range(17)) + " /b"], "looks at 17 parameters, at most 16 are allowed"),
        (["/a /b 301 Cookie=" + ",".join(f"c{n}" for n in range(301))], "1 to 300 values, and this one has 301"),
        (["/a /b #" + "c" * 8190], "the line has 8197 characters, at most 8192 are allowed"),
        ([f"/a{n} /b" for n in range(10_001)], "_redirects:10001: /a10000 /b: a deploy has at most 10000 redirects"),
        (
            ["/b" * n + "/:x" + "/c" * m + " /b" for n in range(12) for m in range(11)],
            "more than 128 kinds of patterns",
        ),
        ([f"/a{n}* /b" for n in range(101)], "more than 100 patterns with a placeholder inside"),
        ([f"/a p{n}=1 /b" for n in range(33)], "more than 32 kinds of conditions"),
        ([f"/a /b 302 Cookie=c{n}" for n in range(301)], "more than 300 rules for one source"),
    ],
)
def test_what_is_beyond_a_limit_is_refused(lines: list[str], words: str) -> None:
    assert words in the_fault(lines)


def test_at_the_limits_all_is_well() -> None:
    lines = [f"/a{n} /b" for n in range(9000)] + [f"/p{n}/:x /b/:x" for n in range(1000)]
    found = read(lines)
    assert (len(found.rules), found.faults) == (10_000, ())
    assert check_redirects(found.rules, NETLIFY, ()).faults == ()


def test_all_rules_of_a_deploy_count_together() -> None:
    found = read([f"/a{n} /b" for n in range(6000)])
    faults = check_redirects(found.rules * 2, NETLIFY, ()).faults
    assert [str(fault) for fault in faults] == [
        "_redirects:4001: /a4000 /b: a deploy has at most 10000 redirects, and these are 12000"
    ]


def test_a_thousand_mistakes_are_one() -> None:
    found = read(["nonsense"] * 5000)
    assert len(found.faults) == MAX_FINDINGS + 1
    assert "reading stopped there" in str(found.faults[-1])
    assert len(read([f"/a{n} /:b" for n in range(2000)]).warnings) == MAX_FINDINGS


def test_a_file_that_is_not_text() -> None:
    assert str(read_redirects(b"/a /b\n/\xff /c", NETLIFY).faults[0]) == (
        "_redirects:2: the file is not UTF-8: save it in that encoding"
    )
    assert str(read_redirects(b"\xef\xbb\xbf/a /b\r\n", NETLIFY).rules[0].rule) == "/a /b 301"


def test_a_rule_in_a_message_is_short_and_one_line() -> None:
    fault = read(["/a\x1b[2J /" + "b" * 3000]).faults[0]
    assert len(fault.rule) == 160
    assert fault.rule.startswith("/a [2J /bb")


def test_limits_of_cloudflare_are_warnings() -> None:
    many = read([*(f"/a{n} /b" for n in range(2001)), *(f"/p{n}/* /b" for n in range(101))], CLOUDFLARE)
    assert [warning.message for warning in many.warnings] == [
        "Cloudflare Pages takes 2000 static rules, and there are 2001; all work here",
        "Cloudflare Pages takes 100 dynamic rules, and there are 101; all work here",
    ]
    assert many.faults == ()
    assert len(many.rules) == 2102
    long = read(["/a /" + "b" * 1000], CLOUDFLARE)
    assert "Cloudflare Pages takes 1000 characters" in str(long.warnings[0])


def location_of(rule: str, path: str, query: str | None = None) -> object:
    index = RedirectIndex([read([rule]).rules[0].rule], NETLIFY)
    return index.find(Target(encode_path(path), query, path), Asking())


def test_a_location_has_a_bound() -> None:
    assert "nowhere" not in str(location_of("/a/* /" + ":splat/" * 30, "/a/" + "b" * 200))
    found = location_of("/a/* /" + ":splat/" * 30, "/a/" + "b" * 300)
    assert (found.outcome, found.number) == (None, 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("/" + ":a-" * 1, "/" + "-" * 4000),
        ("/" + "-".join(f":p{n}" for n in range(15)) + "!", "/" + "-" * 4000),
        ("/" + "".join(f":p{n}" for n in range(15)) + "!", "/" + "a" * 4000),
        ("/:a" + "x" * 500 + ":b" + "x" * 500 + "y:c", "/" + "x" * 8000),
        ("/:a/*" + "ab" * 300 + ":c-", "/x/" + "ab" * 4000),
    ],
)
def test_matching_never_goes_back(source: str, path: str) -> None:
    """A matcher that goes back would take longer than anybody waits; ours looks at each character a few times."""
    pattern = parse_pattern(source, CLOUDFLARE)

    def cost(of: str) -> float:
        def once() -> float:
            started = process_time()
            pattern.match(of)
            return process_time() - started

        return min(once() for _ in range(5))

    assert cost(path) < 0.01


@pytest.mark.parametrize("broken", [{"source": "x"}, {"target": "x"}, {"target": "javascript:1"}])
def test_an_index_refuses_what_no_rule_file_could_say(broken: dict[str, str]) -> None:
    make: Callable[..., RedirectRule] = RedirectRule
    with pytest.raises(InvalidInput):
        RedirectIndex([make(**({"source": "/a", "target": "/b"} | broken))], NETLIFY)


def test_loops_are_looked_for_in_bounds() -> None:
    """Each of these leads through twenty rules."""
    lines = [f"/a{n} /a{n + 1} 302!" for n in range(3000)]
    found = check_redirects(read(lines).rules, NETLIFY, ())
    assert found.faults
    assert "from here on loops are not looked for" in str(found.warnings[0])


@pytest.mark.parametrize("mode", RulesMode)
def test_no_text_breaks_the_reader(mode: RulesMode) -> None:
    """Whatever stands there comes to rules, faults and warnings, and what rules come of it make an index."""
    words = (
        "/a",
        "/:x",
        "/*",
        "*",
        ":",
        "%",
        "%2",
        "%ff",
        "//",
        "http://h",
        "https://h/",
        "x=:y",
        "=",
        "301",
        "200!",
        "é",
    )
    others = ("#", "\t", "\r", "\0", "Country=de", "Role=x", "?", "\\", "..", "a" * 300, "@", "[::1]", "[", "x=", "404")
    for seed in range(1500):
        random = Random(seed)
        lines = [
            "".join(random.choice(("", "", " ")) + random.choice(words + others) for _ in range(random.randint(1, 7)))
            for _ in range(random.randint(1, 5))
        ]
        found = read(lines, mode)
        checked = check_redirects(found.rules, mode, ("/a",))
        assert all(str(fault).startswith("_redirects:") for fault in (*found.faults, *checked.faults))
        index = RedirectIndex([placed.rule for placed in found.rules], mode)
        index.find(Target("/a", "x=1", "/a"), Asking("h"))
        assert redirects_from(redirects_to([placed.rule for placed in found.rules])) == tuple(
            placed.rule for placed in found.rules
        )


def test_a_location_that_is_too_long_for_its_query_says_nothing_of_other_queries() -> None:
    index = RedirectIndex([RedirectRule("/long/*", "/:splat" * 16, 302)], NETLIFY)
    path = "/long/" + "x" * 500
    too_long, short = (index.find(Target(path, query, path), Asking()) for query in ("q" * 400, None))
    assert (too_long.outcome, too_long.is_general) == (None, False)
    assert short.outcome is not None
    assert short.is_general
