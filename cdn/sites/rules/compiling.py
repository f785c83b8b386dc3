"""From the texts of a bundle's rule files to rules, or to every fault in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cdn.sites.rules.fault import RuleFault
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.rule_set import NO_RULES, RuleSet

MAX_RULE_FILE_BYTES = 1024 * 1024
"""One rule file: 10,000 rules of a hundred octets."""


@dataclass(frozen=True, slots=True)
class CompiledRules:
    """`rules` count only without `faults`. `warnings` do not keep a deploy from being made."""

    rules: RuleSet = NO_RULES
    faults: tuple[RuleFault, ...] = ()
    warnings: tuple[RuleFault, ...] = ()


def compile_rules(texts: Mapping[str, bytes], mode: RulesMode, files: Collection[str]) -> CompiledRules:
    """The rules in `texts`: content by the name of a rule file (`RULE_FILES`). `files` are the paths of the bundle, to
    say which targets do not exist. Never raises: what is wrong is a fault, all of them at once."""
    raise NotImplementedError
