"""Which rule answers a request: the first in order that covers it, at a cost that does not grow with their number.

Rules of one path stand together in a dict. Rules with placeholders stand in one dict for each *shape*: the same number
of segments, placeholders at the same places. A request is looked up once in each, and few shapes serve many rules. Only
patterns that have placeholders within segments, or a splat before their end, are tried one after the other; of shapes
and of such patterns there may be only so many (redirect_checks.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from cdn.http.target import Target
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.path_pattern import Captures, Hole, PathPattern, parse_pattern, segments_of
from cdn.sites.rules.redirect_conditions import Visitor
from cdn.sites.rules.redirect_rule import NOT_FOUND, REWRITE, RedirectRule
from cdn.sites.rules.redirect_target import RedirectTarget, parse_target
from cdn.sites.rules.rules_of_path import NEVER, RulesOfPath


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer `status` (301 to 308) with this Location: an absolute path or an absolute URL, percent-encoded, with the
    query of the request where the rule names none."""

    location: str
    status: int


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What the deploy has at `path` (decoded, starts with "/") answers under the address that was asked for, with
    `status` 200 or 404. Rules are not asked again for `path`; when nothing is there the target is absent."""

    path: str
    status: int = 200


@dataclass(frozen=True, slots=True)
class Proxy:
    """Another server answers: `url` is absolute http or https, percent-encoded, with path and query."""

    url: str


RedirectOutcome = Redirect | Rewrite | Proxy


@dataclass(frozen=True, slots=True)
class Found:
    """`outcome` is None where no rule answers; `number` is the rule's place among the site's redirects, -1 for none.

    A rule with a number and no outcome covers the request and leads nowhere: what the visitor wrote would have made
    something else of its target. `is_general`: every request for this path gets this outcome (the query that a
    Location passes on aside); otherwise a rule that covers the path looks at more of a request than its path.
    `is_fallback`: the rule stands in for whatever is absent (200 or 404 for a pattern that ends in `*`), so that a file
    kept of an earlier deploy may go before it.
    """

    outcome: RedirectOutcome | None = None
    number: int = -1
    is_general: bool = True
    is_fallback: bool = False


NOTHING = Found()
NOTHING_FOR_THIS_VISITOR = Found(is_general=False)


class _Compiled:
    """One rule, read."""

    __slots__ = ("fixed", "is_fallback", "is_forced", "pattern", "rule", "target", "used")

    def __init__(self, rule: RedirectRule, mode: RulesMode) -> None:
        self.rule = rule
        self.is_forced = rule.is_forced or mode is RulesMode.CLOUDFLARE
        self.is_fallback = rule.is_fallback
        self.pattern = parse_pattern(rule.source, mode)
        self.used = frozenset(name for name, _ in rule.query)
        names = (*self.pattern.names, *(value[1:] for _, value in rule.query if value.startswith(":")))
        self.target: RedirectTarget = parse_target(rule.target, names, rule.status)
        self.fixed: RedirectOutcome | None = None
        if self.target.is_fixed and not rule.query:
            self.fixed = self._outcome({}, None)

    def outcome(self, target: Target, visitor: Visitor) -> RedirectOutcome | None:
        if self.fixed is not None and (target.query is None or not isinstance(self.fixed, Redirect | Proxy)):
            return self.fixed
        captures: Captures = self.pattern.match(target.decoded_path) or {}
        for name, value in self.rule.query:
            if value.startswith(":"):
                captures[value[1:]] = visitor.params[name]
        return self._outcome(captures, target.query)

    def _outcome(self, captures: Captures, query: str | None) -> RedirectOutcome | None:
        status = self.rule.status
        if status in {REWRITE, NOT_FOUND} and not self.target.is_absolute:
            page = self.target.page(captures)
            return None if page is None else Rewrite(page, status)
        url = self.target.url(captures, query, self.used)
        if url is None:
            return None
        return Proxy(url) if status == REWRITE else Redirect(url, status)


Key = str | tuple[str, ...]


class _Shape:
    """Patterns that differ in their literals alone."""

    __slots__ = ("at", "by_literals", "holes", "least", "most")

    def __init__(self, pattern: PathPattern) -> None:
        count = len(pattern.head)
        literals = [n for n, segment in enumerate(pattern.head) if isinstance(segment, str)]
        self.holes = [n for n, segment in enumerate(pattern.head) if isinstance(segment, Hole)]
        self.at: Callable[[Sequence[str]], Key] = itemgetter(*literals) if literals else _nothing
        self.least = count + (pattern.has_splat and pattern.mode is RulesMode.CLOUDFLARE)
        self.most = None if pattern.has_splat else count
        self.by_literals: dict[Key, RulesOfPath] = {}

    def find(self, segments: list[str]) -> RulesOfPath | None:
        """The rules whose pattern covers a path of these segments."""
        count = len(segments)
        if count < self.least or (self.most is not None and count > self.most):
            return None
        found = self.by_literals.get(self.at(segments))
        return found if found is not None and all(segments[hole] for hole in self.holes) else None


def _nothing(_: Sequence[str]) -> Key:
    return ""


def shape_of(pattern: PathPattern) -> tuple[object, ...] | None:
    """What patterns have in common that are found by one look-up; None for a pattern that has to be tried."""
    if not pattern.is_plain:
        return None
    return (pattern.has_splat, *(isinstance(segment, Hole) for segment in pattern.head))


class RedirectIndex:
    """Immutable once made. Made when a manifest is loaded, some ten microseconds per rule."""

    def __init__(self, rules: Sequence[RedirectRule], mode: RulesMode) -> None:
        """Raises InvalidInput when a rule is none that a rule file could have said."""
        self._mode = mode
        self._compiled = [_Compiled(rule, mode) for rule in rules]
        self._exact: dict[str, RulesOfPath] = {}
        self._shapes: dict[object, _Shape] = {}
        self._tried: dict[PathPattern, RulesOfPath] = {}
        self._has_forced = mode is RulesMode.CLOUDFLARE or any(rule.is_forced for rule in rules)
        for number, compiled in enumerate(self._compiled):
            self._place(compiled.pattern).add(number, compiled.rule)

    def find(self, target: Target, asking: Asking, *, over_file: bool = False) -> Found:
        """What the rules say about a request. `over_file`: the deploy has a file there, so a rule counts only when it
        is forced (in CLOUDFLARE mode all are); the first rule that covers the request decides, forced or not."""
        if not self._compiled or (over_file and not self._has_forced):
            return NOTHING
        covering = self.covering(target.decoded_path)
        if not covering or (over_file and not any(self._may_replace_files(rules) for rules in covering)):
            return NOTHING
        visitor = Visitor(target, asking, self._mode)
        number = min(rules.first_for(visitor) for rules in covering)
        if number == NEVER:
            return NOTHING_FOR_THIS_VISITOR
        compiled = self._compiled[number]
        is_general = all(rules.first_conditional > number for rules in covering)
        if over_file and not compiled.is_forced:
            return NOTHING if is_general else NOTHING_FOR_THIS_VISITOR
        outcome = compiled.outcome(target, visitor)
        if outcome is None and target.query is not None:
            is_general = False  # with another query the Location may be short enough
        return Found(outcome, number, is_general, compiled.is_fallback)

    def covering(self, path: str) -> list[RulesOfPath]:
        """The rules whose pattern covers a decoded path, those of one pattern together."""
        exact = self._exact.get(path)
        if exact is None and self._mode is RulesMode.NETLIFY and path[-1:] == "/" and path != "//":
            exact = self._exact.get(path[:-1])
        found = [] if exact is None else [exact]
        if not self._shapes and not self._tried:
            return found
        segments = segments_of(path, self._mode)
        for shape in self._shapes.values():
            rules = shape.find(segments)
            if rules is not None:
                found.append(rules)
        found.extend(rules for pattern, rules in self._tried.items() if pattern.fit(path, segments) is not None)
        return found

    def _may_replace_files(self, rules: RulesOfPath) -> bool:
        return rules.has_forced or self._mode is RulesMode.CLOUDFLARE

    def _place(self, pattern: PathPattern) -> RulesOfPath:
        """Where rules of this pattern stand."""
        if pattern.is_static:
            return self._exact.setdefault("/" + "/".join(map(str, pattern.head)), RulesOfPath())
        key = shape_of(pattern)
        if key is None:
            return self._tried.setdefault(pattern, RulesOfPath())
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = _Shape(pattern)
        return shape.by_literals.setdefault(_literals_of(pattern, shape), RulesOfPath())


def _literals_of(pattern: PathPattern, shape: _Shape) -> Key:
    return shape.at(tuple("" if isinstance(segment, Hole) else str(segment) for segment in pattern.head))
