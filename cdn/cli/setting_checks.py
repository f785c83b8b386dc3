"""Checks of single settings, by the setting's name: what its type does not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cdn.errors import InvalidInput
from cdn.fleet.node import check_bias, check_node_id, check_public_addresses, check_weight, read_location
from cdn.sites.domain import normalise_zone

TOKEN_PREFIX = "cdn_"  # noqa: S105 - how the text of a token begins

MAX_PROCESSES = 256
"""Coding processes: more than machines have cores for."""


def http_url(text: str) -> str:
    """`text` when it is the URL of an HTTP service. Raises InvalidInput, without repeating what may be a password."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as exc:
        raise InvalidInput("this is no URL") from exc
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput("this is no URL that begins with http:// or https:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("leave user and password out of the URL")
    return text


def http_urls(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Raises InvalidInput."""
    return tuple(map(http_url, texts))


def refuse_token(text: str) -> None:
    """Raises InvalidInput when a setting is a token itself, without repeating it."""
    if text.startswith(TOKEN_PREFIX):
        raise InvalidInput("this is a token: write it into a file that only the service may read, and name that file")


def scheme(text: str) -> str:
    """Raises InvalidInput."""
    if text not in {"http", "https"}:
        raise InvalidInput("this is neither http nor https")
    return text


def check_dns_id(text: str) -> str:
    """`text` when it can name a DNS process. Raises InvalidInput."""
    try:
        return check_node_id(text)
    except InvalidInput as exc:
        raise InvalidInput(exc.message.replace("a node", "a DNS process"), field="dns_id") from exc


def port(number: int) -> int:
    """Raises InvalidInput."""
    if number > 65_535:
        raise InvalidInput(f"{number} is no port: they end at 65535")
    return number


def processes(number: int) -> int:
    """Raises InvalidInput."""
    if not 0 <= number <= MAX_PROCESSES:
        raise InvalidInput(f"{number} is no number of processes from 0 to {MAX_PROCESSES}")
    return number


def location(text: str) -> str:
    """Raises InvalidInput."""
    if text:
        read_location(text)
    return text


def log_file(path: Path) -> Path:
    """Raises InvalidInput."""
    if path.name == "-":
        raise InvalidInput("this would be a file named -: the standard output is /dev/stdout")
    return path


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "node_id": check_node_id,
    "dns_id": check_dns_id,
    "zone": normalise_zone,
    "control_url": http_url,
    "other_control_urls": http_urls,
    "endpoint_url": http_url,
    "public_scheme": scheme,
    "public_port": port,
    "public_https_port": port,
    "check_port": port,
    "public_addresses": check_public_addresses,
    "weight": check_weight,
    "location": location,
    "bias": check_bias,
    "coding_processes": processes,
    "file": log_file,
}

MAY_BE_ZERO = frozenset(
    {"weight", "bias", "slip", "coding_processes", "max_hook_messages_per_minute"}
    | {f"max_purged_{kind}_per_minute" for kind in ("urls", "prefixes", "tags")}
    | {"max_purges_of_everything_per_minute"}
)
"""Numbers that say something at 0 or below; everywhere else that is a mistake."""
