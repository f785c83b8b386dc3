"""What is sent for a file: fields, validator, cache tags and lifetimes, ready before anyone asks."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.http.entity_tag import EntityTag
from cdn.http.fields import FieldLines
from cdn.http.tag import parse_tags
from cdn.sites.content_type import content_type_of, is_page
from cdn.sites.fingerprint import has_fingerprint
from cdn.sites.manifest import FileEntry
from cdn.sites.path import names_of, plain_names_of
from cdn.sites.pattern import matches
from cdn.sites.rules.asking import NOBODY, Asking
from cdn.sites.rules.rule_set import NO_RULES, RuleSet
from cdn.sites.settings import ONE_YEAR_S, SiteSettings

REVALIDATE = "public, max-age=0, must-revalidate"
"""Browsers keep it and ask each time."""

IMMUTABLE = f"public, max-age={ONE_YEAR_S}, immutable"
"""The name changes with the content (RFC 8246)."""

ENTITY_TAG_DIGITS = 32
"""Hexadecimal digits of the digest in an entity tag: 128 bits tell any two contents of a URL apart."""

_CACHE_TAG = "cache-tag"
_SURROGATE_KEY = "surrogate-key"
_TAG_FIELDS = frozenset((_CACHE_TAG, _SURROGATE_KEY))


@dataclass(frozen=True, slots=True)
class Representation:
    """How a file is answered. `fields` are without content-length, date and age: the edge adds those.

    `names` are the URL paths the file answers to and `tags` its cache tags: what purges can match. `extends_max_age`:
    when set, the max-age in Cache-Control is this plus the age of the stored response at the moment of sending.
    `rule_tags`: those of `tags` that the deploy's rules give: what is stored without one of them has to be admitted
    anew before it is used, since who reclaims it cannot see them. Without `is_general` the fields depend on more of the
    request than its path, so that the answer must not be kept for others.
    """

    status: int
    fields: FieldLines
    tags: tuple[str, ...]
    names: tuple[str, ...]
    entity_tag: EntityTag | None
    freshness_lifetime_s: float
    extends_max_age: int | None
    rule_tags: tuple[str, ...] = ()
    is_general: bool = True


def representation_of(
    path: str,
    entry: FileEntry,
    settings: SiteSettings,
    status: int,
    *,
    rules: RuleSet = NO_RULES,
    asked_path: str | None = None,
    asking: Asking = NOBODY,
) -> Representation:
    """The representation of the file at `path`; `status` is 200, or that of an error whose page it is.

    `rules` are those of the active deploy, `asked_path` the decoded path that was asked for (None: one of the file's
    own), `asking` the rest of the request.

    Header rules apply in their order to the file's path and every URL path it answers to; a later rule's field replaces
    an earlier one's. Cache-Tag and Surrogate-Key of all rules add up to `tags` and are not sent.
    """
    cache_control, extends_max_age = _cache_control(path, settings, status)
    fields = {
        "content-type": [content_type_of(path)],
        "cache-control": [cache_control],
        "x-content-type-options": ["nosniff"],
    }
    entity_tag = None
    if status == 200:
        entity_tag = EntityTag(entry.digest[:ENTITY_TAG_DIGITS], is_weak=False)
        fields["etag"] = [f'"{entity_tag.opaque}"']
        fields["accept-ranges"] = ["bytes"]
    fields.update(given_fields(path, settings))
    if fields["cache-control"] != [cache_control]:
        extends_max_age = None
    return Representation(
        status=status,
        fields=tuple((name, value) for name, values in fields.items() for value in values),
        tags=tags_of(path, settings),
        names=names_of(path),
        entity_tag=entity_tag,
        freshness_lifetime_s=float(ONE_YEAR_S if settings.edge_ttl_s is None else settings.edge_ttl_s),
        extends_max_age=extends_max_age,
    )


def tags_of(path: str, settings: SiteSettings) -> tuple[str, ...]:
    """The cache tags that the header rules give the file at `path`."""
    if not any(name in _TAG_FIELDS for rule in settings.header_rules for name, _ in rule.fields):
        return ()
    rules = _rules_of(path, settings)
    cache_tags = [value for fields in rules for value in fields.get(_CACHE_TAG, ())]
    surrogate_keys = [value for fields in rules for value in fields.get(_SURROGATE_KEY, ())]
    return parse_tags(tuple(cache_tags), tuple(surrogate_keys))


def given_fields(path: str, settings: SiteSettings) -> dict[str, list[str]]:
    """The fields that the header rules give to what answers at `path`, by name; cache tags are not among them."""
    given: dict[str, list[str]] = {}
    for rule_fields in _rules_of(path, settings) if settings.header_rules else ():
        given.update({name: values for name, values in rule_fields.items() if name not in _TAG_FIELDS})
    return given


def _cache_control(path: str, settings: SiteSettings, status: int) -> tuple[str, int | None]:
    if status != 200 or is_page(path):
        return REVALIDATE, None
    if has_fingerprint(path):
        return IMMUTABLE, None
    if settings.browser_ttl_s == 0:
        return REVALIDATE, None
    return f"public, max-age={settings.browser_ttl_s}", settings.browser_ttl_s


def _rules_of(path: str, settings: SiteSettings) -> list[dict[str, list[str]]]:
    """Of every rule that covers the file: its lines by name."""
    covered = plain_names_of(path)
    found: list[dict[str, list[str]]] = []
    for rule in settings.header_rules:
        if any(matches(rule.path, name) for name in covered):
            lines: dict[str, list[str]] = {}
            for name, value in rule.fields:
                lines.setdefault(name, []).append(value)
            found.append(lines)
    return found
