"""Path patterns of rules about what is answered: `/docs/*`, `/*.js`, `/users/:id/avatar`.

`*` stands for anything, slashes and nothing included; `:name` for one segment (as Cloudflare Pages reads it, also for a
part of one), never empty. Without a placeholder there may be several stars, with one a single star. So a match never
tries two ways, however long the path: placeholders are found by counting segments from both ends, and what lies between
is the star's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cdn.errors import InvalidInput
from cdn.sites.path import shown
from cdn.sites.pattern import MAX_PATTERN_LENGTH, MAX_STARS, matches

SPLAT = "splat"
"""The name under which what a single star stood for can be put into a value."""

MAX_PLACEHOLDERS = 16
"""Of one pattern: more segments than people name."""

NOTHING_FOUND: Mapping[str, str] = {}

_SEGMENT = re.compile(r"(?:(?<=/)|\A):([^/*:]+)(?=/|\Z)")
_PART = re.compile(r":([A-Za-z]\w*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class PathGlob:
    """A pattern, read. `is_strict`, as Cloudflare Pages reads it: a slash at the end counts, `/docs/*` does not cover
    `/docs`, and a placeholder may be a part of a segment."""

    source: str
    is_strict: bool = False
    _names: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", frozenset(_placeholder(self.is_strict).findall(self.source)))

    @property
    def is_exact(self) -> bool:
        """Whether it covers one path only (with or without a slash at the end unless strict)."""
        return "*" not in self.source and not self._names

    @property
    def names(self) -> frozenset[str]:
        """What can be put into a value."""
        return self._names | {SPLAT} if self.source.count("*") == 1 else self._names

    @property
    def folder(self) -> str:
        """The path, without slash at its end, below or at which everything lies that the pattern covers."""
        if self.is_exact:
            return self.source.removesuffix("/")
        wild = _placeholder(self.is_strict).search(self.source)
        end = min(place for place in (self.source.find("*"), wild.start() if wild else -1) if place >= 0)
        return self.source[: max(self.source.rfind("/", 0, end), 0)]

    def match(self, path: str) -> Mapping[str, str] | None:
        """What was found where, when the decoded `path` is covered; None when it is not."""
        found = self._match(self.source, path)
        if found is not None or self.is_strict:
            return found
        if self.source.endswith("*"):
            return self._match(self.source, path + "/") if self.source.endswith("/*") else None
        if self.source.endswith("/") != path.endswith("/"):
            return self._match(self.source.removesuffix("/"), path.removesuffix("/"))
        return None

    def _match(self, source: str, path: str) -> Mapping[str, str] | None:
        if self._names:
            return _match_segments(source, path, _placeholder(self.is_strict))
        if not matches(source, path):
            return None
        if source.count("*") != 1:
            return NOTHING_FOUND
        head, _, tail = source.partition("*")
        return {SPLAT: path[len(head) : len(path) - len(tail)]}


def check_glob(text: str, *, is_strict: bool = False) -> str:
    """The pattern, when it is one. Raises InvalidInput."""
    placeholder = _placeholder(is_strict)
    if len(text) > MAX_PATTERN_LENGTH:
        raise InvalidInput(f"a pattern has more than {MAX_PATTERN_LENGTH} characters")
    if not text.startswith(("/", "*")):
        raise InvalidInput(f'the pattern {shown(text)} has to start with "/" or "*"')
    if not text.isprintable() or "\\" in text:
        raise InvalidInput(f"the pattern {shown(text)} has a character that no path has")
    names = placeholder.findall(text)
    if text.count("*") > (1 if names else MAX_STARS):
        most = "one star beside placeholders" if names else f"{MAX_STARS} stars"
        raise InvalidInput(f"the pattern {shown(text)} has more than {most}")
    if len(names) > MAX_PLACEHOLDERS:
        raise InvalidInput(f"the pattern {shown(text)} has more than {MAX_PLACEHOLDERS} placeholders")
    if len(set(names)) != len(names) or (SPLAT in names and "*" in text):
        raise InvalidInput(f"the pattern {shown(text)} has a placeholder twice")
    for segment in text.split("/"):
        if len(placeholder.findall(segment)) + ("*" in segment) > 1 and placeholder.search(segment):
            raise InvalidInput(f"the pattern {shown(text)} has two placeholders in one segment: give each its own")
    return text


def _placeholder(is_strict: bool) -> re.Pattern[str]:
    return _PART if is_strict else _SEGMENT


def _match_segments(source: str, path: str, placeholder: re.Pattern[str]) -> Mapping[str, str] | None:
    """For patterns with placeholders, and at most one star."""
    head, star, tail = source.partition("*")
    wanted_first, wanted_last = head.split("/"), tail.split("/") if star else []
    given = path.split("/")
    found: dict[str, str] = {}
    if star:
        before, after = wanted_first.pop(), wanted_last.pop(0)
        stop = len(given) - len(wanted_last)
        middle = "/".join(given[len(wanted_first) : stop])
        if stop <= len(wanted_first) or len(middle) < len(before) + len(after):
            return None
        if not middle.startswith(before) or not middle.endswith(after):
            return None
        found[SPLAT] = middle[len(before) : len(middle) - len(after)]
        given = given[: len(wanted_first)] + given[stop:]
    wanted = wanted_first + wanted_last
    if len(wanted) != len(given):
        return None
    for each, segment in zip(wanted, given, strict=True):
        name = placeholder.search(each)
        if name is None:
            if each != segment:
                return None
            continue
        before, after = each[: name.start()], each[name.end() :]
        if len(segment) <= len(before) + len(after) or not segment.startswith(before) or not segment.endswith(after):
            return None
        found[name[1]] = segment[len(before) : len(segment) - len(after)]
    return found
