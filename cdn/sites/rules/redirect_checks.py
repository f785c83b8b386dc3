"""What can only be said of all redirects of a deploy together: limits, rules that loop, rules never reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from cdn.sites.path import INDEX, PAGE_SUFFIX, shown
from cdn.sites.rules.fault import RuleFault
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.path_pattern import PathPattern, parse_pattern
from cdn.sites.rules.redirect_index import RedirectIndex, shape_of
from cdn.sites.rules.redirect_loops import endless_redirects, may_come_back
from cdn.sites.rules.redirect_reading import MAX_FINDINGS, MAX_REDIRECTS, PlacedRule, RedirectsRead
from cdn.sites.rules.redirect_rule import NOT_FOUND, REWRITE, RedirectRule
from cdn.sites.rules.redirect_target import parse_target
from cdn.sites.rules.rules_of_path import Case
from cdn.sites.rules.sample_request import sample_path

MAX_SHAPES = 128
"""Kinds of patterns (segments, and where placeholders stand): a request is looked up once in each."""

MAX_TRIED = 100
"""Patterns with a placeholder or splat inside: tried one by one. Cloudflare Pages takes 100 with any."""

MAX_CASES = 32
"""Kinds of conditions of rules of one pattern: which parameters they look at, and whether at host and scheme."""

MAX_ALIKE = 300
"""Rules of one pattern, host and query that differ in country, language or cookie: one for each country there is."""


def check_redirects(rules: Sequence[PlacedRule], mode: RulesMode, files: Collection[str]) -> RedirectsRead:
    """All rules of a deploy, in the order in which they count (`_redirects` before the tables of netlify.toml), with
    what is wrong between them. `files` are the paths of the bundle. The rules of the answer are those that count.

    Takes some hundred microseconds for each rule.
    """
    faults = _beyond_limits(rules, mode)
    warnings: list[RuleFault] = []
    if not faults:
        index = RedirectIndex([placed.rule for placed in rules], mode)
        faults, warnings = endless_redirects(rules, index, mode, files)
        warnings += _warnings(rules, index, mode, files)
    return RedirectsRead(tuple(rules), tuple(faults[:MAX_FINDINGS]), tuple(warnings[:MAX_FINDINGS]))


def _beyond_limits(rules: Sequence[PlacedRule], mode: RulesMode) -> list[RuleFault]:
    """One fault for each limit, at the first rule beyond it."""
    if len(rules) > MAX_REDIRECTS:
        first = rules[MAX_REDIRECTS]
        return [first.fault(f"a deploy has at most {MAX_REDIRECTS} redirects, and these are {len(rules)}")]
    faults: dict[str, RuleFault] = {}
    shapes: set[object] = set()
    tried: set[PathPattern] = set()
    cases: dict[PathPattern, set[Case]] = {}
    alike: Counter[object] = Counter()
    for placed in rules:
        pattern = parse_pattern(placed.rule.source, mode)
        shape = shape_of(pattern)
        if shape is None:
            tried.add(pattern)
        elif not pattern.is_static:
            shapes.add(shape)
        case = Case.of(placed.rule)
        of_pattern = cases.setdefault(pattern, set())
        of_pattern.add(case)
        key = (pattern, case, case.key_of_rule(placed.rule))
        alike[key] += 1
        for message, count, most in (
            ("kinds of patterns (number of segments, places of placeholders)", len(shapes), MAX_SHAPES),
            ('patterns with a placeholder inside a segment or a "*" before the end', len(tried), MAX_TRIED),
            ("kinds of conditions for one source", len(of_pattern), MAX_CASES),
            ("rules for one source that differ in country, language or cookie alone", alike[key], MAX_ALIKE),
        ):
            if count > most:
                faults.setdefault(message, placed.fault(f"there are more than {most} {message}: use fewer"))
    return list(faults.values())


def _warnings(
    rules: Sequence[PlacedRule], index: RedirectIndex, mode: RulesMode, files: Collection[str]
) -> list[RuleFault]:
    found = []
    for number, placed in enumerate(rules):
        pattern = parse_pattern(placed.rule.source, mode)
        before = _answered_before(number, pattern, index, rules, mode)
        if before is not None:
            found.append(placed.fault(f"never reached: {_place(before)} covers the same paths before it"))
        elif may_come_back(placed.rule, pattern, files):
            found.append(
                placed.fault(
                    "if that host is a domain of this site too, this never ends: write the host into the source"
                )
            )
        page = _absent_page(placed.rule, pattern, files)
        if page is not None:
            hint = ": functions are not run here" if page.startswith("/.netlify/") else ""
            found.append(placed.fault(f"the deploy has no file for {shown(page)}{hint}"))
    return found


def _place(placed: PlacedRule) -> str:
    return f"{placed.file}:{placed.line}" if placed.line else placed.text


def _answered_before(
    number: int, pattern: PathPattern, index: RedirectIndex, rules: Sequence[PlacedRule], mode: RulesMode
) -> PlacedRule | None:
    """The rule without conditions that answers everything this one would. A splat is covered by a splat alone."""
    first = min(covering.first_plain for covering in index.covering(sample_path(pattern)))
    if first >= number:
        return None
    before = parse_pattern(rules[first].rule.source, mode)
    return rules[first] if before.has_splat or not pattern.has_splat else None


def _absent_page(rule: RedirectRule, pattern: PathPattern, files: Collection[str]) -> str | None:
    """The page that a rule answers with, when it is one page and not there."""
    if not files or rule.status not in {REWRITE, NOT_FOUND} or not rule.target.startswith("/"):
        return None
    names = (*pattern.names, *(value[1:] for _, value in rule.query if value.startswith(":")))
    target = parse_target(rule.target, names, rule.status)
    page = None if target.decoded_path.names else target.page({})
    return None if page is None or has_page(page, files) else page


def has_page(path: str, files: Collection[str]) -> bool:
    """Whether a file of the deploy answers for a path, under its own name or the clean one."""
    if path.endswith("/"):
        return path + INDEX in files
    return path in files or path + PAGE_SUFFIX in files or f"{path}/{INDEX}" in files
