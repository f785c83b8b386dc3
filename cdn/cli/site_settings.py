"""A site's settings as options of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cdn.cli.duration import in_duration
from cdn.cli.run import DurationParser
from cdn.cli.text import safe

MAX_DURATION = "365d"
"""The longest lifetime that a site may have; control says so too."""

OriginOption = Annotated[str | None, typer.Option("--origin", hidden=True, metavar="bundle")]
EdgeTtlOption = Annotated[
    str | None,
    typer.Option(
        "--edge-ttl",
        help="How long edges keep a response without validating it, like 5m; none: until it is purged (default).",
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
        "--stale-if-error", help="How long a stale response may stand in for an error; default 1d.", metavar="DURATION"
    ),
]
StaleWhileRevalidateOption = Annotated[
    str | None,
    typer.Option(
        "--stale-while-revalidate",
        help="How long a stale response may be served while it is validated; default 1m.",
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
        settings["edge_ttl_s"] = None if edge_ttl == "none" else _seconds(edge_ttl)
    durations = {
        "browser_ttl_s": browser_ttl,
        "retention_s": retention,
        "stale_if_error_s": stale_if_error,
        "stale_while_revalidate_s": stale_while_revalidate,
    }
    settings |= {name: _seconds(text) for name, text in durations.items() if text is not None}
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


def setting_lines(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings as control gives them, as lines named like the options that change them; safe for a terminal."""
    lines: list[tuple[str, str]] = []
    for name, value in settings.items():
        option = name.removesuffix("_s").replace("_", "-")
        match name:
            case "origin":
                continue
            case "header_rules":
                fields = [(rule["path"], *field) for rule in value for field in rule["fields"]]
                lines += [("header", f"{path} {field}: {text}") for path, field, text in fields] or [("header", "none")]
            case "keep":
                lines += [("keep", pattern) for pattern in value] or [("keep", "none")]
            case "edge_ttl_s" if value is None:
                lines.append((option, "until it is purged"))
            case _:
                lines.append((option, in_duration(value)))
    return tuple(f"  {option:<22}  {safe(text)}" for option, text in lines)


def _seconds(text: str) -> int:
    """Raises typer.BadParameter."""
    seconds = int(DurationParser(text))
    if seconds > DurationParser(MAX_DURATION):
        raise typer.BadParameter(f"{text} is too long: a site's settings take at most {MAX_DURATION}")
    return seconds
