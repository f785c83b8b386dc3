"""URI references in fields, resolved against the request that they answer (RFC 3986 section 5)."""

from __future__ import annotations

import re

from cdn.http.request import Request
from cdn.http.target import Target, parse_host, parse_target

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_HIERARCHY = re.compile(r"//([^/?]*)(.*)", re.DOTALL)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def resolved_target(reference: str, request: Request) -> Target | None:
    """The target that a reference names on the request's own origin (RFC 9110 section 4.3.1).

    None when it names another origin or is malformed. Takes linear time and raises nothing.
    """
    rest = reference.strip(" \t").partition("#")[0]
    scheme = _SCHEME.match(rest)
    if scheme is not None:
        if scheme[1].lower() != request.scheme:
            return None
        rest = rest[scheme.end() :]
    hierarchy = _HIERARCHY.fullmatch(rest)
    if hierarchy is not None:
        authority, rest = hierarchy.groups()
        if not _is_own_authority(authority, request):
            return None
        rest = rest if rest.startswith("/") else "/" + rest
    elif scheme is not None:
        return None
    return _parsed(rest, request.target)


def _is_own_authority(authority: str, request: Request) -> bool:
    host = parse_host(authority)
    if host is None or host.name != request.host:
        return False
    default = _DEFAULT_PORTS.get(request.scheme)
    return (host.port or default) == (request.port or default)


def _parsed(reference: str, base: Target) -> Target | None:
    """What a path with or without query, or nothing at all, names beside `base`."""
    if not reference:
        return base
    path, mark, query = reference.partition("?")
    if not path:
        path = base.path
    elif not path.startswith("/"):
        path = base.path[: base.path.rindex("/") + 1] + path
    try:
        raw = (_without_dot_segments(path) + mark + query).encode("latin-1")
    except UnicodeEncodeError:
        return None
    target = parse_target(raw)
    return target if isinstance(target, Target) else None


def _without_dot_segments(path: str) -> str:
    """RFC 3986 section 5.2.4, for a path that starts with a slash."""
    kept: list[str] = []
    *segments, last = path[1:].split("/")
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if last == "..":
        del kept[-1:]
    kept.append("" if last in {".", ".."} else last)
    return "/" + "/".join(kept)
