"""Stored responses that belong together: Cache-Groups and Cache-Group-Invalidation (RFC 9875)."""

from __future__ import annotations

from itertools import islice

from cdn.http.fields import Fields
from cdn.http.structured_field import Item, parse_list
from cdn.http.tag import MAX_TAG_BYTES, MAX_TAGS, OVERFLOW_TAG

MAX_GROUPS = MAX_TAGS
"""Groups of one field. They are cache tags to the store, and cost as much; 32 have to be possible (section 2)."""

MAX_GROUP_LENGTH = MAX_TAG_BYTES
"""Characters of one group, all of them ASCII; 32 have to be possible (section 2). Longer ones are no groups here."""

MAX_FIELD_LENGTH = 16 * 1024
"""Characters of one field that are read: sixteen times what has to be possible, and some ten milliseconds."""


def cache_groups(fields: Fields) -> tuple[str, ...]:
    """The groups that a response belongs to, each once, in order, case kept; none when the field is malformed.

    At most MAX_GROUPS; where there were more the last one is OVERFLOW_TAG, which every invalidation covers. A field
    longer than MAX_FIELD_LENGTH is not read: it is OVERFLOW_TAG alone.
    """
    if len(fields.get("cache-groups") or "") > MAX_FIELD_LENGTH:
        return (OVERFLOW_TAG,)
    groups = _strings(fields.get("cache-groups"))
    if len(groups) > MAX_GROUPS:
        return (*islice(groups, MAX_GROUPS - 1), OVERFLOW_TAG)
    return tuple(groups)


def invalidated_groups(fields: Fields) -> tuple[str, ...]:
    """The groups that a response invalidates, each once, in order; none when the field is malformed.

    At most MAX_GROUPS, the first ones: a server may not count on the rest being invalidated. Only responses to unsafe
    methods may be asked (section 3).
    """
    return tuple(islice(_strings(fields.get("cache-group-invalidation")), MAX_GROUPS))


def _strings(value: str | None) -> dict[str, None]:
    """Members in order; none of a field that is too long to be read.

    One that is no String makes the whole field count as absent (RFC 9651 section 1.2).
    """
    found: dict[str, None] = {}
    if len(value or "") > MAX_FIELD_LENGTH:
        return found
    for member in parse_list(value or "") or ():
        if not isinstance(member, Item) or not isinstance(member.value, str):
            return {}
        if len(member.value) <= MAX_GROUP_LENGTH:
            found[member.value] = None
    return found
