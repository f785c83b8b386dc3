"""The fields that a deploy's rules give to one response."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cdn.http.target import encode_path
from cdn.sites.rules.field_line import MAX_VALUE_BYTES
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.mode import RulesMode

TAG_FIELDS = frozenset({"cache-tag", "surrogate-key"})
"""Fields whose values are cache tags: they are not sent."""

SINGLE_LINES = frozenset({"set-cookie"})
"""Fields whose lines cannot be joined into one (RFC 9110 section 5.3)."""

MAX_FIELDS_BYTES = 16 * 1024
"""What rules may give to one response: clients and proxies refuse heads of twice that."""

_REFERENCE = re.compile(r":([A-Za-z]\w*)", re.ASCII)


@dataclass(slots=True)
class AppliedFields:
    """Lines by name, as rules are applied one after the other. `given` names those that a rule of the deploy gave."""

    lines: dict[str, list[str]]
    tags: list[tuple[str, str]] = field(default_factory=list)
    _given: set[str] = field(default_factory=set)

    def apply(self, rule: FieldRule, found: Mapping[str, str]) -> None:
        """Apply `rule`, in whose pattern `found` was found."""
        for name in rule.unset:
            self.lines.pop(name, None)
            self._given.discard(name)
            self.tags = [line for line in self.tags if line[0] != name]
        joined = self._given if rule.mode is RulesMode.CLOUDFLARE else set()
        for name, _ in rule.fields:
            if name not in joined and name not in TAG_FIELDS:
                self.lines[name] = []
        for name, value in rule.fields:
            filled = filled_value(value, found) if rule.mode is RulesMode.CLOUDFLARE else value
            if len(filled) > MAX_VALUE_BYTES:  # a visitor's address made it so: no client would take it
                continue
            if name in TAG_FIELDS:
                self.tags.append((name, filled))
            else:
                self.lines[name].append(filled)
                self._given.add(name)

    def sent(self) -> dict[str, list[str]]:
        """The lines to send: those of one name in one line, where that says the same."""
        return {
            name: values if name in SINGLE_LINES or len(values) < 2 else [", ".join(values)]
            for name, values in self.lines.items()
        }


def applied(lines: Mapping[str, Iterable[str]], rules: Iterable[tuple[FieldRule, Mapping[str, str]]]) -> AppliedFields:
    """`rules`, in their order and each with what its pattern found, applied to a response with `lines`."""
    result = AppliedFields({name: list(values) for name, values in lines.items()})
    for rule, found in rules:
        result.apply(rule, found)
    return result


def filled_value(value: str, found: Mapping[str, str]) -> str:
    """`value` with what was found in place of its placeholders, percent-encoded as in a URL: visitors choose it, so it
    must not end the line (RFC 9112 section 11.1), nor say what is no ASCII."""
    if ":" not in value or not found:
        return value
    ready = {name: encode_path(text) for name, text in found.items()}
    return _REFERENCE.sub(lambda each: ready.get(each[1], each[0]), value)
