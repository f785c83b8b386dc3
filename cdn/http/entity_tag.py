"""Entity tags (RFC 9110 section 8.8.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ENTITY_TAG = re.compile(_TAG)
_LIST = re.compile(rf"[ \t,]*(?:{_TAG}[ \t]*(?:,[ \t,]*|\Z))*")


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
    return _entity_tag(text) if _ENTITY_TAG.fullmatch(text) else None


def parse_entity_tags(field: str) -> tuple[EntityTag, ...] | AnyEntityTag | None:
    """The value of If-Match or If-None-Match: a list, ANY, or None when it is malformed. The list may be empty."""
    if field.strip(" \t") == "*":
        return ANY
    if not _LIST.fullmatch(field):
        return None
    return tuple(_entity_tag(tag) for tag in _ENTITY_TAG.findall(field))


def strongly_equal(one: EntityTag, other: EntityTag) -> bool:
    """Strong comparison (section 8.8.3.2): neither is weak and the opaque parts are the same."""
    return not one.is_weak and not other.is_weak and one.opaque == other.opaque


def weakly_equal(one: EntityTag, other: EntityTag) -> bool:
    """Weak comparison (section 8.8.3.2): the opaque parts are the same."""
    return one.opaque == other.opaque


def _entity_tag(text: str) -> EntityTag:
    return EntityTag(text[text.index('"') + 1 : -1], text.startswith("W"))
