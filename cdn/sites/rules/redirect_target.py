"""Where a rule leads: a path or an absolute URL in which `:name` and `:splat` stand for what the source found.

What visitors write can change neither scheme nor host of a Location, nor climb out of the path that the rule's author
wrote, nor end a field line: it is percent-encoded for the place it stands in, and a target that would not be a plain
path after that is none at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from urllib.parse import quote, unquote_to_bytes

from cdn.errors import InvalidInput
from cdn.http.search_params import decode_component
from cdn.http.target import parse_host
from cdn.sites.path import shown
from cdn.sites.rules.path_pattern import SPLAT
from cdn.sites.rules.redirect_rule import REDIRECT_STATUSES, REWRITE

MAX_TARGET_LENGTH = 2048
"""Characters of a target: as long as the pattern it belongs to."""

MAX_STANDINS = 32
"""Places in a target that are filled in. A long path may be written into each."""

MAX_LOCATION_OCTETS = 8192
"""A Location that is longer is none: common clients and proxies take field lines of this length."""

_PATH_SAFE = ":@!$&'()*+,;=-._~"
_QUERY_SAFE = "/?" + _PATH_SAFE
_VALUE_SAFE = "/:@-._~"
_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_STANDIN = re.compile(r":[A-Za-z]\w*", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_NOT_IN_PATHS = re.compile(r"[\x00-\x1f\x7f\\]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


@dataclass(frozen=True, slots=True)
class Template:
    """Literals with names between them, one fewer."""

    literals: tuple[str, ...]
    names: tuple[str, ...]

    def filled(self, captures: Mapping[str, str], written: Callable[[str, str], str]) -> str:
        """`written` makes what stands in the text of a name and its value."""
        text = self.literals[0]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            text += written(name, captures[name]) + literal
        return text


@dataclass(frozen=True, slots=True)
class RedirectTarget:
    """One target, read. `scheme` is "" for a path of the same site. `unknown` are names that nothing in the source has:
    they stay as they stand."""

    scheme: str
    authority: Template
    path: Template
    decoded_path: Template
    query: Template | None
    fragment: Template | None
    unknown: tuple[str, ...] = ()

    @property
    def is_absolute(self) -> bool:
        """Whether it names scheme and host."""
        return self.scheme != ""

    @property
    def is_fixed(self) -> bool:
        """Whether it says the same whatever the source found."""
        return not any(
            part.names for part in (self.authority, self.path, self.query, self.fragment) if part is not None
        )

    def page(self, captures: Mapping[str, str]) -> str | None:
        """The decoded path of a rewrite within the site; None when no file can have it."""
        path = "/" + self.decoded_path.filled(captures, lambda _, value: value).lstrip("/")
        return None if _NOT_IN_PATHS.search(path) is not None or _climbs(path) else path

    def url(self, captures: Mapping[str, str], query: str | None, used: Collection[str] = ()) -> str | None:
        """The Location of a redirect, or the URL of a proxy.

        `query` is the request's: it is passed on where the target has none, without the parameters in `used`, which
        the rule itself has looked at. None when what was found would make another kind of URL of it.
        """
        host = self.authority.filled(captures, _label)
        path = self.path.filled(captures, _in_path)
        if "\n" in host or _climbs(path):
            return None
        if self.scheme:
            origin, path = f"{self.scheme}://{host}", path or "/"
        else:
            origin, path = "", "/" + path.lstrip("/")  # "//host" would name another host
        asked = _unused(query, used) if self.query is None else self.query.filled(captures, _in_query)
        url = f"{origin}{path}?{asked}" if asked else origin + path
        if self.fragment is not None:
            url = f"{url}#{self.fragment.filled(captures, _in_query)}"
        return url if len(url) <= MAX_LOCATION_OCTETS else None


def parse_target(text: str, names: Collection[str], status: int) -> RedirectTarget:
    """Read the target of a rule whose source has `names`. Raises InvalidInput that says what is wrong with it."""
    if len(text) > MAX_TARGET_LENGTH:
        raise InvalidInput(f"the target has {len(text)} characters, at most {MAX_TARGET_LENGTH} are allowed")
    absolute = _ABSOLUTE.fullmatch(text)
    if absolute is None:
        _check_relative(text)
        scheme, authority, rest = "", "", text
    else:
        scheme, authority, rest = absolute[1].lower(), absolute[2], absolute[3]
        if status not in REDIRECT_STATUSES and status != REWRITE:
            raise InvalidInput(f"with status {status} a page of this site answers: give its path, not {shown(text)}")
    before, hash_, fragment = rest.partition("#")
    path, _, query = before.partition("?")
    host = _template(authority, names, str.lower)
    target = RedirectTarget(
        scheme,
        host,
        _template(path, names, _encoded_path),
        _template(path, names, _decoded),
        _template(query, names, _encoded_query) if query else None,
        _template(fragment, names, _encoded_query) if hash_ else None,
        _unknown(rest, names),
    )
    _check_counts(target, path)
    if scheme:
        _check_authority(authority, host, status)
    return target


def _check_relative(text: str) -> None:
    if text.startswith("//"):
        raise InvalidInput(
            f'{shown(text)} names a host without a scheme: write "https:{text}", or one slash for a path'
        )
    if text.startswith("/"):
        return
    if _SCHEME.match(text) is not None:
        raise InvalidInput(f'{shown(text)} has a scheme that nothing here leads to: use "http:" or "https:"')
    raise InvalidInput(f'{shown(text)} is no target: give a path that starts with "/" or an http or https URL')


def _check_counts(target: RedirectTarget, path: str) -> None:
    parts = (target.authority, target.path, target.query, target.fragment)
    count = sum(len(part.names) for part in parts if part is not None)
    if count > MAX_STANDINS:
        raise InvalidInput(f"the target has {count} placeholders, at most {MAX_STANDINS} are allowed")
    if _climbs(path):
        raise InvalidInput('the target has a "." or ".." segment: write the path that it leads to')


def _check_authority(authority: str, host: Template, status: int) -> None:
    if "@" in authority:
        raise InvalidInput("the target has a user name or password, which everybody could read: leave it out")
    if host.names:
        if status == REWRITE:
            raise InvalidInput("whoever writes the URL would choose the server that answers: write its whole name")
        if re.match(r"\.[A-Za-z0-9]", host.literals[-1]) is None:
            raise InvalidInput("whoever writes the URL would choose the host: end it with a domain of yours")
    name = parse_host(host.filled(dict.fromkeys(host.names, "x"), lambda _, value: value))
    if name is None:
        raise InvalidInput(f"{shown(authority)} is no host: give a name or an address, and a port if need be")
    if status == REWRITE:
        _check_server(name.name)


def _check_server(host: str) -> None:
    """An address of this network is one that no visitor shall reach through us. Names are judged when connecting."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        if _NUMBER.fullmatch(host.rpartition(".")[2]) is not None:
            raise InvalidInput(f"{shown(host)} is neither a name nor an address in its usual form") from None
        return
    mapped = address if isinstance(address, IPv4Address) else address.ipv4_mapped or address
    if not mapped.is_global or mapped.is_multicast:
        raise InvalidInput(f"{host} is not an address of the public internet, and no rule may lead there")


def _unknown(text: str, names: Collection[str]) -> tuple[str, ...]:
    others = _standins(names).sub("/", text) if names else text
    return tuple(dict.fromkeys(standin[1:] for standin in _STANDIN.findall(others)))


def _standins(names: Collection[str]) -> re.Pattern[str]:
    """Longer names first: `:id_2` is not `:id` with something behind it."""
    choice = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.compile(rf":({choice})(?!\w)", re.ASCII)


def _template(text: str, names: Collection[str], written: Callable[[str], str]) -> Template:
    if not names:
        return Template((written(text),), ())
    literals, found, start = [], [], 0
    for standin in _standins(names).finditer(text):
        literals.append(written(text[start : standin.start()]))
        found.append(standin[1])
        start = standin.end()
    return Template((*literals, written(text[start:])), tuple(found))


def _mended(text: str) -> str:
    """As the author wrote it, with every "%" the start of an escape, in upper case."""
    return _ESCAPE.sub(lambda escape: escape[0].upper(), _BAD_ESCAPE.sub("%25", text))


def _encoded_path(text: str) -> str:
    return quote(_mended(text), safe="/%" + _PATH_SAFE)


def _encoded_query(text: str) -> str:
    return quote(_mended(text), safe="%" + _QUERY_SAFE)


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")


def _in_path(name: str, value: str) -> str:
    return quote(value, safe="/" + _PATH_SAFE if name == SPLAT else _PATH_SAFE)


def _in_query(_: str, value: str) -> str:
    return quote(value, safe=_VALUE_SAFE)


def _label(_: str, value: str) -> str:
    """A newline is in no host: whoever fills in the authority looks for it."""
    return value.lower() if _LABEL.fullmatch(value) is not None else "\n"


def _climbs(path: str) -> bool:
    """Browsers take "%2e" for a dot, too (WHATWG URL)."""
    return "." in (plain := path.lower().replace("%2e", ".")) and not {".", ".."}.isdisjoint(plain.split("/"))


def _unused(query: str | None, used: Collection[str]) -> str:
    if not query or not used:
        return query or ""
    return "&".join(part for part in query.split("&") if decode_component(part.partition("=")[0]) not in used)
