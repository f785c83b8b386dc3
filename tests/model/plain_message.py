"""Fields, dates and directives, read in the plainest way: slow, obvious, and from the RFCs' text alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

Lines = tuple[tuple[str, str], ...]
"""Lower-case names and values."""

DATE_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
FOR_EVER_S = 2**31
KEY = "[a-z*][a-z0-9_.*-]*"


def values(lines: Lines, name: str) -> list[str]:
    return [value for line_name, value in lines if line_name == name]


def combined(lines: Lines, name: str) -> str | None:
    """RFC 9110 section 5.2."""
    found = values(lines, name)
    return ", ".join(found) if found else None


def has(lines: Lines, name: str) -> bool:
    return any(line_name == name for line_name, _ in lines)


def without(lines: Lines, names: set[str]) -> Lines:
    return tuple(line for line in lines if line[0] not in names)


def members(text: str) -> list[str]:
    """A list's members: split at commas, but not at those in quotes (RFC 9110 section 5.6.1)."""
    found, current, is_quoted, is_escaped = [], "", False, False
    for char in text:
        if is_quoted:
            current += char
            if is_escaped:
                is_escaped = False
            elif char == "\\":
                is_escaped = True
            elif char == '"':
                is_quoted = False
        elif char == ",":
            found.append(current)
            current = ""
        else:
            is_quoted = char == '"'
            current += char
    found.append(current)
    if is_quoted:  # a quote that is never closed: its commas separate after all
        start = len(",".join(found[:-1])) + (1 if len(found) > 1 else 0)
        found = found[:-1] + text[start:].split(",")
    return [member.strip() for member in found if member.strip()]


def date(text: str | None) -> float | None:
    """RFC 9110 section 5.6.7. None: absent, or no date."""
    for form in DATE_FORMS:
        try:
            return datetime.strptime(text or "", form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return None


def written_date(at: float) -> str:
    return datetime.fromtimestamp(at // 1, UTC).strftime(DATE_FORMS[0])


def first_date(lines: Lines, name: str) -> float | None:
    found = values(lines, name)
    return date(found[0]) if found else None


def seconds(text: str | None) -> int | None:
    """RFC 9111 section 1.2.2. None: no such time."""
    if text is None or not text or any(char not in "0123456789" for char in text):
        return None
    return min(int(text), FOR_EVER_S)


@dataclass(frozen=True)
class Directives:
    """Names and arguments in order; None: without an argument, "": with one that is malformed."""

    given: tuple[tuple[str, str | None], ...] = ()

    def __contains__(self, name: str) -> bool:
        return any(given == name for given, _ in self.given)

    def arguments(self, name: str) -> list[str | None]:
        return [argument for given, argument in self.given if given == name]

    def seconds(self, name: str) -> int | None:
        """The first; None when absent or no number."""
        return seconds(self.arguments(name)[0]) if name in self else None

    def lifetime(self, name: str) -> int | None:
        """None when absent; what is no number makes the response stale (RFC 9111 section 4.2.1)."""
        return (self.seconds(name) or 0) if name in self else None

    def is_whole(self, name: str) -> bool:
        """`no-cache` or `private` for the whole response: without a list of fields, or with a malformed one."""
        return any(not _names(argument) for argument in self.arguments(name))

    def fields(self, name: str) -> set[str]:
        return {field for argument in self.arguments(name) for field in _names(argument)}


def _names(argument: str | None) -> list[str]:
    names = [part.strip().lower() for part in (argument or "").split(",") if part.strip()]
    return names if all(re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]+", name) for name in names) else []


def directives(text: str | None) -> Directives:
    """Cache-Control (RFC 9111 section 5.2): a name, or name=token, or name="quoted"."""
    given: list[tuple[str, str | None]] = []
    for member in members(text or ""):
        match = re.fullmatch(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+)(.*)", member, re.DOTALL)
        if match is None:
            continue
        name, rest = match[1].lower(), match[2]
        if not rest:
            given.append((name, None))
        elif re.fullmatch(r"=[A-Za-z0-9!#$%&'*+.^_`|~-]+", rest):
            given.append((name, rest[1:]))
        elif re.fullmatch(r'="([^"\\]|\\.)*"', rest):
            given.append((name, re.sub(r"\\(.)", r"\1", rest[2:-1])))
        else:
            given.append((name, ""))
    return Directives(tuple(given))


def targeted(text: str | None) -> Directives | None:
    """CDN-Cache-Control (RFC 9213): a dictionary (RFC 9651). None: malformed or empty, it counts for nothing."""
    if text is None or not text.strip():
        return None
    found: dict[str, str | None] = {}
    for member in text.split(","):
        match = re.fullmatch(rf"({KEY})(=([^;]*))?((?:; *{KEY}(?:=[A-Za-z0-9]+)?)*)", member.strip())
        if match is None:
            return None
        name, value = match[1], match[3]
        found.pop(name, None)
        if match[2] is None or value == "?1":
            found[name] = None
        elif value == "?0":
            continue
        elif re.fullmatch(r"-?[0-9]{1,15}", value) or re.fullmatch(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*", value):
            found[name] = value
        elif re.fullmatch(r'"[ !#-\[\]-~]*"', value):
            found[name] = "" if seconds(value[1:-1]) is not None else value[1:-1]  # a number in quotes is none
        elif re.fullmatch(r"-?[0-9]{1,12}\.[0-9]{1,3}", value):
            found[name] = ""
        else:
            return None
    return Directives(tuple(found.items()))


def structured_strings(text: str | None) -> list[str]:
    """A List of Strings (RFC 9875 section 2); anything else makes the field count for nothing."""
    items = members(text or "")
    if not all(re.fullmatch(r'"[ !#-\[\]-~]*"', item) for item in items):
        return []
    return [item[1:-1] for item in items]


@dataclass(frozen=True)
class Tag:
    opaque: str
    is_weak: bool


def tag(text: str | None) -> Tag | None:
    """An entity tag (RFC 9110 section 8.8.3)."""
    match = re.fullmatch(r'(W/)?"([!#-~\x80-\xff]*)"', text or "")
    return None if match is None else Tag(match[2], match[1] is not None)


def tags(text: str | None) -> list[Tag]:
    return [found for member in members(text or "") if (found := tag(member)) is not None]


def is_strongly_equal(one: Tag | None, other: Tag | None) -> bool:
    return (
        one is not None and other is not None and not one.is_weak and not other.is_weak and one.opaque == other.opaque
    )


def is_weakly_equal(one: Tag | None, other: Tag | None) -> bool:
    return one is not None and other is not None and one.opaque == other.opaque
