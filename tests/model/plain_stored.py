"""A stored response after its updates: how fresh and how old it is, for whom, and what a purge says of it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from tests.model.history import Exchange, Purge
from tests.model.plain_message import (
    Directives,
    Lines,
    combined,
    directives,
    first_date,
    has,
    members,
    seconds,
    structured_strings,
    targeted,
    values,
    without,
    written_date,
)

SAFE = {"GET", "HEAD", "OPTIONS", "TRACE"}
HEURISTIC = {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501}
ERRORS = {500, 502, 503, 504}
NOT_UNDERSTOOD = {299, 499, 599}
"""Statuses that the upstream of the simulation sends and that nobody has defined."""
ABOUT_ONE_REQUEST = {304, 412, 416, 428, 429, 431, 511}

NEGATIVE_S = 10
STALE_IF_ERROR_S = 86_400
"""The site's settings (their defaults), which are "out of band" permissions in the RFC's sense."""

NEVER_UPDATED = {"content-length", "content-encoding", "content-range", "connection", "transfer-encoding"}


# What is stored


def obeyed(answer: Lines) -> tuple[Directives, bool]:
    """The directives for this cache, and whether they were meant for it alone (RFC 9213 section 2.2)."""
    for_cdn = targeted(combined(answer, "cdn-cache-control"))
    return (for_cdn, True) if for_cdn is not None else (directives(combined(answer, "cache-control")), False)


def withheld(answer: Lines) -> set[str]:
    """Fields that are not for others (sections 5.2.2.4 and 5.2.2.7)."""
    told, _ = obeyed(answer)
    return told.fields("no-cache") | told.fields("private")


@dataclass(frozen=True)
class Stored:
    """An answer as it stands after the updates that it is said to have had."""

    origin: Exchange
    updates: tuple[Exchange, ...]
    lines: Lines

    @property
    def last(self) -> Exchange:
        """Who confirmed it last."""
        return self.updates[-1] if self.updates else self.origin


def stored_from(origin: Exchange, updates: list[Exchange]) -> Stored:
    """RFC 9111 section 3.2: each field of an update replaces those of the same name. The validator it was selected by
    stays, and so does what describes the octets. An Age counted from the earlier reception."""
    lines = _dated(origin)
    lines = without(lines, withheld(lines) | {"content-length"})
    for update in updates:
        added = without(_dated(update), NEVER_UPDATED | ({"etag"} if has(lines, "etag") else set()))
        lines = without(lines, {name for name, _ in added} | {"age"}) + added
        lines = without(lines, withheld(lines))
    return Stored(origin, tuple(updates), lines)


def _dated(exchange: Exchange) -> Lines:
    """Whoever receives a message without Date says when it came (RFC 9110 section 6.6.1)."""
    if has(exchange.answer, "date"):
        return exchange.answer
    return (*exchange.answer, ("date", written_date(exchange.answered.at)))


# Freshness (section 4.2)


def lifetime(stored: Stored) -> float:
    lines, received = stored.lines, stored.last.answered.at
    told, is_targeted = obeyed(lines)
    for name in ("s-maxage", "max-age"):
        if name in told:
            return float(told.lifetime(name) or 0)
    if not is_targeted and has(lines, "expires"):
        expires, dated = first_date(lines, "expires"), first_date(lines, "date")
        return 0.0 if expires is None else max(0.0, expires - (received if dated is None else dated))
    return heuristic(stored, told)


def heuristic(stored: Stored, told: Directives) -> float:
    """Section 4.2.2 leaves it to the cache: this one guesses a tenth, and keeps errors for the site's short time."""
    status, lines, received = stored.origin.status, stored.lines, stored.last.answered.at
    retry_after = seconds(combined(lines, "retry-after"))
    if status in ERRORS and retry_after is not None:
        return float(min(NEGATIVE_S, retry_after))
    if status not in HEURISTIC and "public" not in told:
        return 0.0
    if status in {404, 405, 410, 414, 501}:
        return float(NEGATIVE_S)
    modified, dated = first_date(lines, "last-modified"), first_date(lines, "date")
    return 0.0 if modified is None else max(0.0, ((received if dated is None else dated) - modified) / 10)


def age(stored: Stored, now: float) -> float:
    """Section 4.2.3."""
    last, lines = stored.last, stored.lines
    dated = first_date(lines, "date")
    apparent = 0.0 if dated is None else max(0.0, last.answered.at - dated)
    age_value = 0
    told = members(combined(lines, "age") or "")
    if told:
        age_value = seconds(told[0]) or 0
    corrected = age_value + (last.answered.at - last.asked.at)
    return max(apparent, corrected) + (now - last.answered.at)


# Keys (sections 2 and 4.1)


def is_same_target(stored: Stored, scheme: str, target: str) -> bool:
    if stored.origin.scheme != scheme:
        return False
    if stored.origin.target == target:
        return True
    path, _, query = stored.origin.target.partition("?")
    other_path, _, other_query = target.partition("?")
    return path == other_path and may_vary_search(stored.lines, query, other_query)


def may_vary_search(lines: Lines, one: str, other: str) -> bool:
    """No-Vary-Search, in the forms that the upstream of the simulation sends."""
    one_pairs, other_pairs = parse_qsl(one, keep_blank_values=True), parse_qsl(other, keep_blank_values=True)
    match combined(lines, "no-vary-search"):
        case "params":
            return True
        case 'params=("x")':
            return [pair for pair in one_pairs if pair[0] != "x"] == [pair for pair in other_pairs if pair[0] != "x"]
        case 'params, except=("x")':
            return [pair for pair in one_pairs if pair[0] == "x"] == [pair for pair in other_pairs if pair[0] == "x"]
        case "key-order":
            return sorted(one_pairs, key=lambda pair: pair[0]) == sorted(other_pairs, key=lambda pair: pair[0])
        case _:
            return one_pairs == other_pairs and one == other


def does_vary_allow(stored: Stored, asked_with: Lines) -> bool:
    """Section 4.1. Whom the upstream answered 304 for it, it selected it for, too."""
    names = [name.lower() for name in members(combined(stored.lines, "vary") or "")]
    if "*" in names:
        return False
    confirmed = [each for each in stored.updates if each.status == 304]
    originals = [stored.origin.lines, *(each.lines for each in confirmed)]
    return any(all(plain(name, before) == plain(name, asked_with) for name in names) for before in originals)


def plain(name: str, lines: Lines) -> object:
    """A field's value, by what it means: lists of choices have neither order nor case."""
    value = combined(lines, name)
    if value is None or name not in {"accept-encoding", "accept-language"}:
        return value
    return frozenset(member.lower().replace(" ", "") for member in members(value))


# Purges (DESIGN I1)


def covers(purge: Purge, stored: Stored, target: str) -> bool:
    """Whether a purge was about it as it then was: by an address that it answered, or a tag that it had."""
    then = stored_from(stored.origin, [each for each in stored.updates if each.asked.sequence < purge.sequence])
    names = {stored.origin.target}
    if is_same_target(then, stored.origin.scheme, target):
        names.add(target)
    match purge.kind:
        case "everything":
            return True
        case "url":
            return purge.value in names
        case "prefix":
            return any(name.startswith(purge.value) for name in names)
        case _:
            return purge.value in cache_tags(then.lines)


def cache_tags(lines: Lines) -> set[str]:
    tagged = {part.strip() for value in values(lines, "cache-tag") for part in value.split(",")}
    keyed = {part for value in values(lines, "surrogate-key") for part in value.split()}
    return tagged | keyed | set(structured_strings(combined(lines, "cache-groups")))
