"""The file `cdn.toml`: everything rules can say, in one place (docs/rules.md lists every key)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from cdn.errors import InvalidInput
from cdn.http.tag import MAX_TAG_BYTES, MAX_TAGS
from cdn.http.target import parse_host
from cdn.sites.password import check_password_hash
from cdn.sites.path import check_path, shown
from cdn.sites.pattern import check_pattern
from cdn.sites.rules.cache_rule import CacheRule
from cdn.sites.rules.clean_urls import CleanUrls
from cdn.sites.rules.cors_rule import ANY_ORIGIN, CorsRule
from cdn.sites.rules.country_rule import CountryRule
from cdn.sites.rules.field_line import check_field_name
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.header_tables import read_header_tables
from cdn.sites.rules.headers_file import HeadersRead
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_tables import read_redirect_tables
from cdn.sites.rules.redirects_file import RedirectsRead
from cdn.sites.rules.rule_set import RuleSet
from cdn.sites.rules.security_preset import SecurityPreset
from cdn.sites.rules.toml_file import (
    TomlFile,
    TomlTable,
    parse_flag,
    parse_seconds,
    parse_text,
    read_toml,
)

FILE = "cdn.toml"

KEYS = ("redirects", "headers", "caching", "spa", "clean_urls", "error_pages", "auth", "cors", "security", "countries")
KEYS_OF_TIME = ("retention",)

MAX_CACHE_RULES = 1_000
MAX_GUARDS = 100
MAX_USERS = 100
MAX_CORS_RULES = 100
MAX_ORIGINS = 100
MAX_NAMES = 100
MAX_COUNTRY_RULES = 100
MAX_COUNTRIES = 300
"""ISO 3166-1 has 249."""

MAX_KEEP = 64
"""Patterns of `keep`, as of the site's setting."""

MAX_LIFETIME_S = 31_536_000
"""A year, as of the site's settings."""

MAX_PREFLIGHT_S = 86_400
"""The longest any browser remembers a preflight."""

ERROR_STATUSES: Mapping[str, tuple[int, ...]] = {
    **{str(status): (status,) for status in (401, 403, 404, 451, 500, 502, 503, 504)},
    "5xx": (500, 502, 503, 504),
}
"""Keys of [error_pages], and what each stands for."""

_COUNTRY = re.compile(r"[A-Za-z]{2}", re.ASCII)
_METHOD = re.compile(r"[A-Za-z]{1,20}", re.ASCII)
_ORIGIN = re.compile(r"(https?)://([^/?#@]+)", re.ASCII)
_REALM = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]{1,100}")
_USER = re.compile(r"[^:\x00-\x1f\x7f-\x9f]{1,100}")

E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True)
class CdnTomlRead:
    """`rules` has what stands in no other file; redirects and fields come apart, as they meet those of others."""

    rules: RuleSet
    redirects: RedirectsRead
    headers: HeadersRead
    preset: SecurityPreset | None
    file: TomlFile


def read_cdn_toml(content: bytes, mode: RulesMode) -> CdnTomlRead:
    """Never raises: what is wrong is a fault in `file.findings`, or in those of redirects and headers."""
    file = read_toml(content, FILE)
    for name in file.values:
        if name not in KEYS + KEYS_OF_TIME:
            file.fault((name,), f"there is no such key; there are {', '.join(KEYS + KEYS_OF_TIME)}")
    top = TomlTable(file, (), file.values)
    keep, retention_s = _retention(file.table("retention"))
    return CdnTomlRead(
        rules=RuleSet(
            caching=_some(_cache_rule(each) for each in file.tables("caching", MAX_CACHE_RULES)),
            guards=_some(_guard(each) for each in file.tables("auth", MAX_GUARDS)),
            countries=_some(_country_rule(each) for each in file.tables("countries", MAX_COUNTRY_RULES)),
            cors=_some(_cors_rule(each) for each in file.tables("cors", MAX_CORS_RULES)),
            error_pages=_error_pages(file.table("error_pages")),
            spa=top.read("spa", _spa, ""),
            clean_urls=top.read("clean_urls", _clean_urls, CleanUrls.SERVE),
            keep=keep,
            retention_s=retention_s,
        ),
        redirects=read_redirect_tables(file.values.get("redirects", []), FILE, mode, file.table_lines("redirects")),
        headers=read_header_tables(file.values.get("headers", []), FILE, file.table_lines("headers")),
        preset=top.read("security", _preset, None),
        file=file,
    )


def _some(rules: Any) -> Any:
    return tuple(rule for rule in rules if rule is not None)


def _cache_rule(table: TomlTable) -> CacheRule | None:
    table.only(("for", "browser", "edge", "tags"))
    source = table.source()
    rule = CacheRule(
        source,
        browser_s=table.read("browser", lambda value: parse_seconds(value, MAX_LIFETIME_S), None),
        edge_s=table.read("edge", lambda value: parse_seconds(value, MAX_LIFETIME_S), None),
        tags=table.texts("tags", _tag, MAX_TAGS - 1),
    )
    return rule if source else None


def _guard(table: TomlTable) -> Guard | None:
    table.only(("for", "realm", "users"))
    source = table.source("/*")
    realm = table.read("realm", _realm, "Restricted")
    given = table.values.get("users")
    if not isinstance(given, Mapping) or not given:
        table.fault("users", 'name who may come in: users = { ann = "scrypt$..." }, hashes from "cdn password"')
        return None
    if len(given) > MAX_USERS:
        table.fault("users", f"there are {len(given)} of them, at most {MAX_USERS} are allowed")
        return None
    users = TomlTable(table.file, (*table.key, "users"), given)
    for name in given:
        if _USER.fullmatch(name) is None:
            users.fault(name, f"{shown(name)} cannot be a user's name: it has a colon or a control character")
    hashes = tuple((name, users.read(name, _hash, "")) for name in sorted(given))
    return Guard(source, realm, hashes) if source else None


def _country_rule(table: TomlTable) -> CountryRule | None:
    table.only(("for", "allow", "deny", "status"))
    source = table.source("/*")
    if ("allow" in table.values) == ("deny" in table.values):
        table.file.fault(table.key, 'give either allow = ["DE"] or deny = ["XY"]')
        return None
    name = "deny" if "deny" in table.values else "allow"
    countries = table.texts(name, _country, MAX_COUNTRIES)
    status = table.read("status", _refusing_status, 403)
    return CountryRule(source, countries, name == "deny", status) if source else None


def _cors_rule(table: TomlTable) -> CorsRule | None:
    table.only(("for", "origins", "methods", "fields", "expose", "credentials", "max_age"))
    source = table.source("/*")
    origins = table.texts("origins", _origin, MAX_ORIGINS)
    if "origins" not in table.values:
        table.fault("origins", 'name the origins that may read it: origins = ["https://app.example"], or "*"')
    if ANY_ORIGIN in origins and len(origins) > 1:
        table.fault("origins", '"*" means every origin: leave the others out')
    allows_credentials = table.read("credentials", parse_flag, False)
    if allows_credentials and ANY_ORIGIN in origins:
        table.fault("credentials", "browsers refuse credentials where every origin may read: name the origins")
    rule = CorsRule(
        source,
        origins,
        methods=table.texts("methods", _method, MAX_NAMES) or ("GET", "HEAD"),
        fields=table.texts("fields", check_field_name, MAX_NAMES),
        exposed=table.texts("expose", check_field_name, MAX_NAMES),
        allows_credentials=allows_credentials,
        max_age_s=table.read("max_age", lambda value: parse_seconds(value, MAX_PREFLIGHT_S), 5),
    )
    return rule if source and origins else None


def _error_pages(table: TomlTable) -> tuple[tuple[int, str], ...]:
    """A single status counts before a group of them."""
    table.only(tuple(ERROR_STATUSES))
    pages: dict[int, str] = {}
    for name in sorted(ERROR_STATUSES.keys() & table.values.keys(), reverse=True):
        page = table.read(name, _page, "")
        pages.update(dict.fromkeys(ERROR_STATUSES[name], page))
    return tuple(sorted(pages.items()))


def _retention(table: TomlTable) -> tuple[tuple[str, ...], int | None]:
    table.only(("keep", "time"))
    keep = table.texts("keep", check_pattern, MAX_KEEP)
    return keep, table.read("time", lambda value: parse_seconds(value, MAX_LIFETIME_S), None)


# Values; each raises InvalidInput


def _spa(value: Any) -> str:
    if isinstance(value, bool):
        return "/index.html" if value else ""
    return _page(value)


def _page(value: Any) -> str:
    path = parse_text(value)
    check_path(path)
    return path


def _clean_urls(value: Any) -> CleanUrls:
    return _choice(CleanUrls, value)


def _preset(value: Any) -> SecurityPreset | None:
    return _choice(SecurityPreset, value)


def _choice(choices: type[E], value: Any) -> E:
    try:
        return choices(value)
    except ValueError as exc:
        named = " or ".join(f'"{choice.value}"' for choice in choices)
        raise InvalidInput(f"give {named}") from exc


def _realm(value: Any) -> str:
    realm = parse_text(value)
    if _REALM.fullmatch(realm) is None:
        raise InvalidInput("give up to 100 ASCII letters without quotes and backslashes")
    return realm


def _hash(value: Any) -> str:
    return check_password_hash(parse_text(value))


def _tag(tag: str) -> str:
    if not tag.isprintable() or "," in tag or not tag.strip() or len(tag.encode()) > MAX_TAG_BYTES:
        raise InvalidInput(f"{shown(tag)} is no cache tag: up to {MAX_TAG_BYTES} octets without commas")
    return tag.strip()


def _country(code: str) -> str:
    if _COUNTRY.fullmatch(code) is None:
        raise InvalidInput(f"{shown(code)} is no country: give two letters of ISO 3166-1 like DE")
    return code.upper()


def _refusing_status(value: Any) -> int:
    if value not in (403, 451) or isinstance(value, bool | float):
        raise InvalidInput("give 403 or 451")
    return int(value)


def _method(method: str) -> str:
    if _METHOD.fullmatch(method) is None:
        raise InvalidInput(f"{shown(method)} is no method")
    return method.upper()


def _origin(text: str) -> str:
    if text == ANY_ORIGIN:
        return text
    match = _ORIGIN.fullmatch(text.lower())
    if match is None or parse_host(match[2]) is None:
        raise InvalidInput(f'{shown(text)} is no origin: write "https://app.example", without a path, or "*"')
    return match[0]
