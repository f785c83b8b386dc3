"""From the parts of a redirect, as lines and tables give them, to a rule, or to what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cdn.errors import InvalidInput
from cdn.http.search_params import decode_component
from cdn.http.target import parse_host
from cdn.sites.path import shown
from cdn.sites.rules.fault import RuleFault
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.path_pattern import SPLAT, PathPattern, parse_pattern
from cdn.sites.rules.redirect_rule import NOT_FOUND, REDIRECT_STATUSES, REWRITE, RedirectRule
from cdn.sites.rules.redirect_target import parse_target

MAX_REDIRECTS = 10_000
"""Redirects of one deploy: each costs memory on every node that serves it. Vendors stop at 2,100 and at some 10,000."""

MAX_RULE_LENGTH = 8192
"""Characters of one line: source, target and conditions, each at its own longest."""

MAX_SHOWN_RULE = 160
"""Characters of a rule that a message repeats."""

MAX_FINDINGS = 1000
"""Faults, and warnings, of one file that are listed: whoever has more has one mistake a thousand times."""

MAX_QUERY_PAIRS = 16
"""Parameters that one rule looks at."""

MAX_CHOICES = 300
"""Countries, languages or cookies of one rule: ISO 3166-1 has 249 countries."""

NETLIFY_STATUS = 301
CLOUDFLARE_STATUS = 302
"""What a rule without a status has."""

STATUSES = REDIRECT_STATUSES | {REWRITE, NOT_FOUND}

_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_STANDIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,7}")
_COOKIE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_SIGNING = frozenset({"sign", "signed", "signing"})


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


@dataclass(slots=True)
class Findings:
    """Collects what is read of one file."""

    file: str
    rules: list[PlacedRule] = field(default_factory=list)
    faults: list[RuleFault] = field(default_factory=list)
    warnings: list[RuleFault] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether reading on would only lengthen the list of faults."""
        return len(self.faults) >= MAX_FINDINGS

    def refuse(self, line: int, text: str, message: str) -> None:
        """A fault."""
        self.faults.append(RuleFault(self.file, line, cut(text), message))

    def doubt(self, line: int, text: str, message: str) -> None:
        """A warning. Those beyond the limit say nothing new."""
        if len(self.warnings) < MAX_FINDINGS:
            self.warnings.append(RuleFault(self.file, line, cut(text), message))

    def read(self) -> RedirectsRead:
        """Everything found so far."""
        if self.is_full:
            self.refuse(0, "", f"there are {MAX_FINDINGS} faults, and reading stopped there: put these right first")
        return RedirectsRead(tuple(self.rules), tuple(self.faults), tuple(self.warnings))


@dataclass(frozen=True, slots=True)
class RuleParts:
    """A redirect as it is written. `conditions` by the name that is written, values as a list."""

    source: str
    target: str
    status: int
    is_forced: bool = False
    query: Sequence[tuple[str, str]] = ()
    conditions: Mapping[str, Sequence[str]] = field(default_factory=dict)


def cut(text: str) -> str:
    """A rule, short enough for a message and without what would break its line."""
    line = "".join(char if char.isprintable() else " " for char in text[: MAX_SHOWN_RULE + 1])
    return line if len(line) <= MAX_SHOWN_RULE else line[: MAX_SHOWN_RULE - 3] + "..."


def rule_from(parts: RuleParts, mode: RulesMode) -> tuple[RedirectRule, tuple[str, ...]]:
    """The rule, and what is doubtful about it. Raises InvalidInput that says what is wrong."""
    scheme, host, source = _split_source(parts.source)
    pattern = parse_pattern(source, mode)
    query = _read_query(parts.query, pattern)
    if parts.status not in STATUSES:
        raise InvalidInput(
            f"status {parts.status} is none that a rule can have: use 301, 302, 303, 307 or 308 to redirect, 200 to "
            "rewrite, 404 for a page that says that something is absent"
        )
    names = (*pattern.names, *(value[1:] for _, value in query if value.startswith(":")))
    target = parse_target(parts.target, names, parts.status)
    countries, languages, cookies = _read_conditions(parts.conditions)
    rule = RedirectRule(
        source, parts.target, parts.status, parts.is_forced, host, scheme, query, countries, languages, cookies
    )
    return rule, tuple(
        f'nothing in the source is called ":{name}", so it stays in the target as it stands' for name in target.unknown
    )


def _split_source(text: str) -> tuple[str, str, str]:
    """Scheme, host and path of a source."""
    absolute = _ABSOLUTE.fullmatch(text)
    scheme, host, path = ("", "", text) if absolute is None else (absolute[1].lower(), absolute[2], absolute[3])
    if absolute is not None:
        name = parse_host(host)
        if name is None:
            raise InvalidInput(f"{shown(host)} is no host: give one whole name, placeholders cannot stand there")
        if name.port is not None:
            raise InvalidInput(f"rules do not look at the port: write {name.name!r} without it")
        host = name.name
    if "?" in path:
        raise InvalidInput('the source has a "?": write the parameters behind the path, such as "/store id=:id"')
    if "#" in path:
        raise InvalidInput('the source has a "#": no browser sends what follows it')
    if path.startswith("/.netlify"):
        raise InvalidInput('paths below "/.netlify" belong to Netlify: they answer nothing here')
    return scheme, host, path or ("/" if absolute is not None else "")


def _read_query(pairs: Sequence[tuple[str, str]], pattern: PathPattern) -> tuple[tuple[str, str], ...]:
    if len(pairs) > MAX_QUERY_PAIRS:
        raise InvalidInput(f"the rule looks at {len(pairs)} parameters, at most {MAX_QUERY_PAIRS} are allowed")
    read: list[tuple[str, str]] = []
    taken = set(pattern.names)
    for raw_name, raw_value in pairs:
        name = decode_component(raw_name)
        if any(name == other for other, _ in read):
            raise InvalidInput(f"the parameter {shown(name)} stands twice: give it once")
        if not raw_value.startswith(":"):
            read.append((name, decode_component(raw_value)))
            continue
        if _STANDIN_NAME.fullmatch(raw_value[1:]) is None or raw_value[1:] == SPLAT:
            raise InvalidInput(f'{shown(raw_value)} is no placeholder: give a name such as ":id", not ":splat"')
        if raw_value[1:] in taken:
            raise InvalidInput(f'"{raw_value}" stands twice in the rule: give every placeholder a name of its own')
        taken.add(raw_value[1:])
        read.append((name, raw_value))
    return tuple(read)


def _read_conditions(
    conditions: Mapping[str, Sequence[str]],
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    countries: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    for name, values in conditions.items():
        match name.lower():
            case "country":
                countries = _choices(
                    values, _COUNTRY, 'a country: give two letters of ISO 3166-1, such as "de"', str.upper
                )
            case "language":
                languages = _choices(values, _LANGUAGE, 'a language: give a tag such as "en" or "en-GB"', str.lower)
            case "cookie":
                cookies = _choices(values, _COOKIE, "the name of a cookie", str)
            case "role":
                raise InvalidInput(
                    "roles come from Netlify's own log-in, which there is none of here: protect the path with "
                    "[[auth]] in cdn.toml"
                )
            case lower if lower in _SIGNING:
                raise InvalidInput(
                    "requests to other servers are not signed here: let the server know this one by its address, or "
                    "by a secret in the target's path"
                )
            case _:
                raise InvalidInput(f"{shown(name)} is no condition: there are Country, Language and Cookie")
    return countries, languages, cookies


def _choices(values: Sequence[str], form: re.Pattern[str], what: str, written: Callable[[str], str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for value in values:
        if form.fullmatch(value) is None:
            raise InvalidInput(f"{shown(value)} is not {what}")
        found[written(value)] = None
    if not 0 < len(found) <= MAX_CHOICES:
        raise InvalidInput(f"a condition has 1 to {MAX_CHOICES} values, and this one has {len(found)}")
    return tuple(found)
