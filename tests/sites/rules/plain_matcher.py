"""Redirects the slow, plain way: rules one after the other, each pattern tried by going back, nothing kept.

Written from the vendors' pages and not from our index, to hold that against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote

from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_rule import RedirectRule

Found = dict[str, str]


@dataclass(frozen=True)
class Request:
    """What a visitor asks: a decoded path, and the rest in plain text."""

    path: str
    query: str = ""
    host: str = ""
    scheme: str = "http"
    country: str = ""
    language: str = ""
    cookies: frozenset[str] = frozenset()


def cloudflare_fits(pattern: str, path: str) -> Iterator[Found]:
    """All ways in which a pattern fits, the greediest first, as one regular expression would find them."""
    if not pattern:
        if not path:
            yield {}
        return
    if pattern[0] == "*":
        for end in range(len(path), -1, -1):
            for rest in cloudflare_fits(pattern[1:], path[end:]):
                yield {"splat": path[:end]} | rest
        return
    if pattern[0] == ":" and pattern[1:2].isalpha():
        name = pattern[1]
        for char in pattern[2:]:
            if not (char.isalnum() or char == "_"):
                break
            name += char
        longest = len(path.split("/", maxsplit=1)[0])
        for end in range(longest, 0, -1):
            for rest in cloudflare_fits(pattern[1 + len(name) :], path[end:]):
                yield {name: path[:end]} | rest
        return
    if path.startswith(pattern[0]):
        yield from cloudflare_fits(pattern[1:], path[1:])


def netlify_fits(pattern: list[str], path: list[str]) -> Iterator[Found]:
    """The same for lists of segments."""
    if not pattern:
        if not path:
            yield {}
        return
    first, *others = pattern
    if first == "*":
        for end in range(len(path), -1, -1):
            for rest in netlify_fits(others, path[end:]):
                yield {"splat": "/".join(path[:end])} | rest
    elif first.endswith("*") and path and path[0].startswith(first[:-1]):
        splat = "/".join(path)[len(first) - 1 :]
        yield {"splat": splat.removeprefix("/")}
    elif first.startswith(":") and path and path[0]:
        for rest in netlify_fits(others, path[1:]):
            yield {first[1:]: path[0]} | rest
    elif path and path[0] == first:
        yield from netlify_fits(others, path[1:])


def segments(path: str) -> list[str]:
    stripped = path.removesuffix("/") if path != "/" else ""
    return stripped.split("/")[1:]


def found_in(source: str, path: str, mode: RulesMode) -> Found | None:
    """What a source finds in a path; None when it does not cover it."""
    if mode is RulesMode.CLOUDFLARE:
        return next(cloudflare_fits(source, path), None)
    found = next(netlify_fits(segments(source), segments(path)), None)
    if found is not None and source.rstrip("/").endswith("*") and path.endswith("/"):
        is_empty_segment = source.rstrip("/").endswith("/*") and len(segments(path)) >= len(segments(source))
        if found["splat"] or is_empty_segment:
            found["splat"] += "/"  # a splat at the end keeps the slash of the request
    return found


def conditions_hold(rule: RedirectRule, request: Request, found: Found) -> bool:
    """Adds what the query holds to `found`."""
    given: dict[str, str] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True):
        if name not in given:
            given[name] = value
    for name, value in rule.query:
        if name not in given:
            return False
        if value.startswith(":"):
            found[value[1:]] = given[name]
        elif given[name] != value:
            return False
    if rule.host and rule.host != request.host:
        return False
    if rule.scheme and rule.scheme != request.scheme:
        return False
    if rule.countries and request.country not in rule.countries:
        return False
    wanted = [language for language in rule.languages if (request.language + "-").startswith(language + "-")]
    if rule.languages and not wanted:
        return False
    return not rule.cookies or bool(set(rule.cookies) & request.cookies)


def filled(target: str, found: Found, *, is_encoded: bool, safe: str) -> str:
    text = ""
    while target:
        names = [name for name in found if target.startswith(":" + name)]
        names = [name for name in names if not (target[1 + len(name) : 2 + len(name)] or " ").isidentifier()]
        names = [name for name in names if not target[1 + len(name) : 2 + len(name)].isdigit()]
        if names:
            name = max(names, key=len)
            value = found[name]
            text += quote(value, safe=safe + ("/" if name == "splat" else "")) if is_encoded else value
            target = target[1 + len(name) :]
        else:
            text += target[0]
            target = target[1:]
    return text


def answer(
    rules: list[RedirectRule], mode: RulesMode, request: Request, *, over_file: bool = False
) -> tuple[int, str] | None:
    """The number of the rule that answers and where it leads; None when no rule does. An empty target: it covers the
    request and leads nowhere."""
    for number, rule in enumerate(rules):
        found = found_in(rule.source, request.path, mode)
        if found is None or not conditions_hold(rule, request, found):
            continue
        if over_file and not rule.is_forced and mode is RulesMode.NETLIFY:
            return None
        return number, leads_to(rule, found, request)
    return None


def leads_to(rule: RedirectRule, found: Found, request: Request) -> str:
    target, hash_, fragment = rule.target.partition("#")
    origin = ""
    if "://" in target:
        scheme, _, rest = target.partition("://")
        host, slash, path = rest.partition("/")
        origin, target = f"{scheme}://{host}", slash + path
    path, _, query = target.partition("?")
    is_page = rule.status in {200, 404} and not origin
    path = filled(unquote(path) if is_page else path, found, is_encoded=not is_page, safe=":@!$&'()*+,;=-._~")
    if not origin:
        path = "/" + path.lstrip("/")
    if {".", ".."} & set(path.split("/")):
        return ""
    if is_page:
        return path
    if not query:
        used = {name for name, _ in rule.query}
        kept = [part for part in request.query.split("&") if part and unquote(part.split("=")[0]) not in used]
        query = "&".join(kept)
    else:
        query = filled(query, found, is_encoded=True, safe="/:@-._~")
    url = origin + (path or "/") + ("?" + query if query else "")
    return url + "#" + filled(fragment, found, is_encoded=True, safe="/:@-._~") if hash_ else url
