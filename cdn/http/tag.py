"""Cache tags as responses carry them: Cache-Tag (comma separated) and Surrogate-Key (space separated)."""

from __future__ import annotations

from itertools import islice

MAX_TAGS = 256
"""Tags kept per stored response: its index row and every floor check are proportional to them."""

MAX_TAG_BYTES = 256
"""Longest tag, in octets of UTF-8. Longer ones cannot be purged by name either, so they are not kept."""

OVERFLOW_TAG = "\x00"
"""Stands for the tags beyond MAX_TAGS. A purge of any tag covers a response that carries it: none can escape."""


def parse_tags(cache_tag_fields: tuple[str, ...], surrogate_key_fields: tuple[str, ...]) -> tuple[str, ...]:
    """The tags in all lines of both fields, in order, each once, case kept.

    At most MAX_TAGS; where there were more the last one is OVERFLOW_TAG.
    """
    found: dict[str, None] = {}
    for line in cache_tag_fields:
        _collect(_text(line).split(","), found)
    for line in surrogate_key_fields:
        _collect(_text(line).split(), found)
    if len(found) > MAX_TAGS:
        return (*islice(found, MAX_TAGS - 1), OVERFLOW_TAG)
    return tuple(found)


def _collect(parts: list[str], found: dict[str, None]) -> None:
    for part in parts:
        tag = part.strip(" \t")
        if tag and len(tag.encode("utf-8", "surrogatepass")) <= MAX_TAG_BYTES:
            found[tag] = None


def _text(value: str) -> str:
    """Field values are latin-1 on the wire; tags that are UTF-8 there read as the text that a purge names."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
