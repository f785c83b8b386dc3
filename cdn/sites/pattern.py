"""Path patterns of header rules and `keep`: `*` stands for anything, slashes included; the rest is literal."""

from __future__ import annotations

from cdn.errors import InvalidInput

MAX_PATTERN_LENGTH = 1024
"""As long as the longest path of a bundle."""

MAX_STARS = 8
"""Bounds the work of one match; nobody has needed more than two."""


def check_pattern(text: str) -> str:
    """The pattern, when it is one. Raises InvalidInput."""
    if len(text) > MAX_PATTERN_LENGTH:
        raise InvalidInput(f"a pattern has more than {MAX_PATTERN_LENGTH} characters")
    if not text.startswith(("/", "*")):
        raise InvalidInput(f'the pattern {text!r} has to start with "/" or "*"')
    if not text.isprintable():
        raise InvalidInput(f"the pattern {text!r} has a character that no path has")
    if text.count("*") > MAX_STARS:
        raise InvalidInput(f'the pattern "{text}" has more than {MAX_STARS} stars')
    return text


def matches(pattern: str, path: str) -> bool:
    """Whether `pattern` covers the whole of `path`. Linear in the length of the path, per star."""
    head, *inner = pattern.split("*")
    if not inner:
        return pattern == path
    tail = inner.pop()
    if len(path) < len(head) + len(tail) or not path.startswith(head) or not path.endswith(tail):
        return False
    start, stop = len(head), len(path) - len(tail)
    for part in inner:
        found = path.find(part, start, stop)
        if found == -1:
            return False
        start = found + len(part)
    return True
