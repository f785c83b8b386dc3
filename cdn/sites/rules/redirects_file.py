"""The file `_redirects`: one rule per line, as Netlify and as Cloudflare Pages read it."""

from __future__ import annotations

import re

from cdn.errors import InvalidInput
from cdn.sites.path import shown
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.path_pattern import parse_pattern
from cdn.sites.rules.redirect_reading import (
    CLOUDFLARE_STATUS,
    MAX_REDIRECTS,
    MAX_RULE_LENGTH,
    NETLIFY_STATUS,
    Findings,
    PlacedRule,
    RedirectsRead,
    RuleParts,
    cut,
    rule_from,
)
from cdn.sites.rules.redirect_rule import NOT_FOUND, REWRITE

__all__ = ["PlacedRule", "RedirectsRead", "read_redirects"]

CLOUDFLARE_STATIC_RULES = 2000
CLOUDFLARE_DYNAMIC_RULES = 100
CLOUDFLARE_RULE_LENGTH = 1000
"""What Cloudflare Pages takes (its page "Redirects"); what is beyond works here and not there."""

_STATUS = re.compile(r"([0-9]{3})(!?)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_TO_INDEX = re.compile(r"/index(?:\.html)?")


def read_redirects(content: bytes, mode: RulesMode, file: str = "_redirects") -> RedirectsRead:
    """The rules of a `_redirects` file. Never raises: what is wrong is a fault, all of them at once."""
    findings = Findings(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        findings.refuse(content.count(b"\n", 0, exc.start) + 1, "", "the file is not UTF-8: save it in that encoding")
        return findings.read()
    read_line = _netlify_rule if mode is RulesMode.NETLIFY else _cloudflare_rule
    seen: dict[str, int] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if findings.is_full:
            break
        if len(findings.rules) >= MAX_REDIRECTS:
            findings.refuse(
                number, line, f"a deploy has at most {MAX_REDIRECTS} redirects: join some with placeholders"
            )
            break
        try:
            parts = read_line(_tokens(line))
            rule, doubts = rule_from(parts, mode)
        except InvalidInput as exc:
            findings.refuse(number, line, exc.message)
            continue
        for doubt in doubts:
            findings.doubt(number, line, doubt)
        if mode is RulesMode.NETLIFY or _counts_on_cloudflare(findings, seen, number, line, parts):
            findings.rules.append(PlacedRule(rule, file, number, cut(line)))
    if mode is RulesMode.CLOUDFLARE:
        _doubt_limits(findings)
    return findings.read()


def _tokens(line: str) -> list[str]:
    """What stands between spaces, up to a comment."""
    if len(line) > MAX_RULE_LENGTH:
        raise InvalidInput(f"the line has {len(line)} characters, at most {MAX_RULE_LENGTH} are allowed")
    tokens = line.split()
    comment = next((n for n, token in enumerate(tokens) if token.startswith("#")), len(tokens))
    return tokens[:comment]


def _netlify_rule(tokens: list[str]) -> RuleParts:
    """`FROM [NAME=VALUE]... TO [STATUS[!]] [CONDITION=VALUE,...]...`"""
    source, *rest = tokens
    if rest and _STATUS.fullmatch(rest[0]) is not None:
        at, target = 0, _forwarded(source, rest[0])
    else:
        at = next((n for n, token in enumerate(rest) if _is_target(token)), -1)
        if at == -1:
            raise InvalidInput(_without_target(rest))
        target = rest[at]
        at += 1
    query = [_pair(token, "a parameter") for token in rest[: max(at - 1, 0)]]
    status, is_forced, conditions = NETLIFY_STATUS, False, rest[at:]
    if conditions:
        status, is_forced = _read_status(conditions[0])
    pairs = [_pair(token, "a condition") for token in conditions[1:]]
    return RuleParts(
        source, target, status, is_forced, query, {name: _listed(value) for name, value in _once(pairs).items()}
    )


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidInput(f'"{name}" stands twice: give all values in one, with commas between them')
        found[name] = value
    return found


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")]


def _forwarded(source: str, status: str) -> str:
    """`/app/* 200` answers with what is there."""
    if not source.endswith("/*") or not status.startswith("2"):
        raise InvalidInput(f'the rule has no target: write where {shown(source)} leads, between it and "{status}"')
    return source.removesuffix("*") + ":splat"


def _is_target(token: str) -> bool:
    return token.startswith("/") or token.lower().startswith(("http://", "https://"))


def _without_target(rest: list[str]) -> str:
    for token in rest:
        if _SCHEME.match(token) is not None:
            return f'{shown(token)} has a scheme that nothing here leads to: use "http:" or "https:"'
    return 'the rule has no target: a path that starts with "/", or an http or https URL'


def _pair(token: str, what: str) -> tuple[str, str]:
    name, equals, value = token.partition("=")
    if not equals or not name:
        raise InvalidInput(f"{shown(token)} is not {what}: write NAME=VALUE, with no spaces in it")
    return name, value


def _read_status(token: str) -> tuple[int, bool]:
    status = _STATUS.fullmatch(token)
    if status is None:
        if "=" in token:
            raise InvalidInput(f"a status has to stand before the conditions: write 302 before {shown(token)}")
        raise InvalidInput(f'{shown(token)} is no status: use a number such as 301, or "301!" to force the rule')
    return int(status[1]), status[2] == "!"


def _cloudflare_rule(tokens: list[str]) -> RuleParts:
    """`FROM TO [STATUS]`"""
    looks_further = len(tokens) > 3 or (len(tokens) == 3 and "=" in tokens[1] and not _is_target(tokens[1]))
    if looks_further or len(tokens) < 2:
        words = f"{len(tokens)} words" if len(tokens) > 1 else "one word"
        raise InvalidInput(
            f"a rule is a source, a target and a status, and this line has {words}"
            + (
                ": parameters and conditions are in Netlify's reading (rules_mode) and cdn.toml"
                if looks_further
                else ""
            )
        )
    source, target = tokens[:2]
    if not source.startswith("/"):
        raise InvalidInput(f'{shown(source)} has to start with "/": Cloudflare Pages has no rules of single hosts')
    status, is_forced = _read_status(tokens[2]) if len(tokens) == 3 else (CLOUDFLARE_STATUS, False)
    if status == NOT_FOUND:
        raise InvalidInput("Cloudflare Pages has no status 404: put a 404.html into the folder, or use cdn.toml")
    if status == REWRITE and not target.startswith("/"):
        raise InvalidInput(
            "with status 200 Cloudflare Pages answers from the same site alone: give a path, or say it in cdn.toml"
        )
    return RuleParts(source.partition("#")[0], target, status, is_forced)


def _counts_on_cloudflare(findings: Findings, seen: dict[str, int], number: int, line: str, parts: RuleParts) -> bool:
    """Whether Cloudflare Pages would not skip the rule; what it skips is skipped, with a warning."""
    if parts.source in seen:
        findings.doubt(number, line, f"not used: line {seen[parts.source]} has the same source")
        return False
    seen[parts.source] = number
    to_index = parts.target.startswith("/") and _TO_INDEX.search(parts.target) is not None
    if (
        to_index
        and _TO_INDEX.fullmatch(parts.target[parts.target.rindex("/") :])
        and parts.source.endswith(("/", "/*"))
    ):
        findings.doubt(
            number,
            line,
            "not used, as on Cloudflare Pages: rules go before files here, so the page would ask for itself; for an "
            'application of one page set spa = "/index.html" in cdn.toml',
        )
        return False
    if parts.is_forced:
        findings.doubt(number, line, '"!" says nothing here: under this reading every rule goes before files')
    if parts.target.lower().startswith("http:"):
        findings.doubt(number, line, "Cloudflare Pages would not take it: it leads to https URLs alone")
    if len(line) > CLOUDFLARE_RULE_LENGTH:
        findings.doubt(number, line, f"Cloudflare Pages takes {CLOUDFLARE_RULE_LENGTH} characters, not {len(line)}")
    return True


def _doubt_limits(findings: Findings) -> None:
    """As Cloudflare Pages counts: a rule is static up to the first that has a placeholder or splat."""
    static = dynamic = 0
    for placed in findings.rules:
        if dynamic == 0 and parse_pattern(placed.rule.source, RulesMode.CLOUDFLARE).is_static:
            static += 1
        else:
            dynamic += 1
    for what, count, most in (
        ("static", static, CLOUDFLARE_STATIC_RULES),
        ("dynamic", dynamic, CLOUDFLARE_DYNAMIC_RULES),
    ):
        if count > most:
            findings.doubt(0, "", f"Cloudflare Pages takes {most} {what} rules, and there are {count}; all work here")
