"""The cache tags of a response from an upstream: what it says itself, and what the site's rules give it."""

from __future__ import annotations

from collections.abc import Iterable

from cdn.http.cache_groups import cache_groups
from cdn.http.fields import Fields
from cdn.http.tag import MAX_TAGS, OVERFLOW_TAG, parse_tags
from cdn.sites.representation import tags_of
from cdn.sites.settings import SiteSettings


def pull_tags(fields: Fields, decoded_path: str, settings: SiteSettings) -> tuple[str, ...]:
    """Cache-Tag, Surrogate-Key and Cache-Groups (RFC 9875) together, then the rules' tags; each once, bounded.

    A cache group is a tag by the same name: a purge of the tag covers the group.
    """
    named = parse_tags(fields.get_all("cache-tag"), fields.get_all("surrogate-key"))
    return joined_tags((*named, *cache_groups(fields), *tags_of(decoded_path, settings)))


def joined_tags(each: Iterable[str]) -> tuple[str, ...]:
    """Each once, in order, bounded: where there are too many, the last is the one that every invalidation covers."""
    tags = tuple(dict.fromkeys(each))
    if len(tags) > MAX_TAGS:
        return (*tags[: MAX_TAGS - 1], OVERFLOW_TAG)
    return tags
