"""What a purge in Cloudflare's API asks for: `POST /client/v4/zones/{zone}/purge_cache` and `invalidate_cache`.

https://developers.cloudflare.com/api/resources/cache/methods/purge/. One call names things of one kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from cdn.errors import InvalidInput, TooLarge
from cdn.http.target import parse_host
from cdn.purge.request import MAX_SCOPES_PER_PURGE, PurgeRequest

T = TypeVar("T")

KINDS = ("files", "tags", "hosts", "prefixes", "purge_everything")

_SHOWN_CHARS = 200


class _File(msgspec.Struct, frozen=True):
    """A URL with the request fields that Cloudflare's key for it has. Here one URL covers all that was stored for it,
    whatever the request had, so they choose nothing."""

    url: str
    headers: Mapping[str, Any] = {}


def read_cloudflare_purge(raw: bytes, is_host: Callable[[str], bool], *, soft: bool) -> PurgeRequest:
    """The purge that the content of a call asks for. `is_host` says which hosts are the site's.

    A host is all of the site: whatever is stored is stored for all of its hosts. Raises InvalidInput with every fault
    in `details`, TooLarge; whether URLs and tags can be purged is judged with every other purge.
    """
    kind, value = _one_kind(_members(raw))
    if kind == "purge_everything":
        if value is not True:
            raise InvalidInput('"purge_everything" must be true.', field=kind)
        return PurgeRequest(everything=True, soft=soft)
    if kind == "files":
        files = _list(kind, value, str | _File, "URLs, or objects with a url and headers")
        return PurgeRequest(urls=tuple(one if isinstance(one, str) else one.url for one in files), soft=soft)
    texts: tuple[str, ...] = _list(kind, value, str, "strings")
    if kind == "tags":
        return PurgeRequest(tags=texts, soft=soft)
    if kind == "prefixes":
        return PurgeRequest(prefixes=_each(kind, texts, lambda text: _path_of_prefix(text, is_host)), soft=soft)
    _each(kind, texts, lambda text: _host(text, text, is_host))
    return PurgeRequest(everything=True, soft=soft)


def _members(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw or b"{}", type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidInput("The request's content is not a JSON object.") from exc


def _one_kind(members: Mapping[str, Any]) -> tuple[str, Any]:
    """Which of KINDS is asked for. Others are refused: what is misspelt would purge nothing."""
    given = {name: value for name, value in members.items() if value is not None and (name, value) != _NOT_EVERYTHING}
    unknown = [name for name in given if name not in KINDS]
    choices = ", ".join(f'"{kind}"' for kind in KINDS)
    if unknown:
        raise InvalidInput(
            f"There is no {_shown(unknown[0])} here; there are {choices}.", field=unknown[0][:_SHOWN_CHARS]
        )
    if len(given) != 1:
        raise InvalidInput(f"A request contains exactly one of {choices}, this one {len(given)}.")
    return next(iter(given.items()))


_NOT_EVERYTHING = ("purge_everything", False)


def _list(kind: str, value: Any, one: Any, of_what: str) -> tuple[Any, ...]:
    try:
        found: tuple[Any, ...] = msgspec.convert(value, tuple[one, ...])
    except msgspec.ValidationError as exc:
        raise InvalidInput(f'"{kind}" must be an array of {of_what}.', field=kind) from exc
    if not found:
        raise InvalidInput(f'"{kind}" is empty: name what to purge.', field=kind)
    if len(found) > MAX_SCOPES_PER_PURGE:  # before any of them is read
        raise TooLarge(f"A purge names at most {MAX_SCOPES_PER_PURGE} {kind}, this one {len(found)}: send several.")
    return found


def _each(kind: str, texts: Iterable[str], read: Callable[[str], T]) -> tuple[T, ...]:
    """All of them read. Raises InvalidInput with every fault."""
    found: list[T] = []
    faults: list[tuple[str, str]] = []
    for index, text in enumerate(texts):
        try:
            found.append(read(text))
        except InvalidInput as fault:
            faults.append((f"{kind}[{index}]", fault.message))
    if faults:
        field, message = faults[0]
        raise InvalidInput(message, field=field, details=tuple(f"{at}: {said}" for at, said in faults))
    return tuple(found)


def _path_of_prefix(text: str, is_host: Callable[[str], bool]) -> str:
    """`www.example.com/blog` without its host: whatever begins with it is purged, on every host of the site."""
    if "://" in text:
        raise InvalidInput(f"The prefix {_shown(text)} has a scheme: give the host and the path only.")
    if "?" in text or "#" in text:
        raise InvalidInput(f"The prefix {_shown(text)} has a query or a fragment, which no prefix covers.")
    host, slash, path = text.partition("/")
    _host(host, text, is_host)
    return f"/{path}" if slash else "/"


def _host(host: str, text: str, is_host: Callable[[str], bool]) -> str:
    """Raises InvalidInput for what is no host of the site, in the same words whether it is another's or nobody's."""
    parsed = parse_host(host)
    if parsed is None or not is_host(parsed.name):
        raise InvalidInput(
            f"{_shown(text)} names the host {_shown(host)}, which is not one of this zone's: use the site's own host "
            "or one of its domains."
        )
    return parsed.name


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")
