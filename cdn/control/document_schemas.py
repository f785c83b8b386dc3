"""JSON Schema of the documents that are checked by hand, fault by fault: a site's settings and a bundle's manifest."""

from __future__ import annotations

from typing import Any

from cdn.sites.header_rule import MAX_HEADER_RULES, MAX_HEADER_RULES_BYTES
from cdn.sites.manifest import CHUNK_BYTES, MANIFEST_VERSION
from cdn.sites.origin import MAX_ORIGIN_OCTETS
from cdn.sites.query_setting import MAX_QUERY_NAME_LENGTH, MAX_QUERY_NAMES
from cdn.sites.region import MAX_REGION_OCTETS
from cdn.sites.rules.mode import RulesMode
from cdn.sites.settings import (
    BUNDLE_ONLY,
    DEFAULT_SETTINGS,
    MAX_CONNECT_TIMEOUT_S,
    MAX_HSTS_S,
    MAX_KEEP,
    MAX_KEEP_DEPLOYS,
    MAX_PASS_S,
    MAX_PREPARE_TIMEOUT_S,
    MAX_READ_TIMEOUT_S,
    MAX_REGIONS,
    MAX_UPSTREAM_RETRIES,
    ONE_DAY_S,
    ONE_YEAR_S,
    PULL_ONLY,
    HttpsPolicy,
    OnDetach,
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
    "origin": {
        "type": "string",
        "pattern": "^(bundle|(https?|s3)://.+)$",
        "maxLength": MAX_ORIGIN_OCTETS,
        "description": "Where content comes from: bundle (deployed bundles), an HTTP server "
        "(https://HOST[:PORT][/PREFIX], http://...) or a bucket (s3://BUCKET[/PREFIX]). An HTTP server and a bucket "
        "may take each other's place; a site of bundles stays one.",
    },
    "edge_ttl_s": {
        "anyOf": [_SECONDS, {"type": "null"}],
        "description": "Seconds that nodes keep a response without asking where it came from; null: bundles until they "
        "are purged, else what the response says. Of what is not a bundle it counts for responses that say nothing.",
    },
    "edge_ttl_overrides": {
        "type": "boolean",
        "description": "Whether `edge_ttl_s` also replaces the lifetime that a response names. Whether it may be "
        "stored at all is still for the response to say.",
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
    "keep_deploys": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_KEEP_DEPLOYS,
        "description": "How many deploys stay in the list and in the store, the newest; those in use always do.",
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
        "description": "Seconds beyond its freshness that a response may stand in while its store or upstream does not "
        "answer.",
    },
    "stale_while_revalidate_s": {
        "anyOf": [_SECONDS, {"type": "null"}],
        "description": "Seconds beyond its freshness that a response is served while its store or upstream is asked "
        "behind it; null: 60 of bundles, else what the response says.",
    },
    "prepare_timeout_s": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": MAX_PREPARE_TIMEOUT_S,
        "description": "Seconds that an activation waits for nodes to load the manifest.",
    },
    "region": {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": MAX_REGION_OCTETS},
        "maxItems": MAX_REGIONS,
        "description": "Names of the only regions whose nodes may answer for the site and have its bytes, compared "
        "whole; an empty list: all nodes may.",
    },
    "on_detach": {
        "type": "string",
        "enum": [choice.value for choice in OnDetach],
        "description": "What a node does that has lost control for longer than its lease: serve what it has, or "
        "validate it with the store or the upstream before each answer.",
    },
    "rules_mode": {
        "type": "string",
        "enum": [choice.value for choice in RulesMode],
        "description": "Whose reading of _redirects and _headers counts for deploys from then on.",
    },
    "query": {
        "anyOf": [
            {"type": "string", "enum": ["keep", "sort", "drop"]},
            {
                "type": "object",
                "properties": {
                    "allow": {
                        "type": "array",
                        "items": {"type": "string", "minLength": 1, "maxLength": MAX_QUERY_NAME_LENGTH},
                        "maxItems": MAX_QUERY_NAMES,
                    }
                },
                "required": ["allow"],
                "additionalProperties": False,
            },
        ],
        "description": "What of a query counts, for what is stored, for purges and upstream: all of it as sent (keep), "
        "all of it whatever the order of parameters (sort), nothing (drop), or the named parameters (allow).",
    },
    "negative_ttl_s": {
        "type": "integer",
        "minimum": 0,
        "maximum": ONE_DAY_S,
        "description": "Seconds that an upstream's error may answer when it does not say so itself.",
    },
    "pass_s": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_PASS_S,
        "description": "Seconds that requests go upstream side by side after an answer that may not be stored.",
    },
    "upstream_host": {
        "anyOf": [{"type": "string"}, {"type": "null"}],
        "description": "The Host field that an HTTP server is sent: a host with an optional port, `visitor` for what "
        "the visitor asked for (then responses are kept by host), null for the origin's.",
    },
    "connect_timeout_s": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": MAX_CONNECT_TIMEOUT_S,
        "description": "Seconds that connecting to the upstream may take.",
    },
    "read_timeout_s": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": MAX_READ_TIMEOUT_S,
        "description": "Seconds of silence after which an upstream's answer is given up.",
    },
    "upstream_retries": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_UPSTREAM_RETRIES,
        "description": "How often a request that may safely be repeated is, when the upstream did not answer it.",
    },
    "https": {
        "type": "string",
        "enum": [policy.value for policy in HttpsPolicy],
        "description": "Whether visitors who come by http are sent to https: `auto` where the name has a certificate "
        "of its own (names below the CDN's zone are answered either way), `always`, or `off`.",
    },
    "hsts_s": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_HSTS_S,
        "description": "Seconds for which browsers are told, over https, to ask by https alone; 0: they are not.",
    },
    "hsts_subdomains": {"type": "boolean", "description": "Whether that holds for all names below as well."},
    "hsts_preload": {
        "type": "boolean",
        "description": "Whether the name may be put on browsers' lists of those that are asked by https alone.",
    },
    "stores_set_cookie": {
        "type": "boolean",
        "description": "Whether responses that set cookies are stored where the response allows it.",
    },
    "compresses": {"type": "boolean", "description": "Whether stored responses of an upstream are compressed."},
    "obeys_client_directives": {
        "type": "boolean",
        "description": "Whether Cache-Control of visitors' requests counts (no-cache, max-age, ...).",
    },
}

_DEFAULTS = settings_to(DEFAULT_SETTINGS)


def _described(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """With the default, and with the kind of sites for which requests may give it."""
    kind = ""
    if name in BUNDLE_ONLY:
        kind = " Of sites of bundles only: refused for those with an upstream."
    elif name in PULL_ONLY:
        kind = " Of sites with an upstream only: refused for those of bundles."
    return {**schema, "description": schema["description"] + kind, "default": _DEFAULTS[name]}


DOCUMENTS: dict[str, dict[str, Any]] = {
    "SiteSettings": {
        "title": "SiteSettings",
        "description": "A site's settings. In requests any may be left out: at creation its default holds, in a "
        "change it stays as it is. Answers have them all, also those that do nothing on a site of its kind.",
        "type": "object",
        "properties": {name: _described(name, schema) for name, schema in _SETTINGS.items()},
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
