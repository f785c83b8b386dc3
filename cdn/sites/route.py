"""From a target to what answers it, within exactly one deploy (DESIGN I4). Pure, a few look-ups per request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cdn.http.target import Target, encode_path
from cdn.sites.fingerprint import has_fingerprint, is_hidden
from cdn.sites.manifest import FileEntry, Manifest
from cdn.sites.path import INDEX, MAX_PATH_OCTETS, PAGE_SUFFIX, canonical_name_of, plain_names_of
from cdn.sites.pattern import matches
from cdn.sites.rules.access import Access, Refusal
from cdn.sites.rules.asking import NOBODY, Asking
from cdn.sites.rules.asset_path import is_asset_path
from cdn.sites.rules.clean_urls import CleanUrls
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.redirect_index import Found, Proxy, Redirect, RedirectOutcome
from cdn.sites.rules.rule_set import NO_RULES

MAX_RETAINED_FILES = 200_000
"""Files of earlier deploys that one alias keeps reachable; the most recent deploys' come first."""


@dataclass(frozen=True, slots=True)
class FileRoute:
    """A file answers: `status` is 200, or 404 when it is a 404.html that stands in for something absent.

    `is_general`, here and below: whoever asks for this path gets this answer; otherwise rules looked at more of the
    request than its path, and the answer must not be kept for others. `rule`: the rule that led there, for people.
    """

    path: str
    entry: FileEntry
    status: int = 200
    is_retained: bool = False
    is_general: bool = True
    rule: str = ""


@dataclass(frozen=True, slots=True)
class RedirectRoute:
    """The target has another, canonical URL: an absolute path on the same host, with the query."""

    location: str
    status: int = 308
    is_general: bool = True
    rule: str = ""


@dataclass(frozen=True, slots=True)
class AbsentRoute:
    """Nothing answers, and no 404.html stands in."""

    is_general: bool = True


@dataclass(frozen=True, slots=True)
class ProxyRoute:
    """Another server answers, under the address that was asked for: `url` is absolute, with path and query."""

    url: str
    is_general: bool = True
    rule: str = ""


@dataclass(frozen=True, slots=True)
class DeniedRoute:
    """A rule keeps this visitor out. 401: credentials are wanted for `realm` (RFC 7617), those of `guard`: who has
    verified them resolves again with `Asking.passed`; 403 and 451: they would not help."""

    status: int
    realm: str = ""
    is_general: bool = False
    guard: Guard | None = None


Route = FileRoute | RedirectRoute | AbsentRoute | ProxyRoute | DeniedRoute

ABSENT = AbsentRoute()

NOTHING_FOUND = Found()


def resolve(active: Manifest, retained: Mapping[str, FileEntry], target: Target, asking: Asking = NOBODY) -> Route:
    """What answers `target`: active file, directory index, clean URL, redirect, retained file, nearest 404.html.

    With rules: access, forced rules, active file, rules, retained file, fallback. `retained` is what `add_retained`
    made of the same alias' other deploys; whoever leaves it out asks again with it when the path `may_be_retained` and
    is no file of the active deploy, whatever the first answer was.
    """
    if active.rules is NO_RULES:
        path = target.decoded_path
        own = _own(active, target)
        return own if own is not None else _retained(retained, path) or _fallback(active, path)
    return _resolve_with_rules(active, retained, target, asking)


def _resolve_with_rules(active: Manifest, retained: Mapping[str, FileEntry], target: Target, asking: Asking) -> Route:
    """Access is judged by the path that was asked for, and again by all names of the file that would answer: however
    it is reached, by a rewrite, a clean URL or as a page for what is absent, it stays closed."""
    access, is_general = active.rules.access, True
    if access is not None:
        admission = access.admission((target.decoded_path,), asking)
        if admission.refusal is not None:
            return _denied(admission.refusal)
        is_general = admission.is_general
    route = _ruled(active, retained, target, asking)
    if access is not None and isinstance(route, FileRoute):
        admission = access.admission(plain_names_of(route.path), asking)
        if admission.refusal is not None:
            return _denied(admission.refusal)
        is_general = is_general and admission.is_general
    return route if is_general or isinstance(route, DeniedRoute) else replace(route, is_general=False)


def _ruled(active: Manifest, retained: Mapping[str, FileEntry], target: Target, asking: Asking) -> Route:
    path, index = target.decoded_path, active.rules.redirect_index
    own = _own(active, target)
    found = NOTHING_FOUND if index is None else index.find(target, asking, over_file=own is not None)
    route = own
    if found.outcome is not None:
        kept = _retained(retained, path) if own is None and found.is_fallback else None
        route = kept or _by_rule(active, found.outcome, str(active.rules.redirects[found.number]), path)
    elif own is None:
        route = _retained(retained, path) or _fallback(active, path)
    assert route is not None, "a rule, a file or a fallback answers"
    return route if found.is_general else replace(route, is_general=False)


def _by_rule(active: Manifest, outcome: RedirectOutcome, rule: str, path: str) -> Route:
    """What the outcome of a redirect rule comes to in this deploy."""
    if isinstance(outcome, Redirect):
        return RedirectRoute(outcome.location, outcome.status, rule=rule)
    if isinstance(outcome, Proxy):
        return ProxyRoute(outcome.url, rule=rule)
    page = _page_at(active, outcome.path)
    return _fallback(active, path) if page is None else FileRoute(*page, status=outcome.status, rule=rule)


def _denied(refusal: Refusal) -> DeniedRoute:
    realm = "" if refusal.guard is None else refusal.guard.realm
    return DeniedRoute(refusal.status, realm, guard=refusal.guard)


def _own(active: Manifest, target: Target) -> Route | None:
    """What the active deploy has at the very path, or under its clean URL."""
    path, files = target.decoded_path, active.answerable
    entry = files.get(path)
    clean_urls = active.rules.clean_urls
    if entry is not None:
        canonical = canonical_name_of(path) if clean_urls is CleanUrls.CANONICAL else path
        return FileRoute(path, entry) if canonical == path else RedirectRoute(_location(canonical, target.query))
    if path[-1:] == "/":
        page = path + INDEX
        entry = files.get(page)
        if entry is not None:
            return FileRoute(page, entry)
        if clean_urls is CleanUrls.CANONICAL and path[:-1] + PAGE_SUFFIX in files and len(path) > 1:
            return RedirectRoute(_location(path[:-1], target.query))
        return None
    if clean_urls is not CleanUrls.OFF:
        page = path + PAGE_SUFFIX
        entry = files.get(page)
        if entry is not None:
            return _clean(page, entry, target)
    if f"{path}/{INDEX}" in files:
        return RedirectRoute(_location(path + "/", target.query))
    return None


def _page_at(active: Manifest, path: str) -> tuple[str, FileEntry] | None:
    """The file that a rewrite to `path` means: that very one, a folder's index or a page without its suffix."""
    files = active.answerable
    names = (path + INDEX,) if path.endswith("/") else (path, path + PAGE_SUFFIX, f"{path}/{INDEX}")
    return next(((name, files[name]) for name in names if name in files), None)


def _retained(retained: Mapping[str, FileEntry], path: str) -> FileRoute | None:
    entry = retained.get(path)
    return None if entry is None else FileRoute(path, entry, is_retained=True)


def add_retained(
    files: dict[str, FileEntry], manifest: Manifest, keep: Sequence[str] = (), access: Access | None = None
) -> None:
    """Add to `files` what stays reachable of one more deploy that is not active: fingerprinted or matching `keep`.

    The most recent deploy is added first; what an older one has under the same path does not replace it, and beyond
    MAX_RETAINED_FILES nothing is added. A `*` of `keep` does not reach hidden files and folders (`/.env`): those go
    with their deploy. So does what its rules let only some visitors see, unless `access`, that of the active deploy,
    has such rules for it too.
    """
    found, own = manifest.fingerprinted, manifest.rules.access
    for path, entry in manifest.answerable.items() if keep else found.items():
        if len(files) >= MAX_RETAINED_FILES:
            return
        may_stay = path not in files and (path in found or _is_kept(path, keep))
        if may_stay and (own is None or not own.was_closed(plain_names_of(path), access)):
            files[path] = entry


def may_be_retained(path: str, keep: Sequence[str]) -> bool:
    """Whether a path is one that `add_retained` keeps; for all others no earlier deploy need be looked at."""
    return len(path) <= MAX_PATH_OCTETS and (has_fingerprint(path) or _is_kept(path, keep))


def _is_kept(path: str, keep: Sequence[str]) -> bool:
    return bool(keep) and not is_hidden(path) and any(matches(pattern, path) for pattern in keep)


def _clean(page: str, entry: FileEntry, target: Target) -> Route:
    """`/about` is about.html; `/docs/index` is not the clean URL of docs/index.html, `/docs/` is."""
    folder, _, name = page.rpartition("/")
    if name == INDEX:
        return RedirectRoute(_location(folder + "/", target.query))
    return FileRoute(page, entry)


def _location(path: str, query: str | None) -> str:
    """`path` is of a folder in the manifest, so it never starts with "//", which would name another host."""
    location = encode_path(path)
    return location if query is None else f"{location}?{query}"


def _fallback(active: Manifest, path: str) -> Route:
    """The page of a single-page application, that of the rules for what is absent, or the nearest 404.html."""
    rules, files = active.rules, active.answerable
    if rules.spa in files and not is_asset_path(path):
        return FileRoute(rules.spa, files[rules.spa], rule="spa")
    given = rules.error_page(404)
    page = given if given in files else _nearest_page(active, path)
    return ABSENT if page is None else FileRoute(page, files[page], status=404)


def _nearest_page(active: Manifest, path: str) -> str | None:
    """Walks down from the root and stops at the first folder the deploy does not have."""
    pages = active.not_found_pages
    page = pages["/"]
    cut = path.find("/", 1)
    while cut != -1:
        folder = path[: cut + 1]
        if folder not in pages:
            break
        page = pages[folder]
        cut = path.find("/", cut + 1)
    return page
