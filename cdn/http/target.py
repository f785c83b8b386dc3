"""Request targets and hosts: one strict reading, one normal form (RFC 9112 section 3.2, RFC 3986).

Whatever could be read in two ways by two programs is refused, so that no cache key, route or purge can be dodged by
writing the same path differently. What passes has exactly one `Target.path`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import AddressValueError, IPv6Address
from typing import Final
from urllib.parse import quote

_PATH_SAFE = "/:@!$&'()*+,;=-._~"
_QUERY_SAFE = _PATH_SAFE + "?%"

_PLAIN_TARGET = re.compile(r"(/[A-Za-z0-9\-._~!$&'()*+,;=:@/]*)(?:\?([A-Za-z0-9\-._~!$&'()*+,;=:@/?]*))?")
_ABSOLUTE = re.compile(r"(https?)://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_HEX = "0123456789abcdefABCDEF"
_NORMAL_ESCAPES: Final = {
    high + low: char if (char := chr(int(high + low, 16))) in _UNRESERVED else f"%{high}{low}".upper()
    for high in _HEX
    for low in _HEX
}
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_DECODED_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"([A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*)\.?(?::([0-9]{0,5}))?")
_IP_LITERAL = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::([0-9]{0,5}))?")

MAX_NAME_LENGTH = 253
"""Longest host name that DNS can hold (RFC 1035 section 2.3.4, as text)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A path and query in normal form.

    `path` starts with "/" and is percent-encoded the one way `encode_path` does it; `decoded_path` is the same path as
    Unicode text, to look files up. `query` is what came after the first "?", None without one.
    """

    path: str
    query: str | None
    decoded_path: str


@dataclass(frozen=True, slots=True)
class AbsoluteTarget:
    """A target in absolute form. `host` is its authority as sent (`parse_host` reads it); `scheme` is lower-case."""

    host: str
    target: Target
    scheme: str


class TargetFault(Enum):
    """Why a target is refused with 400. The value is a sentence for the client."""

    EMPTY = "The request target is empty."
    ASTERISK = 'The request target "*" belongs to OPTIONS only.'
    UNKNOWN_FORM = "The request target is neither a path nor an http or https URL."
    BAD_HOST = "The host in the request target is malformed."
    CONTROL = "The request target contains whitespace or a control character."
    FRAGMENT = "The request target contains a fragment."
    BAD_ESCAPE = "The request target contains a % that no two hexadecimal digits follow."
    ENCODED_CONTROL = "The path contains an encoded control character."
    ENCODED_SLASH = "The path contains an encoded slash."
    ENCODED_DOT = "The path contains an encoded dot."
    BACKSLASH = "The path contains a backslash."
    DOT_SEGMENT = 'The path contains a "." or ".." segment.'
    NOT_UTF8 = "The request target is not UTF-8."


@dataclass(frozen=True, slots=True)
class HostName:
    """A host without its port: a lower-case name without trailing dot, an IPv4 address, or "[IPv6]"."""

    name: str
    port: int | None


def parse_target(raw: bytes) -> Target | AbsoluteTarget | TargetFault:
    """Read a request target in origin form or absolute form.

    "*" comes back as `TargetFault.ASTERISK`: whoever knows that the method is OPTIONS may accept it.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return TargetFault.NOT_UTF8
    if text.startswith("/"):
        return _parse_origin_form(text)
    if not text:
        return TargetFault.EMPTY
    if text == "*":
        return TargetFault.ASTERISK
    return _parse_absolute_form(text)


def _parse_origin_form(text: str) -> Target | TargetFault:
    plain = _PLAIN_TARGET.fullmatch(text)
    if plain is not None:
        path, query = plain.groups()
        if "/." in path and _has_dot_segment(path):
            return TargetFault.DOT_SEGMENT
        return Target(path, query, path)
    return _parse_escaped(text)


def _parse_escaped(text: str) -> Target | TargetFault:
    fault = _fault_of_text(text)
    if fault is not None:
        return fault
    path, mark, query = text.partition("?")
    fault = _fault_of_path(path)
    if fault is not None:
        return fault
    try:
        decoded = _decode(path)
    except UnicodeDecodeError:
        return TargetFault.NOT_UTF8
    if _DECODED_CONTROL.search(decoded):
        return TargetFault.ENCODED_CONTROL
    return Target(encode_path(decoded), _normalise_query(query) if mark else None, decoded)


def _decode(path: str) -> str:
    """Undo percent-encoding, of a path whose escapes are whole and which has no backslash. Raises UnicodeDecodeError.

    4 KiB of escapes, which HTTP/2 says again in one octet, take the library's loop 300 us and this 30: to the codec
    they are the escapes of Python's string literals.
    """
    literal = path.encode("utf-8").replace(b"%", b"\\x").decode("unicode_escape")
    return literal.encode("latin-1").decode("utf-8")


def _normalise_query(query: str) -> str:
    """Equal as RFC 3986 section 6.2.2 says equal; beyond that only the upstream knows what a query means.

    From a table, without a call for each escape: a third of the time.
    """
    first, *rest = query.split("%")
    return quote("".join([first, *[_NORMAL_ESCAPES[text[:2]] + text[2:] for text in rest]]), safe=_QUERY_SAFE)


def _fault_of_text(text: str) -> TargetFault | None:
    if _CONTROL.search(text):
        return TargetFault.CONTROL
    if "#" in text:
        return TargetFault.FRAGMENT
    if _BAD_ESCAPE.search(text):
        return TargetFault.BAD_ESCAPE
    return None


def _fault_of_path(path: str) -> TargetFault | None:
    lower = path.lower()
    if "%2f" in lower:
        return TargetFault.ENCODED_SLASH
    if "%2e" in lower:
        return TargetFault.ENCODED_DOT
    if "\\" in path or "%5c" in lower:
        return TargetFault.BACKSLASH
    if _has_dot_segment(path):
        return TargetFault.DOT_SEGMENT
    return None


def _has_dot_segment(path: str) -> bool:
    return any(segment in {".", ".."} for segment in path.split("/"))


def _parse_absolute_form(text: str) -> AbsoluteTarget | TargetFault:
    match = _ABSOLUTE.fullmatch(text)
    if match is None:
        return TargetFault.UNKNOWN_FORM
    scheme, host, rest = match.groups()
    fault = _fault_of_text(text)
    if fault is not None:
        return fault
    if parse_host(host) is None:
        return TargetFault.BAD_HOST
    target = _parse_origin_form(rest if rest.startswith("/") else "/" + rest)
    if isinstance(target, TargetFault):
        return target
    return AbsoluteTarget(host, target, scheme.lower())


def encode_path(decoded_path: str) -> str:
    """The one percent-encoding of a path: UTF-8, upper-case escapes, everything literal that RFC 3986 allows there.

    Every path that can be requested is a function of its decoded form, so names made from files, from requests and from
    purges are equal exactly when they mean the same path.
    """
    return quote(decoded_path, safe=_PATH_SAFE)


def parse_host(raw: str) -> HostName | None:
    """Read a Host field or an authority without userinfo (RFC 9110 section 7.2); None when it is malformed."""
    match = _HOST.fullmatch(raw)
    if match is not None:
        name, port_text = match.groups()
        if len(name) > MAX_NAME_LENGTH:
            return None
        name = name.lower()
    else:
        match = _IP_LITERAL.fullmatch(raw)
        if match is None:
            return None
        literal, port_text = match.groups()
        try:
            name = f"[{IPv6Address(literal)}]"
        except AddressValueError:
            return None
    if not port_text:
        return HostName(name, None)
    port = int(port_text)
    return HostName(name, port) if 0 < port < 65536 else None
