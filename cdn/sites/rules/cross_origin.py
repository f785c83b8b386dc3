"""The CORS protocol's fields for answers and preflights (Fetch standard, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cdn.http.fields import FieldLines
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.cors_rule import ANY_ORIGIN, CorsRule
from cdn.sites.rules.path_glob import PathGlob
from cdn.sites.rules.path_index import PathIndex

_VARY = ("vary", "Origin")


class CrossOrigin:
    """The CORS rules of one deploy. Immutable once made."""

    def __init__(self, rules: Sequence[CorsRule]) -> None:
        self._rules = rules
        self._index = PathIndex([PathGlob(rule.source) for rule in rules])

    def rule_of(self, paths: Iterable[str]) -> CorsRule | None:
        """The first rule that covers one of the decoded `paths`."""
        covering = self._index.covering(paths)
        return self._rules[covering[0][0]] if covering else None

    def fields(self, paths: Iterable[str], asking: Asking) -> tuple[FieldLines, bool]:
        """The fields of an answer, and whether they are the same for every origin that asks.

        A single origin is always named: browsers compare it with the page's, so nothing depends on who asks.
        """
        rule = self.rule_of(paths)
        if rule is None:
            return (), True
        more: list[tuple[str, str]] = []
        if rule.allows_credentials:
            more.append(("access-control-allow-credentials", "true"))
        if rule.exposed:
            more.append(("access-control-expose-headers", ", ".join(rule.exposed)))
        if len(rule.origins) == 1:
            return (("access-control-allow-origin", rule.origins[0]), *more), True
        origin = asking.fields.get("origin")
        if origin is None or origin not in rule.origins:
            return (_VARY,), False
        return (("access-control-allow-origin", origin), *more, _VARY), False

    def preflight(self, path: str, asking: Asking) -> FieldLines | None:
        """The fields of the answer to a preflight; None when the request is none, or no rule covers it.

        What the rule does not allow is left out: the browser then refuses by itself.
        """
        origin, method = asking.fields.get("origin"), asking.fields.get("access-control-request-method")
        rule = self.rule_of((path,))
        if asking.method != "OPTIONS" or origin is None or method is None or rule is None:
            return None
        vary = ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
        if rule.origins != (ANY_ORIGIN,) and origin not in rule.origins:
            return (vary,)
        lines = [
            ("access-control-allow-origin", ANY_ORIGIN if rule.origins == (ANY_ORIGIN,) else origin),
            ("access-control-allow-methods", ", ".join(rule.methods)),
        ]
        if rule.fields:
            lines.append(("access-control-allow-headers", ", ".join(rule.fields)))
        if rule.allows_credentials:
            lines.append(("access-control-allow-credentials", "true"))
        return (*lines, ("access-control-max-age", str(rule.max_age_s)), vary)
