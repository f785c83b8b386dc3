"""All rules of one deploy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_rule import RedirectRule

RULES_VERSION = 1
"""Of the form in which rules stand in a manifest: the version this program writes, and the newest it reads."""

RULE_FILES = ("_redirects", "_headers", "cdn.toml", "netlify.toml")
"""At the root of a bundle: read when it is deployed, never answered."""


@dataclass(frozen=True)
class RuleSet:
    """Immutable. What a request asks of it is computed once, when the manifest is loaded (`prepare`)."""

    mode: RulesMode = RulesMode.NETLIFY
    redirects: tuple[RedirectRule, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether a manifest without rules says the same."""
        return self == NO_RULES

    def prepare(self) -> RuleSet:
        """Compute now what requests look up."""
        return self

    def to_document(self) -> dict[str, Any]:
        """As JSON builtins, what is not the default alone; equal sets give equal documents."""
        raise NotImplementedError


NO_RULES = RuleSet()


def rules_from(document: Any) -> RuleSet:
    """The rules that `to_document` gave. Raises InvalidInput for another version and what is no such document."""
    raise NotImplementedError
