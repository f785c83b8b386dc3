"""What a site's owner may set, checked field by field."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from cdn.sites.header_rule import HeaderRule, header_rules_to, read_header_rules
from cdn.sites.origin import BUNDLE, HttpOrigin, Origin, parse_authority, parse_origin
from cdn.sites.path import MAX_SHOWN
from cdn.sites.query_policy import QueryPolicy
from cdn.sites.query_setting import KEEP_QUERY, query_policy_to, read_query_policy
from cdn.sites.region import check_region
from cdn.sites.rules.mode import RulesMode
from cdn.sites.settings_reader import (
    Faults,
    Reader,
    choice_reader,
    count_reader,
    optional,
    read_flag,
    read_list,
    read_pattern,
    seconds_reader,
    text_reader,
    timeout_reader,
)

ONE_YEAR_S = 31_536_000
"""The longest lifetime that can be set; the usual reading of "for ever" (RFC 9111 1.2.2 leaves it open)."""

ONE_DAY_S = 86_400
"""The longest time that an error may be remembered: by then somebody has mended it."""

MAX_PREPARE_TIMEOUT_S = 300.0
"""The longest a deploy may wait for slow nodes before it is activated without them."""

MAX_CONNECT_TIMEOUT_S = 60.0
"""The longest a connection to the upstream may take: systems give up a handshake about then."""

MAX_READ_TIMEOUT_S = 600.0
"""The longest silence of an upstream that is borne: visitors have left long before."""

MAX_UPSTREAM_RETRIES = 5
"""More would multiply the load on an upstream that is down already."""

MAX_PASS_S = 3_600
"""The longest time for which requests are not collapsed after an answer that may not be stored."""

MAX_HSTS_S = 2 * ONE_YEAR_S
"""What lists of preloaded names recommend, and the longest that is in use."""

MAX_KEEP = 64
"""Patterns of `keep`: each is tried on every file of a deploy that is superseded."""

MAX_KEEP_DEPLOYS = 1000
"""Deploys that a site may keep beside those in use: each is listed, and its files stay in the store."""

MAX_REGIONS = 32
"""Regions a site may name: each is compared on every request to a node outside them."""

VISITOR_HOST = "visitor"
"""As `upstream_host`: what the visitor asked for is sent upstream."""

BUNDLE_STALE_WHILE_REVALIDATE_S = 60
"""Of bundles, where nothing is set: their store is asked about a deploy that hardly ever changed meanwhile."""


class HttpsPolicy(Enum):
    """Whether visitors who come by http are sent to https. Where the node has no address for https none are."""

    AUTO = "auto"  # where the name has a certificate of its own; below the CDN's zone both are answered
    ALWAYS = "always"  # at once, also before there is a certificate
    OFF = "off"


class OnDetach(Enum):
    """What a node whose lease is over does with a site (DESIGN I9)."""

    SERVE = "serve"  # goes on as it last knew: an outage of control is no outage of the site
    VALIDATE = "validate"  # asks the store or the upstream first: nothing superseded is served, and nothing unasked


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """A site's settings; the defaults suit a site that is deployed by a pipeline.

    `edge_ttl_s`: how long the edge keeps a response without validating. None, for bundles: until it is purged (one
    year); for pull sites: as the response says. Of a pull site it counts for responses that do not say how long they
    are fresh, with `edge_ttl_overrides` for all that may be stored.
    `browser_ttl_s`: max-age for what is neither a page nor fingerprinted. `retention_s`: how long fingerprinted files
    of a superseded deploy stay reachable. `keep`: patterns of files that stay like fingerprinted ones.
    `keep_deploys`: how many deploys stay in the list and in the store, the newest; those in use always do.
    `stale_while_revalidate_s`: None: a minute for bundles, for pull sites what the response says.
    `prepare_timeout_s`: how long an activation waits for nodes to load the manifest. `region`: the names of the only
    regions whose nodes may have the site's bytes; none: all may. `on_detach`: what a node does that has lost control.
    `rules_mode`: whose reading of `_redirects` and `_headers` counts, for deploys from then on.
    `https`: who is sent from http to https. `hsts_s`: for how long browsers shall ask by https alone, said in every
    answer over https (RFC 6797); 0: not said. `hsts_subdomains` and `hsts_preload`: its two flags.

    Of pull sites only:
    `query`: what of a query counts for keys and is sent upstream.
    `negative_ttl_s`: how long an error that does not say it may answer: ten seconds keep a flood of wrong addresses
    from the upstream and are over before one who mends it wonders. `pass_s`: how long requests for a key are not
    collapsed after its answer could not be stored. `upstream_host`: the Host field sent upstream, None: the origin's,
    VISITOR_HOST: the visitor's. `connect_timeout_s`: five seconds take a lost packet and its repetitions.
    `read_timeout_s`: between two pieces of an answer; thirty seconds take a slow page. `upstream_retries`: of
    idempotent requests; one hides a restart. `stores_set_cookie`: whether responses that set cookies are stored where
    RFC 9111 allows. `compresses`: whether stored responses are compressed. `obeys_client_directives`:
    whether Cache-Control of requests counts.
    """

    origin: Origin = BUNDLE
    edge_ttl_s: int | None = None
    edge_ttl_overrides: bool = False
    browser_ttl_s: int = 0
    retention_s: int = 604_800
    keep: tuple[str, ...] = ()
    keep_deploys: int = MAX_KEEP_DEPLOYS
    header_rules: tuple[HeaderRule, ...] = ()
    stale_if_error_s: int = 86_400
    stale_while_revalidate_s: int | None = None
    prepare_timeout_s: float = 10.0
    region: tuple[str, ...] = ()
    on_detach: OnDetach = OnDetach.SERVE
    rules_mode: RulesMode = RulesMode.NETLIFY
    https: HttpsPolicy = HttpsPolicy.AUTO
    hsts_s: int = 0
    hsts_subdomains: bool = False
    hsts_preload: bool = False
    query: QueryPolicy = KEEP_QUERY
    negative_ttl_s: int = 10
    pass_s: int = 30
    upstream_host: str | None = None
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    upstream_retries: int = 1
    stores_set_cookie: bool = True
    compresses: bool = True
    obeys_client_directives: bool = True

    @property
    def is_pull(self) -> bool:
        """Whether content is fetched from an upstream instead of deployed."""
        return self.origin != BUNDLE

    @property
    def validates_on_detach(self) -> bool:
        """Whether a node without a lease may serve the site only what it validates."""
        return self.on_detach is OnDetach.VALIDATE

    @property
    def strict_transport_security(self) -> str | None:
        """The value of Strict-Transport-Security (RFC 6797 section 6.1); None: it is not sent."""
        if not self.hsts_s:
            return None
        subdomains = "; includeSubDomains" if self.hsts_subdomains else ""
        return f"max-age={self.hsts_s}{subdomains}{'; preload' if self.hsts_preload else ''}"

    @property
    def bundle_stale_while_revalidate_s(self) -> int:
        """`stale_while_revalidate_s` as it holds for a bundle."""
        given_s = self.stale_while_revalidate_s
        return BUNDLE_STALE_WHILE_REVALIDATE_S if given_s is None else given_s


DEFAULT_SETTINGS = SiteSettings()


BUNDLE_ONLY = frozenset({"browser_ttl_s", "retention_s", "keep", "keep_deploys", "prepare_timeout_s", "rules_mode"})
"""Settings that do nothing on a site with an upstream."""

PULL_ONLY = frozenset(
    {"edge_ttl_overrides", "query", "upstream_host", "negative_ttl_s", "pass_s", "connect_timeout_s", "read_timeout_s"}
    | {"upstream_retries", "stores_set_cookie", "compresses", "obeys_client_directives"}
)
"""Settings that do nothing on a site of bundles."""


def settings_from(mapping: Mapping[str, Any], *, given: Collection[str] = ()) -> SiteSettings:
    """The settings in `mapping` (JSON builtins), defaults for what is absent.

    `given`: those of them that somebody asks for now, refused where they do nothing on a site of this origin. What was
    recorded before is read whatever it is. Raises InvalidInput that lists every fault; its `field` is the path of the
    first one (`header_rules[2].path`).
    """
    faults = Faults()
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        read = _READERS.get(name)
        if read is None:
            faults.add(str(name)[:MAX_SHOWN], f"there is no such setting; there are {', '.join(_READERS)}")
        else:
            values[name] = read(faults, name, value)
    faults.raise_any()
    settings = SiteSettings(**values)
    _check_fit(faults, settings, given)
    faults.raise_any()  # alone: that they do not go together either would lead nowhere
    _check_together(faults, settings)
    faults.raise_any()
    return settings


def settings_to(settings: SiteSettings) -> dict[str, Any]:
    """The settings as JSON builtins; `settings_from` reads them back unchanged."""
    result = {field.name: getattr(settings, field.name) for field in fields(settings)}
    result["origin"] = str(settings.origin)
    result["query"] = query_policy_to(settings.query)
    result["keep"] = list(settings.keep)
    result["region"] = list(settings.region)
    result["on_detach"] = settings.on_detach.value
    result["rules_mode"] = settings.rules_mode.value
    result["https"] = settings.https.value
    result["header_rules"] = header_rules_to(settings.header_rules)
    return result


def recorded_settings(settings: SiteSettings) -> dict[str, Any]:
    """What of the settings is not the default, as JSON builtins; `settings_from` reads them back unchanged.

    This is what stands in records and snapshots (DESIGN I14): a program of an earlier release stops at a site that uses
    a setting it does not know, and at no other. So a default that was released once is never changed.
    """
    return {name: value for name, value in settings_to(settings).items() if value != _DEFAULTS[name]}


def _check_fit(faults: Faults, settings: SiteSettings, given: Collection[str]) -> None:
    """Faults of settings that are `given` and do nothing on a site of this origin."""
    if settings.is_pull:
        idle, fault = BUNDLE_ONLY, f"it does nothing on a site that is answered from {settings.origin}: leave it out"
    else:
        idle, fault = (
            PULL_ONLY,
            (
                "it does nothing on a site of bundles: leave it out, or create a site with an origin like https://HOST "
                "or s3://BUCKET"
            ),
        )
    for name in given:
        if name in idle:
            faults.add(name, fault)


def _check_together(faults: Faults, settings: SiteSettings) -> None:
    """Faults of settings that are sound one by one."""
    if settings.upstream_host is not None and not isinstance(settings.origin, HttpOrigin):
        faults.add("upstream_host", "a Host field goes to an http or https origin only")
    if settings.edge_ttl_overrides and settings.edge_ttl_s is None:
        faults.add("edge_ttl_overrides", "there is nothing to override with: give edge_ttl_s too")
    if settings.hsts_s and settings.https is HttpsPolicy.OFF:
        faults.add("hsts_s", 'browsers that heard it never ask by http again, so https cannot be "off": leave one out')
    if settings.hsts_subdomains and not settings.hsts_s:
        faults.add("hsts_subdomains", "it says something about hsts_s: give that too")
    if settings.hsts_preload and not (settings.hsts_subdomains and settings.hsts_s >= ONE_YEAR_S):
        faults.add(
            "hsts_preload", f"lists of preloaded names want hsts_subdomains and an hsts_s of {ONE_YEAR_S} at least"
        )


def _host(text: str) -> str:
    """Raises InvalidInput."""
    if text == VISITOR_HOST:
        return text
    host = parse_authority(text)
    return host.name if host.port is None else f"{host.name}:{host.port}"


def _read_keep(faults: Faults, field: str, value: Any) -> tuple[str, ...]:
    items = read_list(faults, field, value, MAX_KEEP)
    return tuple(read_pattern(faults, f"{field}[{n}]", item) for n, item in enumerate(items))


def _read_regions(faults: Faults, field: str, value: Any) -> tuple[str, ...]:
    items = read_list(faults, field, value, MAX_REGIONS)
    names = (_read_region(faults, f"{field}[{n}]", item) for n, item in enumerate(items))
    return tuple(dict.fromkeys(names))


_read_region = text_reader(check_region, "")

_read_lifetime = seconds_reader(ONE_YEAR_S)

_READERS: dict[str, Reader] = {
    "origin": text_reader(parse_origin, BUNDLE),
    "edge_ttl_s": optional(_read_lifetime),
    "edge_ttl_overrides": read_flag,
    "browser_ttl_s": _read_lifetime,
    "retention_s": _read_lifetime,
    "keep": _read_keep,
    "keep_deploys": count_reader(MAX_KEEP_DEPLOYS, least=1),
    "header_rules": read_header_rules,
    "stale_if_error_s": _read_lifetime,
    "stale_while_revalidate_s": optional(_read_lifetime),
    "prepare_timeout_s": timeout_reader(MAX_PREPARE_TIMEOUT_S),
    "region": _read_regions,
    "on_detach": choice_reader(OnDetach),
    "rules_mode": choice_reader(RulesMode),
    "https": choice_reader(HttpsPolicy),
    "hsts_s": seconds_reader(MAX_HSTS_S),
    "hsts_subdomains": read_flag,
    "hsts_preload": read_flag,
    "query": read_query_policy,
    "negative_ttl_s": seconds_reader(ONE_DAY_S),
    "pass_s": seconds_reader(MAX_PASS_S),
    "upstream_host": optional(text_reader(_host, "")),
    "connect_timeout_s": timeout_reader(MAX_CONNECT_TIMEOUT_S),
    "read_timeout_s": timeout_reader(MAX_READ_TIMEOUT_S),
    "upstream_retries": count_reader(MAX_UPSTREAM_RETRIES),
    "stores_set_cookie": read_flag,
    "compresses": read_flag,
    "obeys_client_directives": read_flag,
}

_DEFAULTS = settings_to(DEFAULT_SETTINGS)
