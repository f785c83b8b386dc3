"""JSON Schema of the documents that are checked by hand, fault by fault: a site's settings and a bundle's manifest."""

from __future__ import annotations

from typing import Any

from cdn.sites.manifest import CHUNK_BYTES, MANIFEST_VERSION
from cdn.sites.settings import (
    BUNDLE,
    DEFAULT_SETTINGS,
    MAX_HEADER_RULES,
    MAX_HEADER_RULES_BYTES,
    MAX_KEEP,
    MAX_PREPARE_TIMEOUT_S,
    ONE_YEAR_S,
    settings_to,
)

_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 in lower-case hex."}

_PATTERN = {"type": "string", "description": "Starts with / or *; * stands for anything, slashes included."}

_SECONDS = {"type": "integer", "minimum": 0, "maximum": ONE_YEAR_S}

_FIELD_LINES = {
    "anyOf": [
        {
            "type": "array",
            "items": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
            "minItems": 1,
        },
        {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1},
    ],
    "description": "Pairs of a field name and its value; answers always give pairs, in order.",
}

_SETTINGS: dict[str, dict[str, Any]] = {
    "origin": {"type": "string", "enum": [BUNDLE], "description": "Where files come from: deployed bundles."},
    "edge_ttl_s": {
        "anyOf": [_SECONDS, {"type": "null"}],
        "description": "Seconds that nodes keep a response without asking the store; null: until it is purged.",
    },
    "browser_ttl_s": {
        **_SECONDS,
        "description": "max-age in seconds for files that are neither pages nor fingerprinted.",
    },
    "retention_s": {
        **_SECONDS,
        "description": "Seconds that fingerprinted files of a superseded deploy stay reachable.",
    },
    "keep": {
        "type": "array",
        "items": _PATTERN,
        "maxItems": MAX_KEEP,
        "description": "Files of superseded deploys that stay reachable although their names are not fingerprinted.",
    },
    "header_rules": {
        "type": "array",
        "maxItems": MAX_HEADER_RULES,
        "items": {
            "type": "object",
            "properties": {"path": _PATTERN, "fields": _FIELD_LINES},
            "required": ["path", "fields"],
            "additionalProperties": False,
        },
        "description": "Fields added to responses whose path a pattern covers; "
        f"names and values of all rules take at most {MAX_HEADER_RULES_BYTES} octets.",
    },
    "stale_if_error_s": {
        **_SECONDS,
        "description": "Seconds beyond its freshness that a response may stand in while the store does not answer.",
    },
    "stale_while_revalidate_s": {
        **_SECONDS,
        "description": "Seconds beyond its freshness that a response is served while the store is asked behind it.",
    },
    "prepare_timeout_s": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": MAX_PREPARE_TIMEOUT_S,
        "description": "Seconds that an activation waits for nodes to load the manifest.",
    },
}

_DEFAULTS = settings_to(DEFAULT_SETTINGS)

DOCUMENTS: dict[str, dict[str, Any]] = {
    "SiteSettings": {
        "title": "SiteSettings",
        "description": "A site's settings. In requests any may be left out: at creation its default holds, in a "
        "change it stays as it is. Answers have them all.",
        "type": "object",
        "properties": {name: {**schema, "default": _DEFAULTS[name]} for name, schema in _SETTINGS.items()},
        "additionalProperties": False,
    },
    "Manifest": {
        "title": "Manifest",
        "description": "The files of a bundle by path (/docs/index.html).",
        "type": "object",
        "properties": {
            "version": {"type": "integer", "enum": [MANIFEST_VERSION]},
            "files": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "digest": _DIGEST,
                        "size_bytes": {"type": "integer", "minimum": 0},
                        "chunks": {
                            "type": "array",
                            "items": _DIGEST,
                            "description": f"The digest of every {CHUNK_BYTES} bytes and of the rest; only of files "
                            "larger than that.",
                        },
                    },
                    "required": ["digest", "size_bytes"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["version", "files"],
        "additionalProperties": False,
    },
}
"""By their names among the description's components."""
