"""A site's settings as options of the command line."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cdn.cli.run import DurationParser

OriginOption = Annotated[
    str | None, typer.Option("--origin", help="Where the site's bytes come from.", metavar="bundle|URL")
]
EdgeTtlOption = Annotated[
    str | None,
    typer.Option(
        "--edge-ttl",
        help="How long edges keep a response without validating it; `none`: until it is purged.",
        metavar="DURATION",
    ),
]
BrowserTtlOption = Annotated[
    str | None,
    typer.Option(
        "--browser-ttl",
        help="How long browsers keep what is neither a page nor fingerprinted.",
        metavar="DURATION",
    ),
]
RetentionOption = Annotated[
    str | None,
    typer.Option(
        "--retention", help="How long fingerprinted files of earlier deploys stay reachable.", metavar="DURATION"
    ),
]
KeepOption = Annotated[
    list[str] | None,
    typer.Option("--keep", help="Pattern of files that stay reachable like fingerprinted ones.", metavar="PATTERN"),
]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        help="A field for the responses a pattern covers, like '/blog/* Cache-Tag: blog'.",
        metavar="'PATTERN NAME: VALUE'",
    ),
]
StaleIfErrorOption = Annotated[
    str | None,
    typer.Option("--stale-if-error", help="How long a stale response may stand in for an error.", metavar="DURATION"),
]
StaleWhileRevalidateOption = Annotated[
    str | None,
    typer.Option(
        "--stale-while-revalidate",
        help="How long a stale response may be served while it is validated.",
        metavar="DURATION",
    ),
]


def settings_from_options(
    *,
    origin: str | None,
    edge_ttl: str | None,
    browser_ttl: str | None,
    retention: str | None,
    keep: list[str] | None,
    header: list[str] | None,
    stale_if_error: str | None,
    stale_while_revalidate: str | None,
) -> dict[str, Any]:
    """The settings that were named, as control takes them. Raises typer.BadParameter."""
    settings: dict[str, Any] = {}
    if origin is not None:
        settings["origin"] = origin
    if edge_ttl is not None:
        settings["edge_ttl_s"] = None if edge_ttl == "none" else int(DurationParser(edge_ttl))
    durations = {
        "browser_ttl_s": browser_ttl,
        "retention_s": retention,
        "stale_if_error_s": stale_if_error,
        "stale_while_revalidate_s": stale_while_revalidate,
    }
    settings |= {name: int(DurationParser(text)) for name, text in durations.items() if text is not None}
    if keep:
        settings["keep"] = keep
    if header:
        settings["header_rules"] = header_rules(header)
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
