"""The rules of one pattern, and which of them is the first whose conditions a visitor meets."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdn.sites.rules.redirect_conditions import Visitor
from cdn.sites.rules.redirect_rule import RedirectRule

NEVER = 1 << 30
"""A number beyond every rule's."""


@dataclass(frozen=True, slots=True)
class Case:
    """What kind of conditions rules have: the parameters they compare, those they only want to be there, and whether
    they name host or scheme. Rules of one case are found by one look-up of what the request has there."""

    has_host: bool
    has_scheme: bool
    compared: tuple[str, ...]
    wanted: tuple[str, ...]

    @classmethod
    def of(cls, rule: RedirectRule) -> Case:
        """The case that a rule belongs to."""
        compared = tuple(sorted(name for name, value in rule.query if not value.startswith(":")))
        wanted = tuple(sorted(name for name, value in rule.query if value.startswith(":")))
        return cls(rule.host != "", rule.scheme != "", compared, wanted)

    def key_of_rule(self, rule: RedirectRule) -> tuple[str, ...]:
        """Under which a rule of this case stands."""
        values = dict(rule.query)
        return (rule.host, rule.scheme, *(values[name] for name in self.compared))

    def key_of_visitor(self, visitor: Visitor) -> tuple[str, ...] | None:
        """Under which the rules stand that this visitor may meet; None when there are none."""
        host = visitor.host if self.has_host else ""
        scheme = visitor.scheme if self.has_scheme else ""
        if not self.compared and not self.wanted:
            return (host, scheme)
        params = visitor.params
        if any(name not in params for name in (*self.wanted, *self.compared)):
            return None
        return (host, scheme, *(params[name] for name in self.compared))


@dataclass(slots=True)
class RulesOfPath:
    """Rules are known by their numbers. Those behind one without conditions are never reached and not kept."""

    first_plain: int = NEVER
    first_conditional: int = NEVER
    has_forced: bool = False
    cases: dict[Case, dict[tuple[str, ...], list[tuple[int, RedirectRule]]]] = field(default_factory=dict)

    def add(self, number: int, rule: RedirectRule) -> None:
        """The next rule, in the order of their numbers."""
        if self.first_plain != NEVER:
            return
        self.has_forced = self.has_forced or rule.is_forced
        if not rule.is_conditional:
            self.first_plain = number
            return
        self.first_conditional = min(self.first_conditional, number)
        case = Case.of(rule)
        self.cases.setdefault(case, {}).setdefault(case.key_of_rule(rule), []).append((number, rule))

    def first_for(self, visitor: Visitor) -> int:
        """The number of the first rule whose conditions hold, NEVER when there is none."""
        best = self.first_plain
        for case, by_key in self.cases.items():
            key = case.key_of_visitor(visitor)
            for number, rule in () if key is None else by_key.get(key, ()):
                if number >= best:
                    break
                if visitor.meets(rule):
                    best = number
                    break
        return best
