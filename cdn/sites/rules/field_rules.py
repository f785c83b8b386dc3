"""The field rules of a deploy, found by path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cdn.sites.rules.applied_fields import TAG_FIELDS
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.path_glob import PathGlob
from cdn.sites.rules.path_index import PathIndex

Covering = tuple[FieldRule, Mapping[str, str]]
"""A rule, and what its patterns found."""


class FieldRules:
    """Immutable once made."""

    def __init__(self, rules: Sequence[FieldRule]) -> None:
        self._rules = rules
        self._index = PathIndex([glob_of(rule) for rule in rules])
        self._hosts = {rule.host: PathGlob(_as_path(rule.host), is_strict=True) for rule in rules if rule.host}
        tagging = [rule for rule in rules if any(name in TAG_FIELDS for name, _ in rule.fields)]
        self.gives_tags = bool(tagging)

    def covering(self, paths: Iterable[str], asking: Asking) -> tuple[list[Covering], bool]:
        """The rules for what stands at the decoded `paths`, and whether that is the same on every host."""
        found: list[Covering] = []
        is_general = True
        for number, on_path in self._index.covering(paths):
            rule = self._rules[number]
            on_host: Mapping[str, str] | None = {}
            if rule.host:
                is_general = False
                on_host = self._hosts[rule.host].match(_as_path(asking.host))
            if on_host is not None:
                found.append((rule, {**on_host, **on_path}))
        return found, is_general


def glob_of(rule: FieldRule) -> PathGlob:
    """The pattern of a rule, as the rule's mode reads it."""
    return PathGlob(rule.source, is_strict=rule.mode is RulesMode.CLOUDFLARE)


def _as_path(host: str) -> str:
    """A host name as a path, a label for a segment."""
    return "/" + host.replace(".", "/")
