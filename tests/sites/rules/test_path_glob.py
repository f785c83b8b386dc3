"""Patterns of paths against regular expressions; an index finds what trying all of them finds."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput
from cdn.sites.rules.path_glob import SPLAT, PathGlob, check_glob
from cdn.sites.rules.path_index import PathIndex

SEGMENTS = st.sampled_from(["a", "b", "ab", "a.b", ":x", ":y", "*", "a*", "*.b", "p:x", ":xq", "é", ""])
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "a.b", "pa", "bq", "é", "", ":x", "*"]), max_size=6).map(
    lambda parts: "/" + "/".join(parts)
)


def is_pattern(text: str, *, is_strict: bool) -> bool:
    try:
        check_glob(text, is_strict=is_strict)
    except InvalidInput:
        return False
    return True


def expression_of(pattern: str, *, is_strict: bool) -> re.Pattern[str]:
    """The same in the words of regular expressions; greedy, and with backtracking."""
    wild = r":([A-Za-z]\w*)" if is_strict else r"(?<![^/]):([^/*:]+)(?![^/])"
    text, at = "", 0
    for found in re.finditer(rf"(\*)|{wild}", pattern, re.ASCII):
        text += re.escape(pattern[at : found.start()])
        text += "(.*)" if found[1] else "([^/]+)"
        at = found.end()
    return re.compile(text + re.escape(pattern[at:]), re.DOTALL)


def covers(pattern: str, path: str, *, is_strict: bool) -> bool:
    expression = expression_of(pattern, is_strict=is_strict)
    if expression.fullmatch(path):
        return True
    if is_strict:
        return False
    if pattern.endswith("*"):
        return pattern.endswith("/*") and expression.fullmatch(path + "/") is not None
    if pattern.endswith("/") == path.endswith("/"):
        return False
    shorter = expression_of(pattern.removesuffix("/"), is_strict=is_strict)
    return shorter.fullmatch(path.removesuffix("/")) is not None


@given(PATTERNS, PATHS, st.booleans())
def test_a_pattern_covers_what_its_expression_does(pattern: str, path: str, is_strict: bool) -> None:
    if is_pattern(pattern, is_strict=is_strict):
        found = PathGlob(pattern, is_strict).match(path)
        assert (found is not None) == covers(pattern, path, is_strict=is_strict), expression_of(
            pattern, is_strict=is_strict
        )


@given(PATTERNS, PATHS)
def test_what_was_found_put_back_gives_the_path(pattern: str, path: str) -> None:
    if is_pattern(pattern, is_strict=True) and pattern.count("*") < 2:
        glob = PathGlob(pattern, is_strict=True)
        found = glob.match(path)
        if found is not None:
            assert found.keys() == glob.names
            again = re.sub(r":([A-Za-z]\w*)", lambda each: found[each[1]], pattern, flags=re.ASCII)
            assert again.replace("*", found.get(SPLAT, ""), 1) == path or "*" in path


@given(st.lists(st.tuples(PATTERNS, st.booleans()), max_size=8), st.lists(PATHS, min_size=1, max_size=3))
def test_an_index_finds_what_trying_all_finds(given_patterns: list[tuple[str, bool]], paths: list[str]) -> None:
    globs = [PathGlob(*each) for each in given_patterns if is_pattern(each[0], is_strict=each[1])]
    expected = [n for n, glob in enumerate(globs) if any(glob.match(path) is not None for path in paths)]
    assert [number for number, _ in PathIndex(globs).covering(paths)] == expected


def test_an_index_says_what_the_first_path_found() -> None:
    index = PathIndex([PathGlob("/:x/b")])
    assert index.covering(["/no", "/1/b", "/2/b"]) == [(0, {"x": "1"})]
    assert PathIndex([]).covering(["/"]) == []


def test_rules_of_other_folders_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def match(self: PathGlob, path: str) -> None:
        tried.append(self.source)

    index = PathIndex(
        [PathGlob(f"/folder{number}/*") for number in range(1000)] + [PathGlob("/*.js"), PathGlob("/a/b")]
    )
    monkeypatch.setattr(PathGlob, "match", match)
    index.covering(("/folder7/a/b/c.html", "/a/b"))
    assert tried == ["/*.js", "/folder7/*", "/*.js", "/a/b"]


@pytest.mark.parametrize("pattern", ["/*a*a*a*a*a*a*a*b", "/:x/*" + "a" * 900 + "/:y/b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    started = time.perf_counter()
    PathGlob(check_glob(pattern), is_strict=True).match("/" + "a" * 8000 + "/" + "a/" * 4000)
    assert time.perf_counter() - started < 0.1


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("", "start with"),
        ("a", "start with"),
        ("/" + "a" * 1024, "more than 1024"),
        ("/a\x00", "no path has"),
        ("/*" * 9, "8 stars"),
        ("/:a/*/*", "one star beside placeholders"),
        ("/".join(["", *(f":p{n}" for n in range(17))]), "more than 16 placeholders"),
        ("/:a/:a", "twice"),
    ],
)
def test_what_is_no_pattern(pattern: str, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        check_glob(pattern)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("/a", set()), ("/*", {"splat"}), ("/*/*", set()), ("/:a/*", {"a", "splat"}), ("/:a", {"a"}), ("/12:30", set())],
)
def test_names_that_values_can_repeat(pattern: str, names: set[str]) -> None:
    assert PathGlob(pattern).names == names
