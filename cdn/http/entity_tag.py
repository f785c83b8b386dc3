"""Entity tags (RFC 9110 section 8.8.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

_ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_SEPARATOR = re.compile(r"[ \t,]*")
_REST_OF_ELEMENT = re.compile(r"[ \t]*(?:,|$)")


@dataclass(frozen=True, slots=True)
class EntityTag:
    """A validator. `opaque` is what stands between the quotes."""

    opaque: str
    is_weak: bool = False

    def serialise(self) -> str:
        """As it stands in a field."""
        return f'W/"{self.opaque}"' if self.is_weak else f'"{self.opaque}"'


class AnyEntityTag(Enum):
    """The value "*": whatever representation there is."""

    ANY = "*"


ANY: Final = AnyEntityTag.ANY


def parse_entity_tag(text: str) -> EntityTag | None:
    """A single entity tag; None when it is malformed."""
    match = _ENTITY_TAG.fullmatch(text)
    return None if match is None else EntityTag(match[2], match[1] is not None)


def parse_entity_tags(field: str) -> tuple[EntityTag, ...] | AnyEntityTag | None:
    """The value of If-Match or If-None-Match: a list, ANY, or None when it is malformed. The list may be empty."""
    if field.strip(" \t") == "*":
        return ANY
    found: list[EntityTag] = []
    at = _end(_SEPARATOR, field, 0)
    while at < len(field):
        match = _ENTITY_TAG.match(field, at)
        if match is None or _REST_OF_ELEMENT.match(field, match.end()) is None:
            return None
        found.append(EntityTag(match[2], match[1] is not None))
        at = _end(_SEPARATOR, field, match.end())
    return tuple(found)


def strongly_equal(one: EntityTag, other: EntityTag) -> bool:
    """Strong comparison (section 8.8.3.2): neither is weak and the opaque parts are the same."""
    return not one.is_weak and not other.is_weak and one.opaque == other.opaque


def weakly_equal(one: EntityTag, other: EntityTag) -> bool:
    """Weak comparison (section 8.8.3.2): the opaque parts are the same."""
    return one.opaque == other.opaque


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()
