"""A site's settings as options of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, overload

import typer

from cdn.cli.duration import in_duration
from cdn.cli.run import DurationParser
from cdn.cli.text import safe
from cdn.sites.settings import BUNDLE_ONLY, PULL_ONLY

BUNDLE = "bundle"
"""The origin of sites that are deployed to, as control writes it."""

MAX_DURATION = "365d"
"""The longest lifetime that a site may have; control says so too."""

QUERY_POLICIES = ("keep", "sort", "drop")
"""What --query takes beside allow:NAME,NAME."""

OriginOption = Annotated[
    str | None,
    typer.Option(
        "--origin",
        help="Where content comes from: bundle (what `cdn deploy` uploads, default), an HTTP server like "
        "https://www.example.com/app, or a bucket like s3://BUCKET/PREFIX.",
        metavar="ORIGIN",
    ),
]
EdgeTtlOption = Annotated[
    str | None,
    typer.Option(
        "--edge-ttl",
        help="How long edges keep a response without validating it, like 5m; none: until it is purged (default). "
        "With an upstream: of responses that do not say it themselves, none: what HTTP makes of them.",
        metavar="DURATION",
    ),
]
BrowserTtlOption = Annotated[
    str | None,
    typer.Option(
        "--browser-ttl",
        help="How long browsers keep what is neither a page nor fingerprinted; 0s: they ask each time (default).",
        metavar="DURATION",
    ),
]
RetentionOption = Annotated[
    str | None,
    typer.Option(
        "--retention",
        help="How long fingerprinted files of earlier deploys stay reachable; default 7d.",
        metavar="DURATION",
    ),
]
KeepOption = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        help="Files that stay reachable like fingerprinted ones, like '/img/*'; * stands for anything, also slashes. "
        "May be repeated.",
        metavar="PATTERN",
    ),
]
KeepDeploysOption = Annotated[
    int | None,
    typer.Option(
        "--keep-deploys",
        help="How many deploys stay in the list and in the store, beside those in use; default 1000.",
        metavar="COUNT",
        show_default=False,
    ),
]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        help="A field for the responses that a pattern covers, like '/blog/* Cache-Tag: news, blog'. May be repeated.",
        metavar="'PATTERN NAME: VALUE'",
    ),
]
AddHeaderOption = Annotated[
    list[str] | None,
    typer.Option("--add-header", help="Like --header, beside the rules there are.", metavar="'PATTERN NAME: VALUE'"),
]
NoHeadersOption = Annotated[bool, typer.Option("--no-headers", help="Remove every rule of --header.")]
NoKeepOption = Annotated[bool, typer.Option("--no-keep", help="Remove every pattern of --keep.")]
StaleIfErrorOption = Annotated[
    str | None,
    typer.Option(
        "--stale-if-error",
        help="How long a stale response may stand in for an error; none: never; default 1d.",
        metavar="DURATION",
    ),
]
StaleWhileRevalidateOption = Annotated[
    str | None,
    typer.Option(
        "--stale-while-revalidate",
        help="How long a stale response may be served while it is validated; default 1m. With an upstream: none, "
        "which leaves it to the response, is the default.",
        metavar="DURATION",
    ),
]
RegionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        help="A region whose nodes may have the site's bytes, and with the others that are named the only ones; all "
        "may unless given. May be repeated.",
        metavar="REGION",
    ),
]
OnDetachOption = Annotated[
    str | None,
    typer.Option(
        "--on-detach",
        help="What a node does that has lost control: serve what it has (default), or validate it first.",
        metavar="serve|validate",
    ),
]
RulesModeOption = Annotated[
    str | None,
    typer.Option(
        "--rules-mode",
        help="Whose reading of _redirects and _headers counts for deploys from then on: Netlify's (default), where a "
        "file goes before a rule, or Cloudflare Pages'.",
        metavar="netlify|cloudflare",
    ),
]
HttpsOption = Annotated[
    str | None,
    typer.Option(
        "--https",
        help="Whether visitors who come by http are sent to https: where the name has a certificate of its own (auto, "
        "default), always, or never (off).",
        metavar="auto|always|off",
    ),
]
HstsOption = Annotated[
    str | None,
    typer.Option(
        "--hsts",
        help="How long browsers shall ask by https alone, told in every answer over https; 0s: they are not told "
        "(default). What they have heard cannot be taken back.",
        metavar="DURATION",
    ),
]
HstsSubdomainsOption = Annotated[
    bool | None,
    typer.Option(
        "--hsts-subdomains/--no-hsts-subdomains",
        help="That holds for all names below as well, or not (default).",
        show_default=False,
    ),
]
HstsPreloadOption = Annotated[
    bool | None,
    typer.Option(
        "--hsts-preload/--no-hsts-preload",
        help="The name may be put on browsers' own lists of those, or not (default).",
        show_default=False,
    ),
]
NoRegionsOption = Annotated[bool, typer.Option("--no-regions", help="Nodes in all regions may have it again.")]


UPSTREAM = "With an upstream (--origin other than bundle)"
"""The part of the help that options of sites with an upstream stand in."""

EdgeTtlOverridesOption = Annotated[
    bool | None,
    typer.Option(
        "--edge-ttl-overrides/--no-edge-ttl-overrides",
        help="--edge-ttl also counts for responses that say how long they are fresh.",
        show_default=False,
        rich_help_panel=UPSTREAM,
    ),
]
QueryOption = Annotated[
    list[str] | None,
    typer.Option(
        "--query",
        help="What of a query counts. keep: all of it (default); sort: all, in any order; drop: nothing; "
        "allow:page,q: these parameters (may be repeated).",
        metavar="POLICY",
        rich_help_panel=UPSTREAM,
    ),
]
UpstreamHostOption = Annotated[
    str | None,
    typer.Option(
        "--upstream-host",
        help="The Host it is sent: a name, visitor (what the visitor asked for), or origin (default).",
        metavar="HOST",
        rich_help_panel=UPSTREAM,
    ),
]
NegativeTtlOption = Annotated[
    str | None,
    typer.Option(
        "--negative-ttl",
        help="How long its errors answer when they do not say it; default 10s.",
        metavar="DURATION",
        rich_help_panel=UPSTREAM,
    ),
]
PassOption = Annotated[
    str | None,
    typer.Option(
        "--pass",
        help="How long requests go there side by side after an answer that may not be stored; default 30s.",
        metavar="DURATION",
        rich_help_panel=UPSTREAM,
    ),
]
ConnectTimeoutOption = Annotated[
    str | None,
    typer.Option(
        "--connect-timeout",
        help="How long connecting may take; default 5s.",
        metavar="DURATION",
        rich_help_panel=UPSTREAM,
    ),
]
ReadTimeoutOption = Annotated[
    str | None,
    typer.Option(
        "--read-timeout", help="How long it may be silent; default 30s.", metavar="DURATION", rich_help_panel=UPSTREAM
    ),
]
RetriesOption = Annotated[
    int | None,
    typer.Option(
        "--upstream-retries",
        min=0,
        metavar="N",
        help="How often an idempotent request is repeated when it fails; default 1.",
        show_default=False,
        rich_help_panel=UPSTREAM,
    ),
]
SetCookieOption = Annotated[
    bool | None,
    typer.Option(
        "--stores-set-cookie/--no-stores-set-cookie",
        help="Responses that set cookies are stored where they allow it (default), or never.",
        show_default=False,
        rich_help_panel=UPSTREAM,
    ),
]
CompressesOption = Annotated[
    bool | None,
    typer.Option(
        "--compresses/--no-compresses",
        help="What it says is compressed once, when that is first wanted (default), or left as it is.",
        show_default=False,
        rich_help_panel=UPSTREAM,
    ),
]
ClientDirectivesOption = Annotated[
    bool | None,
    typer.Option(
        "--obeys-client-directives/--no-obeys-client-directives",
        help="Cache-Control of visitors' requests counts (default), or not.",
        show_default=False,
        rich_help_panel=UPSTREAM,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingOptions:
    """What was typed, None where nothing was."""

    origin: str | None
    edge_ttl: str | None
    edge_ttl_overrides: bool | None
    browser_ttl: str | None
    retention: str | None
    keep: list[str] | None
    keep_deploys: int | None
    header: list[str] | None
    stale_if_error: str | None
    stale_while_revalidate: str | None
    query: list[str] | None
    upstream_host: str | None
    negative_ttl: str | None
    pass_time: str | None
    connect_timeout: str | None
    read_timeout: str | None
    upstream_retries: int | None
    stores_set_cookie: bool | None
    compresses: bool | None
    obeys_client_directives: bool | None
    region: list[str] | None
    on_detach: str | None
    rules_mode: str | None
    https: str | None
    hsts: str | None
    hsts_subdomains: bool | None
    hsts_preload: bool | None

    def settings(self) -> dict[str, Any]:
        """The settings that were named, as control takes them. Raises typer.BadParameter."""
        named: dict[str, Any] = {
            "origin": self.origin,
            "edge_ttl_overrides": self.edge_ttl_overrides,
            "browser_ttl_s": _seconds(self.browser_ttl),
            "retention_s": _seconds(self.retention),
            "keep": self.keep or None,
            "keep_deploys": self.keep_deploys,
            "header_rules": header_rules(self.header) if self.header else None,
            "stale_if_error_s": 0 if self.stale_if_error == "none" else _seconds(self.stale_if_error),
            "query": _query(self.query) if self.query else None,
            "negative_ttl_s": _seconds(self.negative_ttl),
            "pass_s": _seconds(self.pass_time),
            "connect_timeout_s": _timeout(self.connect_timeout),
            "read_timeout_s": _timeout(self.read_timeout),
            "upstream_retries": self.upstream_retries,
            "stores_set_cookie": self.stores_set_cookie,
            "compresses": self.compresses,
            "obeys_client_directives": self.obeys_client_directives,
            "region": self.region or None,
            "on_detach": self.on_detach,
            "rules_mode": self.rules_mode,
            "https": self.https,
            "hsts_s": _seconds(self.hsts),
            "hsts_subdomains": self.hsts_subdomains,
            "hsts_preload": self.hsts_preload,
        }
        settings = {name: value for name, value in named.items() if value is not None}
        for name, text in (("edge_ttl_s", self.edge_ttl), ("stale_while_revalidate_s", self.stale_while_revalidate)):
            if text is not None:
                settings[name] = None if text == "none" else _seconds(text)
        if self.upstream_host is not None:
            settings["upstream_host"] = None if self.upstream_host == "origin" else self.upstream_host
        return settings


def header_rules(texts: list[str]) -> list[dict[str, Any]]:
    """Rules from texts like `/blog/* Cache-Tag: blog`; fields of one pattern stand in one rule, in their order."""
    rules: dict[str, list[list[str]]] = {}
    for text in texts:
        pattern, space, line = text.strip().partition(" ")
        name, colon, value = line.partition(":")
        if not space or not colon or not name.strip():
            raise typer.BadParameter(f"{text!r} is not a header rule: write for example '/blog/* Cache-Tag: blog'")
        rules.setdefault(pattern, []).append([name.strip(), value.strip()])
    return [{"path": pattern, "fields": fields} for pattern, fields in rules.items()]


def setting_lines(settings: Mapping[str, Any], names: Iterable[str] | None = None) -> tuple[str, ...]:
    """Settings as control gives them, as lines named like the options that change them; safe for a terminal.

    Without `names` all but the origin that mean something for a site of that origin.
    """
    is_pull = settings["origin"] != BUNDLE
    if names is None:
        idle = BUNDLE_ONLY if is_pull else PULL_ONLY
        names = [name for name in settings if name != "origin" and name not in idle]
    lines: list[tuple[str, str]] = []
    for name in names:
        value = settings[name]
        match name:
            case "header_rules":
                fields = [(rule["path"], *field) for rule in value for field in rule["fields"]]
                lines += [("header", f"{path} {field}: {text}") for path, field, text in fields] or [("header", "none")]
            case "keep":
                lines += [("keep", pattern) for pattern in value] or [("keep", "none")]
            case "region":
                lines += [("region", region) for region in value] or [("region", "all")]
            case _:
                lines.append((name.removesuffix("_s").replace("_", "-"), _value(name, value, is_pull=is_pull)))
    return tuple(f"  {option:<23}  {safe(text)}" for option, text in lines)


def _value(name: str, value: Any, *, is_pull: bool) -> str:
    """One value in the words of its option."""
    match value:
        case None if name == "upstream_host":
            return "origin"
        case None if is_pull:
            return "as the response says"
        case None:
            return "1m" if name == "stale_while_revalidate_s" else "until it is purged"
        case bool():
            return "yes" if value else "no"
        case {"allow": list(allowed)}:
            return f"allow:{','.join(allowed)}"
        case int() | float() if name.endswith("_s"):
            return in_duration(value)
        case _:
            return str(value)


def _query(texts: list[str]) -> str | dict[str, list[str]]:
    """What control calls the policy. Raises typer.BadParameter."""
    names: list[str] = []
    for text in texts:
        policy, _, listed = text.partition(":")
        if text in QUERY_POLICIES and len(texts) == 1:
            return text
        if text in QUERY_POLICIES:
            raise typer.BadParameter(f"--query {text} goes alone: a site has one policy, and only allow:NAME adds up")
        if policy.strip() != "allow":
            raise typer.BadParameter(f"{text!r} is no policy for --query: write keep, sort, drop or allow:NAME,NAME")
        added = [name.strip() for name in listed.split(",") if name.strip()]
        if not added:
            raise typer.BadParameter(f"{text!r} names no parameter: write allow:NAME,NAME, or drop when none counts")
        names += added
    return {"allow": names}


@overload
def _seconds(text: str) -> int: ...
@overload
def _seconds(text: None) -> None: ...
def _seconds(text: str | None) -> int | None:
    """Raises typer.BadParameter."""
    if text is None:
        return None
    seconds = int(DurationParser(text))
    if seconds > DurationParser(MAX_DURATION):
        raise typer.BadParameter(f"{text} is too long: a site's settings take at most {MAX_DURATION}")
    return seconds


def _timeout(text: str | None) -> float | None:
    """Raises typer.BadParameter."""
    return None if text is None else DurationParser(text)
