"""What is sent for a file: fields, validator, cache tags and lifetimes, ready before anyone asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdn.http.entity_tag import EntityTag
from cdn.http.fields import FieldLines
from cdn.http.tag import parse_tags
from cdn.http.target import encode_path
from cdn.sites.content_type import content_type_of, is_page
from cdn.sites.fingerprint import has_fingerprint
from cdn.sites.manifest import FileEntry
from cdn.sites.path import plain_names_of
from cdn.sites.pattern import matches
from cdn.sites.rules.applied_fields import TAG_FIELDS, applied
from cdn.sites.rules.asking import NOBODY, Asking
from cdn.sites.rules.cache_rule import CacheRule
from cdn.sites.rules.rule_set import NO_RULES, RuleSet, is_of_files
from cdn.sites.settings import ONE_YEAR_S, SiteSettings

REVALIDATE = "public, max-age=0, must-revalidate"
"""Browsers keep it and ask each time."""

IMMUTABLE = f"public, max-age={ONE_YEAR_S}, immutable"
"""The name changes with the content (RFC 8246)."""

ENTITY_TAG_DIGITS = 32
"""Hexadecimal digits of the digest in an entity tag: 128 bits tell any two contents of a URL apart."""

_CACHE_TAG = "cache-tag"
_SURROGATE_KEY = "surrogate-key"
_VARY = "vary"


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
    own), `asking` the rest of the request. The settings' header rules apply in their order to the file's path and every
    URL path it answers to, then the deploy's to those and to the path that was asked for; a later rule's field replaces
    an earlier one's, but for what `_headers` joins. Cache-Tag and Surrogate-Key of all rules add up to `tags` and are
    not sent.
    """
    is_plain = rules is NO_RULES
    covered = plain_names_of(path)
    if asked_path is not None and asked_path not in covered and status == 200:
        covered = (asked_path, *covered)
    cached = () if is_plain else rules.cache_rules(covered)
    cache_control, extends_max_age = _cache_control(path, settings, status, cached)
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
    tags, is_general = tags_of(path, settings), True
    rule_tags: tuple[str, ...] = ()
    if not is_plain:
        # What was asked for comes first: its placeholders are those that a value repeats.
        asked_first = covered if asked_path is None else tuple(dict.fromkeys((asked_path, *covered)))
        fields, rule_tags, is_general = _with_rules(fields, asked_first, status, rules, asking)
        rule_tags = tuple(dict.fromkeys((*rule_tags, *(tag for rule in cached for tag in rule.tags))))
        tags = tuple(dict.fromkeys((*tags, *rule_tags)))
    if fields.get("cache-control") != [cache_control]:
        extends_max_age = None
    return Representation(
        status=status,
        fields=tuple((name, value) for name, values in fields.items() for value in values),
        tags=tags,
        names=tuple(map(encode_path, covered)),
        entity_tag=entity_tag,
        freshness_lifetime_s=_freshness_lifetime_s(settings, cached),
        extends_max_age=extends_max_age,
        rule_tags=rule_tags,
        is_general=is_general,
    )


def tags_of(path: str, settings: SiteSettings) -> tuple[str, ...]:
    """The cache tags that the settings' header rules give the file at `path`."""
    if not any(name in TAG_FIELDS for rule in settings.header_rules for name, _ in rule.fields):
        return ()
    rules = _rules_of(path, settings)
    cache_tags = [value for fields in rules for value in fields.get(_CACHE_TAG, ())]
    surrogate_keys = [value for fields in rules for value in fields.get(_SURROGATE_KEY, ())]
    return parse_tags(tuple(cache_tags), tuple(surrogate_keys))


def given_fields(path: str, settings: SiteSettings) -> dict[str, list[str]]:
    """The fields that the settings' header rules give to what answers at `path`, by name, without cache tags."""
    given: dict[str, list[str]] = {}
    for rule_fields in _rules_of(path, settings) if settings.header_rules else ():
        given.update({name: values for name, values in rule_fields.items() if name not in TAG_FIELDS})
    return given


def _with_rules(
    fields: dict[str, list[str]], covered: tuple[str, ...], status: int, rules: RuleSet, asking: Asking
) -> tuple[dict[str, list[str]], tuple[str, ...], bool]:
    """The fields as the deploy's rules change them, the tags they give, and whether that is so for whoever asks."""
    covering, is_general = rules.field_rules.covering(covered, asking)
    after = applied(fields, covering)
    sent = after.sent()
    if status != 200:  # an error is kept no longer than what was absent may stay so
        sent = {name: values for name, values in sent.items() if not is_of_files(name)}
        sent |= {name: values for name, values in fields.items() if is_of_files(name)}
    lines, is_same_for_all = rules.cross_origin.fields(covered, asking)
    for name, _ in lines:
        if name != _VARY:
            sent.pop(name, None)
    for name, value in lines:
        sent.setdefault(name, []).append(value)
    cache_tags = tuple(value for name, value in after.tags if name == _CACHE_TAG)
    surrogate_keys = tuple(value for name, value in after.tags if name != _CACHE_TAG)
    return sent, parse_tags(cache_tags, surrogate_keys), is_general and is_same_for_all


def _cache_control(
    path: str, settings: SiteSettings, status: int, cached: Sequence[CacheRule]
) -> tuple[str, int | None]:
    if status != 200:
        return REVALIDATE, None
    lifetimes_s = [rule.browser_s for rule in cached if rule.browser_s is not None]
    if not lifetimes_s and has_fingerprint(path):
        return IMMUTABLE, None
    lifetime_s = lifetimes_s[-1] if lifetimes_s else 0 if is_page(path) else settings.browser_ttl_s
    return (f"public, max-age={lifetime_s}", lifetime_s) if lifetime_s else (REVALIDATE, None)


def _freshness_lifetime_s(settings: SiteSettings, cached: Sequence[CacheRule]) -> float:
    lifetimes_s = [rule.edge_s for rule in cached if rule.edge_s is not None]
    if lifetimes_s:
        return float(lifetimes_s[-1])
    return float(ONE_YEAR_S if settings.edge_ttl_s is None else settings.edge_ttl_s)


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
