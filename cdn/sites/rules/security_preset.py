"""Fields that keep a site's pages from being misused, under one name each (docs/rules.md says what they do)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from cdn.sites.rules.field_rule import FieldRule


class SecurityPreset(Enum):
    """`standard` breaks hardly any site; with `strict` everything a page loads has to come from the site itself."""

    STANDARD = "standard"
    STRICT = "strict"


_SAME_FOR_ALL = (
    ("x-content-type-options", "nosniff"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)

_FIELDS: Mapping[SecurityPreset, tuple[tuple[str, str], ...]] = {
    SecurityPreset.STANDARD: (
        *_SAME_FOR_ALL,
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("x-frame-options", "SAMEORIGIN"),
        ("cross-origin-opener-policy", "same-origin-allow-popups"),
    ),
    SecurityPreset.STRICT: (
        *_SAME_FOR_ALL,
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        (
            "content-security-policy",
            "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
        ),
    ),
}


def preset_rule(preset: SecurityPreset) -> FieldRule:
    """The rule that comes before all others, so that every one of them may say otherwise."""
    return FieldRule("/*", _FIELDS[preset])
