"""Texts with placeholders that point into a JSON message: `/posts/{/post/slug}/`, `{/commits/*/modified/*}`.

A placeholder is a JSON pointer (RFC 6901), in which a segment `*` stands for every element. A text is filled in once
for each value, so it comes to as many texts as its placeholders have values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cdn.errors import InvalidInput

MAX_TEMPLATE_CHARS = 2048
"""A long path with placeholders; it travels in the record of its hook."""

MAX_PLACEHOLDERS = 8
"""In one text: their values are combined."""

MAX_SEGMENTS = 16
"""Of one pointer: messages are not nested deeper by any vendor."""

MAX_EACH = 2
"""Segments `*` in one pointer: files of commits need two."""

MAX_VALUE_CHARS = 8192
"""One value that is filled in: longer paths are never stored."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_ESCAPE = re.compile(r"~(?![01])")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")

MAX_VISITED = 10_000
"""Elements that one pointer looks at. A message of 10 MB has a million, and whoever made the hook a hundred pointers:
minutes, in which nobody else is answered."""

MAX_TEXT_CHARS = 8192
"""A text that is filled in: longer URLs and tags are never stored, and a thousand of them are held at a time."""

MOST_LOOKED_AT = 16
"""Of values where one is needed."""

EACH = "*"


class TemplateFault(InvalidInput):
    """A text that is no template, or a message that does not have what a template names."""


class TooManyValues(TemplateFault):
    """A template comes to more texts than may be made of it."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """A JSON pointer: its segments, unescaped."""

    text: str
    segments: tuple[str, ...]

    def values(self, message: Any) -> Iterator[Any]:
        """Everything that it points to, in order; nothing where there is nothing.

        Raises TooManyValues after MAX_VISITED elements, whether or not they have what it points to.
        """
        yield from _values(message, self.segments, _Visits(self.text))


def parse_pointer(text: str) -> Pointer:
    """Raises TemplateFault that says what is wrong."""
    if not text.startswith("/"):
        raise TemplateFault(f"{text[:100]!r} is no JSON pointer: it starts with /")
    segments = text[1:].split("/")
    if len(segments) > MAX_SEGMENTS or segments.count(EACH) > MAX_EACH:
        raise TemplateFault(f"the pointer {text[:100]!r} has more than {MAX_SEGMENTS} segments or {MAX_EACH} times *")
    if len(text) > MAX_TEMPLATE_CHARS or _ESCAPE.search(text) is not None:
        raise TemplateFault(f"the pointer {text[:100]!r} is too long, or has a ~ that is neither ~0 nor ~1")
    return Pointer(text, tuple(each.replace("~1", "/").replace("~0", "~") for each in segments))


@dataclass(frozen=True, slots=True)
class Template:
    """`literals` stand around the pointers: one more of them than of these."""

    literals: tuple[str, ...]
    pointers: tuple[Pointer, ...]

    @staticmethod
    def is_plain(text: str) -> bool:
        """Whether it has no placeholder."""
        return "{" not in text and "}" not in text

    def filled(self, message: Any, *, most: int, is_path: bool = False) -> tuple[str, ...]:
        """Every text that it comes to, each once and in order.

        With `is_path` a value within a longer text is percent-encoded but for its slashes, so that it stays a part of
        the path; one that is the whole text stands for itself. Raises TemplateFault when the message lacks a value or
        has one that is no text, TooManyValues beyond `most`.
        """
        encodes = is_path and self.literals != ("", "")
        texts = [self.literals[0]]
        for pointer, literal in zip(self.pointers, self.literals[1:], strict=True):
            values = _texts(pointer, message, most, encodes=encodes)
            if len(texts) * len(values) > most:
                raise TooManyValues(f"{{{pointer.text}}} comes to more than {most} texts")
            texts = [f"{text}{value}{literal}" for text in texts for value in values]
            if max(map(len, texts), default=0) > MAX_TEXT_CHARS:
                raise TemplateFault(f"the value at {pointer.text} makes a text of more than {MAX_TEXT_CHARS} letters")
        return tuple(dict.fromkeys(texts))

    def single(self, message: Any) -> str:
        """The one text that it comes to. Raises TemplateFault, also where there are several."""
        texts = self.filled(message, most=MOST_LOOKED_AT)
        if len(texts) != 1:
            raise TemplateFault(f"{self.pointers[0].text} has {len(texts)} values in the message, one is needed")
        return texts[0]


def parse_template(text: str) -> Template:
    """Raises TemplateFault that says what is wrong."""
    if not text or len(text) > MAX_TEMPLATE_CHARS:
        raise TemplateFault(f"a template has 1 to {MAX_TEMPLATE_CHARS} letters")
    parts = _PLACEHOLDER.split(text)
    literals, pointers = tuple(parts[::2]), tuple(parts[1::2])
    if any(mark in literal for literal in literals for mark in "{}"):
        raise TemplateFault(f"{text[:100]!r} has a brace that opens or closes nothing")
    if len(pointers) > MAX_PLACEHOLDERS:
        raise TemplateFault(f"{text[:100]!r} has more than {MAX_PLACEHOLDERS} placeholders")
    return Template(literals, tuple(map(parse_pointer, pointers)))


def _texts(pointer: Pointer, message: Any, most: int, *, encodes: bool) -> list[str]:
    texts: dict[str, None] = {}
    for value in pointer.values(message):
        text = _text_of(value)
        if text is None or len(text) > MAX_VALUE_CHARS:
            raise TemplateFault(f"the message has at {pointer.text} what is no text of up to {MAX_VALUE_CHARS} letters")
        texts[quote(text, safe="/") if encodes else text] = None
        if len(texts) > most:
            raise TooManyValues(f"the message has more than {most} values at {pointer.text}")
    if not texts and EACH not in pointer.segments:
        raise TemplateFault(f"the message has nothing at {pointer.text}")
    return list(texts)


def _text_of(value: Any) -> str | None:
    """None for what is no text; a lone surrogate is none either."""
    match value:
        case bool():
            return "true" if value else "false"
        case str() if value.isascii() or _is_unicode(value):
            return value
        case int():
            return str(value) if abs(value) < 1 << 64 else None
        case _:
            return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(slots=True)
class _Visits:
    pointer: str
    count: int = 0

    def note(self) -> None:
        self.count += 1
        if self.count > MAX_VISITED:
            raise TooManyValues(f"the message has more than {MAX_VISITED} elements at {self.pointer}")


def _values(value: Any, segments: tuple[str, ...], visits: _Visits) -> Iterator[Any]:
    if not segments:
        yield value
        return
    first, rest = segments[0], segments[1:]
    match value:
        case dict() if first in value:
            yield from _values(value[first], rest, visits)
        case list() if first == EACH:
            for each in value:
                visits.note()
                yield from _values(each, rest, visits)
        case dict() if first == EACH:
            for each in value.values():
                visits.note()
                yield from _values(each, rest, visits)
        case list() if _INDEX.fullmatch(first) is not None and int(first) < len(value):
            yield from _values(value[int(first)], rest, visits)
        case _:
            return
