"""The file `_redirects`: one rule per line, as Netlify and as Cloudflare Pages read it."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.sites.rules.fault import RuleFault
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_rule import RedirectRule


@dataclass(frozen=True, slots=True)
class PlacedRule:
    """A rule and where it stands, for messages. `text` is what stands there."""

    rule: RedirectRule
    file: str
    line: int
    text: str

    def fault(self, message: str) -> RuleFault:
        """What is wrong (or doubtful) about this rule."""
        return RuleFault(self.file, self.line, self.text, message)


@dataclass(frozen=True, slots=True)
class RedirectsRead:
    """The rules of one file that can be used, in its order, and everything there is to say about the others."""

    rules: tuple[PlacedRule, ...] = ()
    faults: tuple[RuleFault, ...] = ()
    warnings: tuple[RuleFault, ...] = ()


def read_redirects(content: bytes, mode: RulesMode, file: str = "_redirects") -> RedirectsRead:
    """The rules of a `_redirects` file. Never raises: what is wrong is a fault, all of them at once."""
    raise NotImplementedError
