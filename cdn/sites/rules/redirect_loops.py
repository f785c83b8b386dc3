"""Redirects that never end: found by following each with a request that it covers, as a browser would."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from cdn.http.target import Target, parse_host, parse_target
from cdn.sites.path import INDEX, PAGE_SUFFIX
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.fault import RuleFault
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.path_pattern import PathPattern, parse_pattern
from cdn.sites.rules.redirect_index import Redirect, RedirectIndex
from cdn.sites.rules.redirect_reading import PlacedRule
from cdn.sites.rules.redirect_rule import REDIRECT_STATUSES, RedirectRule
from cdn.sites.rules.sample_request import sample_asking, sample_target

MAX_HOPS = 20
"""Redirects that browsers follow (Fetch, section 4.4)."""

MAX_STEPS = 40_000
"""Redirects followed for one deploy: several for each rule of a large one. Further on nobody looks for loops."""

_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)([^#]*)")


def endless_redirects(
    rules: Sequence[PlacedRule], index: RedirectIndex, mode: RulesMode, files: Collection[str]
) -> tuple[list[RuleFault], list[RuleFault]]:
    """A fault, or a warning, for each loop, at its first rule. Each was walked through: there is a request without end.

    It is a warning where only requests for files that are absent go round, as in `/en/* /en-gb/:splat` with a way back.
    """
    hosts = frozenset(placed.rule.host for placed in rules if placed.rule.host)
    faults: list[RuleFault] = []
    warnings: list[RuleFault] = []
    known: set[frozenset[int]] = set()
    steps = 0
    for number, placed in enumerate(rules):
        if placed.rule.status not in REDIRECT_STATUSES:
            continue
        if steps >= MAX_STEPS:
            warnings.append(placed.fault(f"{steps} redirects were followed; from here on loops are not looked for"))
            break
        target = sample_target(placed.rule, parse_pattern(placed.rule.source, mode))
        walked, urls, what = _walk(target, sample_asking(placed.rule), index, files, hosts)
        steps += len(walked) + 1
        if what and number in walked and frozenset(walked) not in known:
            known.add(frozenset(walked))
            way = f"{what}: {' to '.join(urls[:4])}"
            if any(_stops_at_files(rules[one].rule, mode) for one in walked):
                warnings.append(placed.fault(f"where the deploy has no file it {way}"))
            else:
                faults.append(placed.fault(f"it {way}"))
    return faults, warnings


def _walk(
    target: Target, asking: Asking, index: RedirectIndex, files: Collection[str], hosts: Collection[str]
) -> tuple[list[int], list[str], str]:
    """The rules on the way, its URLs, and what is wrong with it, "" when it ends."""
    numbers: list[int] = []
    urls = [target.path]
    seen = set()
    while len(urls) <= MAX_HOPS:
        place = (target.path, target.query, asking.host, asking.scheme)
        if place in seen:
            return numbers, urls, "never ends"
        seen.add(place)
        path = target.decoded_path
        found = index.find(target, asking, over_file=_has_page(path, files))
        if isinstance(found.outcome, Redirect):
            numbers.append(found.number)
            urls.append(found.outcome.location)
            step = _follow(found.outcome.location, asking, hosts)
        elif found.outcome is None and _is_folder(path, files):
            urls.append(target.path + "/")
            step = (Target(target.path + "/", target.query, path + "/"), asking)
        else:
            return numbers, urls, ""
        if step is None:
            return numbers, urls, ""
        target, asking = step
    return numbers, urls, f"leads through more than {MAX_HOPS} redirects, where browsers give up"


def _stops_at_files(rule: RedirectRule, mode: RulesMode) -> bool:
    """Whether there may be a file for some of the paths that it covers, so that it does not count for them."""
    return mode is RulesMode.NETLIFY and not rule.is_forced and not parse_pattern(rule.source, mode).is_static


def _follow(location: str, asking: Asking, hosts: Collection[str]) -> tuple[Target, Asking] | None:
    """The request that a browser makes next, when this site surely gets it."""
    absolute = _ABSOLUTE.match(location)
    reference = location.partition("#")[0]
    if absolute is not None:
        host = parse_host(absolute[2])
        if host is None or host.port is not None or (host.name not in hosts and host.name != asking.host):
            return None
        asking = replace(asking, host=host.name, scheme=absolute[1])
        reference = absolute[3]
    target = parse_target(reference.encode("latin-1", "replace"))
    return (target, asking) if isinstance(target, Target) else None


def may_come_back(rule: RedirectRule, pattern: PathPattern, files: Collection[str]) -> bool:
    """Whether a redirect to another host would be covered by its own rule there, if this site answered there too."""
    absolute = _ABSOLUTE.match(rule.target)
    if absolute is None or rule.host or rule.status not in REDIRECT_STATUSES:
        return False
    index = RedirectIndex([rule], pattern.mode)
    target, asking = sample_target(rule, pattern), sample_asking(rule)
    outcome = index.find(target, asking).outcome
    step = _follow(outcome.location, asking, [_host_of(outcome.location)]) if isinstance(outcome, Redirect) else None
    if step is None:
        return False
    return index.find(*step, over_file=_has_page(step[0].decoded_path, files)).number == 0


def _host_of(location: str) -> str:
    absolute = _ABSOLUTE.match(location)
    host = parse_host(absolute[2]) if absolute is not None else None
    return host.name if host is not None else ""


def _has_page(path: str, files: Collection[str]) -> bool:
    """Whether the deploy itself answers for a path, so that rules which are not forced come after it."""
    return _has_file(path, files) or _is_folder(path, files)


def _has_file(path: str, files: Collection[str]) -> bool:
    return path + INDEX in files if path.endswith("/") else path in files or path + PAGE_SUFFIX in files


def _is_folder(path: str, files: Collection[str]) -> bool:
    """Whether the deploy redirects to the clean address of a folder, which has a slash at its end."""
    return not _has_file(path, files) and f"{path}/{INDEX}" in files
