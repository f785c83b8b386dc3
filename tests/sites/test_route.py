"""Routes against a slow plain model; canonical redirects stay on their host; names say where a file answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.target import Target, encode_path, parse_target
from cdn.sites import route as module
from cdn.sites.manifest import FileEntry, Manifest, digest_of
from cdn.sites.path import MAX_PATH_OCTETS, names_of
from cdn.sites.route import (
    AbsentRoute,
    FileRoute,
    RedirectRoute,
    Route,
    add_retained,
    may_be_retained,
    resolve,
)


def entry(path: str) -> FileEntry:
    return FileEntry(digest_of(path.encode("utf-8", "surrogatepass")), len(path))


def manifest(*paths: str) -> Manifest:
    return Manifest({path: entry(path) for path in paths}).prepare()


def retained_files(manifests: Sequence[Manifest], keep: Sequence[str] = ()) -> dict[str, FileEntry]:
    files: dict[str, FileEntry] = {}
    for each in manifests:
        add_retained(files, each, keep)
    return files


def target(path: str, query: str | None = None) -> Target:
    return Target(encode_path(path), query, path)


SITE = manifest(
    "/index.html",
    "/404.html",
    "/about.html",
    "/docs/index.html",
    "/docs/404.html",
    "/docs/guide/start.html",
    "/both.html",
    "/both/index.html",
    "/data",
    "/data.html",
    "/a b/index.html",
    "/\u00e9.html",
    "/100%/index.html",
    "/x/.html",
)


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/", "/index.html"),
        ("/index.html", "/index.html"),
        ("/about", "/about.html"),
        ("/about.html", "/about.html"),
        ("/docs/", "/docs/index.html"),
        ("/docs/guide/start", "/docs/guide/start.html"),
        ("/both", "/both.html"),
        ("/both/", "/both/index.html"),
        ("/data", "/data"),
        ("/404", "/404.html"),
        ("/\u00e9", "/\u00e9.html"),
        ("/x/.html", "/x/.html"),
    ],
)
def test_a_file_answers(path: str, file: str) -> None:
    assert resolve(SITE, {}, target(path)) == FileRoute(file, entry(file), 200, False)


@pytest.mark.parametrize(
    ("path", "query", "location"),
    [
        ("/docs", None, "/docs/"),
        ("/docs", "", "/docs/?"),
        ("/docs", "a=b&c=//evil.example", "/docs/?a=b&c=//evil.example"),
        ("/a b", None, "/a%20b/"),
        ("/100%", None, "/100%25/"),
        ("/docs/index", "q", "/docs/?q"),
        ("/index", None, "/"),
    ],
)
def test_the_canonical_url_is_elsewhere(path: str, query: str | None, location: str) -> None:
    assert resolve(SITE, {}, target(path, query)) == RedirectRoute(location, 308)


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/nothing", "/404.html"),
        ("/about/", "/404.html"),
        ("/docs/nothing", "/docs/404.html"),
        ("/docs/guide/", "/docs/404.html"),
        ("/docs/guide/x/y/z", "/docs/404.html"),
        ("/docs//guide/x", "/docs/404.html"),
        ("/nothing/docs/x", "/404.html"),
        ("//docs/x", "/404.html"),
        ("/x/", "/404.html"),
        ("/docs/guide", "/docs/404.html"),
    ],
)
def test_the_nearest_404_page_stands_in(path: str, page: str) -> None:
    assert resolve(SITE, {}, target(path)) == FileRoute(page, entry(page), 404, False)


def test_without_a_404_page_nothing_answers() -> None:
    assert resolve(manifest("/a/b.txt"), {}, target("/a/c")) == AbsentRoute()
    assert resolve(manifest("/a/404.html"), {}, target("/c")) == AbsentRoute()


def test_a_retained_file_answers_after_the_active_deploy_and_before_the_404_page() -> None:
    retained = {path: entry("old" + path) for path in ("/app.3f2a9c1b.js", "/data", "/docs")}
    found = resolve(SITE, retained, target("/app.3f2a9c1b.js"))
    assert found == FileRoute("/app.3f2a9c1b.js", entry("old/app.3f2a9c1b.js"), 200, True)
    assert resolve(SITE, retained, target("/data")) == FileRoute("/data", entry("/data"))
    assert resolve(SITE, retained, target("/docs")) == RedirectRoute("/docs/")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/docs/index.html", ("/docs/index.html", "/docs/")),
        ("/index.html", ("/index.html", "/")),
        ("/about.html", ("/about.html", "/about")),
        ("/x/.html", ("/x/.html",)),
        ("/a b/100%.js", ("/a%20b/100%25.js",)),
        ("/\u00e9.html", ("/%C3%A9.html", "/%C3%A9")),
        ("/myindex.html", ("/myindex.html", "/myindex")),
    ],
)
def test_names(path: str, names: tuple[str, ...]) -> None:
    assert names_of(path) == names


def test_retained_files_are_fingerprinted_or_kept_and_the_most_recent_wins() -> None:
    newer = manifest("/app.3f2a9c1b.js", "/index.html", "/.env", "/data/a.json", "/data/.secret", "/data/.h/x")
    older = Manifest({path: entry("old" + path) for path in ("/app.3f2a9c1b.js", "/lib.0a1b2c3d.js", "/data/b.json")})
    assert retained_files([newer, older]) == {
        "/app.3f2a9c1b.js": entry("/app.3f2a9c1b.js"),
        "/lib.0a1b2c3d.js": entry("old/lib.0a1b2c3d.js"),
    }
    kept = retained_files([newer, older], ["/data/*", "/.*"])
    assert set(kept) == {"/app.3f2a9c1b.js", "/lib.0a1b2c3d.js", "/data/a.json", "/data/b.json"}
    for path in (*newer.files, *older.files):
        assert may_be_retained(path, ["/data/*", "/.*"]) == (path in kept)
    assert retained_files([]) == {}


def test_retained_files_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RETAINED_FILES", 2)
    files = retained_files([manifest("/a.0a1b2c3d.js"), manifest("/b.0a1b2c3d.js", "/c.0a1b2c3d.js")])
    assert list(files) == ["/a.0a1b2c3d.js", "/b.0a1b2c3d.js"]


def test_a_path_too_long_for_a_file_is_not_looked_for_in_earlier_deploys() -> None:
    name = "/app.3f2a9c1b.js"
    assert may_be_retained("/" + "a" * (MAX_PATH_OCTETS - len(name) - 1) + name, ())
    assert not may_be_retained("/" + "a" * (MAX_PATH_OCTETS - len(name)) + name, ("/*",))


# the plain model

WORDS = st.sampled_from(
    ["a", "b", "index", "404", "index.html", "404.html", "a.html", "b.html", ".html", "a b", "\u00e9", "x.js"]
)
FILE_PATHS = st.lists(WORDS, min_size=1, max_size=4).map(lambda words: "/" + "/".join(words))


def is_bundle(paths: set[str]) -> bool:
    return not any(other.startswith(path + "/") for path in paths for other in paths)


BUNDLES = st.sets(FILE_PATHS, max_size=8).filter(is_bundle)
REQUESTS = st.lists(WORDS | st.just(""), min_size=1, max_size=5).map(lambda words: "/" + "/".join(words))


def plain(files: Mapping[str, FileEntry], retained: Mapping[str, FileEntry], path: str, query: str | None) -> Route:
    """The rules as prose says them, looked up one after the other."""
    suffix = "" if query is None else "?" + query
    segments = path.split("/")
    if path in files:
        return FileRoute(path, files[path])
    if segments[-1] == "" and path + "index.html" in files:
        return FileRoute(path + "index.html", files[path + "index.html"])
    if segments[-1] == "index" and path + ".html" in files:
        return RedirectRoute(encode_path("/".join([*segments[:-1], ""])) + suffix)
    if segments[-1] != "" and path + ".html" in files:
        return FileRoute(path + ".html", files[path + ".html"])
    if segments[-1] != "" and path + "/index.html" in files:
        return RedirectRoute(encode_path(path) + "/" + suffix)
    if path in retained:
        return FileRoute(path, retained[path], 200, True)
    for depth in range(len(segments) - 1, 0, -1):
        page = "/".join([*segments[:depth], "404.html"])
        if page in files:
            return FileRoute(page, files[page], 404)
    return AbsentRoute()


@given(BUNDLES, st.sets(FILE_PATHS, max_size=3), REQUESTS, st.none() | st.sampled_from(["", "a=b"]))
def test_the_plain_model_agrees(bundle: set[str], old: set[str], path: str, query: str | None) -> None:
    active = manifest(*sorted(bundle))
    retained = {name: entry("old" + name) for name in old}
    assert resolve(active, retained, target(path, query)) == plain(active.files, retained, path, query)


@given(BUNDLES, REQUESTS)
def test_what_answers_with_200_has_the_name_it_was_asked_by(bundle: set[str], path: str) -> None:
    """Otherwise a purge of that URL would miss the stored response."""
    found = resolve(manifest(*sorted(bundle)), {}, target(path))
    if isinstance(found, FileRoute) and found.status == 200:
        assert target(path).path in names_of(found.path)


@given(BUNDLES)
def test_every_file_answers_to_its_own_name(bundle: set[str]) -> None:
    active = manifest(*sorted(bundle))
    for path in bundle:
        parsed = parse_target(names_of(path)[0].encode())
        assert isinstance(parsed, Target)
        assert resolve(active, {}, parsed) == FileRoute(path, active.files[path])


@given(st.text("/\\ab.:@?%#\r\n\t ", max_size=12), st.none() | st.text("/a?=%", max_size=5), BUNDLES)
def test_a_redirect_stays_on_its_host_and_ends(text: str, query: str | None, bundle: set[str]) -> None:
    paths = {"/" + text.strip("/") + "/index.html", *bundle}
    active = manifest(*sorted(path for path in paths if "//" not in path))
    for asked in ("/" + text, "//" + text, *(path.removesuffix("/index.html") or "/" for path in active.files)):
        found = resolve(active, {}, target(asked, query))
        if not isinstance(found, RedirectRoute):
            continue
        followed = urlsplit(urljoin("http://site.example/deep/er", found.location))
        assert (followed.scheme, followed.netloc) == ("http", "site.example")
        assert found.location.startswith("/")
        assert not found.location.startswith(("//", "/\\"))
        assert found.location.isascii()
        assert found.location.isprintable()
        again = target(unquote(found.location.partition("?")[0]))
        assert isinstance(resolve(active, {}, again), FileRoute)
