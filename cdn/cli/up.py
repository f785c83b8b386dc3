"""`cdn up`: every role on one machine. The composition root of the embedded size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.address import Address, parse_address
from cdn.cli.setting_checks import http_url
from cdn.cli.size import parse_size
from cdn.edge.access_log_settings import STDOUT, AccessLogSettings, Addresses
from cdn.errors import InvalidInput
from cdn.sites.domain import normalise_zone

if TYPE_CHECKING:
    from cdn.control.dns_asker import LookupSettings


def _typed_address(text: str) -> Address:
    try:
        return parse_address(str(text))
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


OFF = "off"
"""What is given where nobody shall listen."""


def _typed_address_or_off(text: str) -> Address | str:
    return OFF if str(text) == OFF else _typed_address(text)


AUTHORITIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
"""Directories that have a name of their own."""


def _typed_authority(text: str) -> str:
    url = AUTHORITIES.get(str(text), str(text))
    if url == OFF:
        return url
    try:
        return http_url(url)
    except InvalidInput as exc:
        raise typer.BadParameter(f"{exc.message}; or give {', '.join(AUTHORITIES)} or {OFF}") from exc


def _typed_size(text: str) -> int:
    try:
        return parse_size(str(text))
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


def _typed_zone(text: str) -> str:
    try:
        return normalise_zone(str(text))
    except InvalidInput as exc:
        raise typer.BadParameter(exc.message) from exc


def _lookups(resolvers: Sequence[str], name_server_port: int | None) -> LookupSettings:
    from cdn.control.dns_asker import LookupSettings

    try:
        settings = LookupSettings(resolvers=tuple(resolvers))
    except InvalidInput as exc:
        raise typer.BadParameter(exc.message, param_hint="--resolver") from exc
    if name_server_port is None:
        return settings
    return replace(settings, authority_port=name_server_port, allows_private=True)


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/cdn`, or `~/.local/share/cdn`."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "cdn"


def up(  # noqa: PLR0917 - options
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where everything is kept. [default: ~/.local/share/cdn]"),
    ] = None,
    control: Annotated[
        Address, typer.Option("--control", parser=_typed_address, metavar="ADDR", help="Address of the API.")
    ] = "127.0.0.1:8700",  # type: ignore[assignment]  # typer hands the default to the parser
    http: Annotated[
        Address, typer.Option("--http", parser=_typed_address, metavar="ADDR", help="Address visitors connect to.")
    ] = "127.0.0.1:8080",  # type: ignore[assignment]
    https: Annotated[
        Address,
        typer.Option(
            "--https",
            parser=_typed_address_or_off,
            metavar="ADDR",
            help="Address visitors connect to by https; off: nowhere.",
        ),
    ] = "127.0.0.1:8443",  # type: ignore[assignment]
    acme: Annotated[
        str,
        typer.Option(
            "--acme",
            parser=_typed_authority,
            metavar="URL",
            help="Who signs certificates of domains: a directory's URL (RFC 8555), letsencrypt or letsencrypt-staging, "
            "whose terms you then agree to; off: the development authority, which only you trust.",
        ),
    ] = OFF,
    acme_email: Annotated[
        str | None, typer.Option("--acme-email", metavar="MAIL", help="Where that authority may write to.")
    ] = None,
    acme_ca: Annotated[
        Path | None,
        typer.Option("--acme-ca", metavar="FILE", help="Authorities (PEM) that its directory may be certified by."),
    ] = None,
    resolvers: Annotated[
        list[str] | None,
        typer.Option(
            "--resolver",
            metavar="ADDR",
            help="Resolver that is asked for the name servers of domains, up to five times. [default: the system's]",
        ),
    ] = None,
    name_server_port: Annotated[
        int | None,
        typer.Option(
            "--name-server-port",
            min=1,
            max=65_535,
            metavar="PORT",
            help="Where name servers of domains listen, those on this machine and in private networks too: to try all "
            "of it without the DNS of the world.",
        ),
    ] = None,
    dns: Annotated[
        Address,
        typer.Option(
            "--dns",
            parser=_typed_address_or_off,
            metavar="ADDR",
            help="Address where DNS questions about the zones are answered; off: nowhere.",
        ),
    ] = "127.0.0.1:8053",  # type: ignore[assignment]
    zone: Annotated[
        str, typer.Option("--zone", parser=_typed_zone, metavar="ZONE", help="Sites answer at NAME.ZONE.")
    ] = "cdn.localhost",
    store: Annotated[
        str | None,
        typer.Option("--store", envvar="CDN_STORE", metavar="URL", help="s3://BUCKET/PREFIX, or a folder."),
    ] = None,
    s3_endpoint: Annotated[
        str | None,
        typer.Option("--s3-endpoint", envvar="CDN_S3_ENDPOINT", metavar="URL", help="An S3 that is not AWS."),
    ] = None,
    memory: Annotated[
        int, typer.Option("--memory", parser=_typed_size, metavar="SIZE", help="Prepared responses held in memory.")
    ] = "256M",  # type: ignore[assignment]
    disk: Annotated[
        int, typer.Option("--disk", parser=_typed_size, metavar="SIZE", help="Content the edge keeps on disk.")
    ] = "20G",  # type: ignore[assignment]
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=128, metavar="N", help="Processes that answer visitors.")
    ] = 1,
    access_log: Annotated[
        str | None,
        typer.Option(
            "--access-log", metavar="FILE", help="Append a line of JSON for each answer; -: on stdout. [default: none]"
        ),
    ] = None,
    log_addresses: Annotated[
        Addresses,
        typer.Option("--access-log-addresses", help="How much of visitors' addresses is kept in it."),
    ] = Addresses.WHOLE,
    has_log_queries: Annotated[
        bool,
        typer.Option(
            "--access-log-queries/--no-access-log-queries",
            help="Whether queries of targets and referers are kept in it.",
        ),
    ] = True,
    allows_private_upstreams: Annotated[
        bool,
        typer.Option(
            "--allow-private-upstreams",
            help="Sites may be answered from servers on this machine or in private networks, and hooks send there. "
            "For development: whoever may create a site can then read what these servers say.",
        ),
    ] = False,
    node: Annotated[str, typer.Option("--node", help="This node's name, as receipts show it.")] = "local",
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Limits, see config/limits.toml.")
    ] = None,
    is_verbose: Annotated[bool, typer.Option("--verbose", help="Log what is usual as well, on stderr.")] = False,
    is_json: Annotated[bool, typer.Option("--json", help="Print one JSON document when ready.")] = False,
) -> None:
    """Run control, an edge and a name server on this machine until it is stopped (Ctrl-C)."""
    from cdn.cli.embedded import Embedded, EmbeddedSettings, print_ready
    from cdn.cli.service import log_to_stderr, serve
    from cdn.control.acme_settings import AcmeSettings

    log_to_stderr(is_verbose=is_verbose)
    settings = EmbeddedSettings(
        data_dir=(data or default_data_dir()).absolute(),
        control=control,
        http=http,
        zone=zone,
        store_url=store,
        s3_endpoint=s3_endpoint,
        memory_bytes=memory,
        disk_bytes=disk,
        workers=workers,
        access_log=AccessLogSettings(
            None if access_log is None else STDOUT if access_log == "-" else Path(access_log).absolute(),
            log_addresses,
            has_log_queries,
        ),
        https=None if https == OFF else https,  # type: ignore[comparison-overlap]  # what the parser may give
        acme=AcmeSettings(
            directories=() if acme == OFF else (acme,),
            contacts=() if acme_email is None else (f"mailto:{acme_email}",),
            ca_file=acme_ca,
        ),
        lookups=_lookups(resolvers or (), name_server_port),
        dns=None if dns == OFF else dns,  # type: ignore[comparison-overlap]  # what the parser may give
        allows_private_upstreams=allows_private_upstreams,
        node_id=node,
        limits_file=config,
    )

    def announce(running: Embedded) -> None:
        print_ready(running, is_json=is_json)

    raise typer.Exit(
        serve(lambda kept: Embedded.start(settings, kept), announce, way_out="give another folder with --data")
    )
