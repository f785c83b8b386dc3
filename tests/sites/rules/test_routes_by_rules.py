"""Routes of deploys with rules against a slow plain model; what is kept for others is the same for others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.fields import Fields
from cdn.http.target import Target, encode_path
from cdn.sites.manifest import FileEntry, Manifest, digest_of
from cdn.sites.path import plain_names_of
from cdn.sites.representation import representation_of
from cdn.sites.route import AbsentRoute, DeniedRoute, FileRoute, ProxyRoute, RedirectRoute, add_retained, resolve
from cdn.sites.rules.asking import NOBODY, Asking
from cdn.sites.rules.cache_rule import CacheRule
from cdn.sites.rules.clean_urls import CleanUrls
from cdn.sites.rules.cors_rule import CorsRule
from cdn.sites.rules.country_rule import CountryRule
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.path_glob import PathGlob
from cdn.sites.rules.redirect_rule import RedirectRule
from cdn.sites.rules.rule_set import RuleSet
from cdn.sites.settings import DEFAULT_SETTINGS

FILES = [
    *("/index.html", "/404.html", "/about.html", "/app/index.html", "/app/x.js", "/app/a.3f2a9c1b.js", "/b", "/b.html"),
    *("/_headers", "/cdn.toml", "/functions/f.js", "/app/404.html", "/app.html"),
]
OTHERS = ["/", "/about", "/about/", "/app", "/app/", "/app/x", "/none", "/none/x.png", "/app/old.5d2a9c1b.js", "/b/"]
RULED = ["/old.5d2a9c1b.js", "/index", "/app/index", "/r/about", "/r/_headers", "/r/app/x.js", "/c"]
PATHS = st.sampled_from([*FILES, *OTHERS, *RULED])
SOURCES = st.sampled_from(["/*", "/app/*", "/about", "/app/x.js", "/:a", "/*.js", "/", "/404.html", "/r/*"])

GUARDS = st.lists(st.builds(Guard, SOURCES, st.sampled_from(["one", "two"]), st.just((("ann", "hash"),))), max_size=2)
COUNTRIES = st.lists(
    st.builds(CountryRule, SOURCES, st.just(("DE",)), st.booleans(), st.sampled_from([403, 451])), max_size=2
)
REDIRECTS = st.lists(
    st.sampled_from(
        [
            RedirectRule("/r/*", "/:splat", 200),
            RedirectRule("/none", "/app/x.js", 200),
            RedirectRule("/c", "/about", 302, countries=("DE",)),
            RedirectRule("/app/x.js", "/about", 301, is_forced=True),
            RedirectRule("/*", "/index.html", 200),
            RedirectRule("/none/*", "https://other.example/:splat", 200),
            RedirectRule("/about", "/app/404.html", 404),
            RedirectRule("/b/*", "/nowhere", 200),
        ]
    ),
    max_size=3,
)
SETS = st.builds(
    RuleSet,
    mode=st.sampled_from(RulesMode),
    redirects=REDIRECTS.map(tuple),
    guards=GUARDS.map(tuple),
    countries=COUNTRIES.map(tuple),
    error_pages=st.sampled_from([(), ((404, "/about.html"),)]),
    spa=st.sampled_from(["", "/app.html", "/app/index.html"]),
    clean_urls=st.sampled_from(CleanUrls),
)
ASKINGS = st.builds(
    Asking,
    host=st.sampled_from(["a.example", "b.example"]),
    scheme=st.sampled_from(["http", "https"]),
    fields=st.sampled_from(["https://a.example", "https://evil.example", None]).map(
        lambda origin: Fields(() if origin is None else (("origin", origin),))
    ),
    country=st.sampled_from(["", "DE", "FR"]).map(lambda country: lambda: country),
    passed=st.none() | GUARDS.map(lambda guards: guards[0] if guards else None),
)


def entry(text: str) -> FileEntry:
    return FileEntry(digest_of(text.encode()), len(text))


RETAINED = {path: entry(f"{path} once") for path in ("/app/old.5d2a9c1b.js", "/old.5d2a9c1b.js")}


def manifest(rules: RuleSet) -> Manifest:
    return Manifest({path: entry(path) for path in FILES}, rules).prepare()


def target(path: str) -> Target:
    return Target(encode_path(path), None, path)


def covers(source: str, names: tuple[str, ...]) -> bool:
    return any(PathGlob(source).match(name) is not None for name in names)


def refusal(rules: RuleSet, names: tuple[str, ...], asking: Asking) -> tuple[int, Guard | None] | None:
    """The model of access: every country rule, then the first guard."""
    for rule in rules.countries:
        if covers(rule.source, names) and (asking.country() in rule.countries) == rule.denies:
            return rule.status, None
    guard = next((guard for guard in rules.guards if covers(guard.source, names)), None)
    return None if guard is None or guard == asking.passed else (401, guard)


@given(SETS, PATHS, ASKINGS)
def test_nobody_gets_what_rules_refuse(rules: RuleSet, path: str, asking: Asking) -> None:
    route = resolve(manifest(rules), RETAINED, target(path), asking)
    refused = refusal(rules, (path,), asking)
    if refused is not None:
        assert isinstance(route, DeniedRoute)
        assert (route.status, route.guard) == refused
        return
    if isinstance(route, FileRoute):
        assert refusal(rules, plain_names_of(route.path), asking) is None
        assert (route.entry == RETAINED.get(path)) == route.is_retained
        assert route.is_retained or route.entry == entry(route.path)
    elif isinstance(route, DeniedRoute):  # whatever would answer is closed, by a rule that counts
        opened = resolve(manifest(replace(rules, guards=(), countries=())), RETAINED, target(path), asking)
        assert isinstance(opened, FileRoute)
        assert refusal(rules, plain_names_of(opened.path), asking) == (route.status, route.guard)


@given(SETS, PATHS, ASKINGS)
def test_rule_files_and_programs_never_answer(rules: RuleSet, path: str, asking: Asking) -> None:
    route = resolve(manifest(rules), RETAINED, target(path), asking)
    if isinstance(route, FileRoute):
        assert route.path not in {"/_headers", "/cdn.toml"}
        assert rules.mode is RulesMode.NETLIFY or not route.path.startswith("/functions/")


@given(SETS, PATHS, ASKINGS, ASKINGS)
def test_what_is_general_is_the_same_for_everybody(rules: RuleSet, path: str, one: Asking, other: Asking) -> None:
    deploy = manifest(rules)
    route = resolve(deploy, RETAINED, target(path), one)
    if route.is_general:
        assert resolve(deploy, RETAINED, target(path), other) == route


def plain_route(rules: RuleSet, path: str) -> str:
    """The model of what answers without redirects and access, by file name alone."""
    files = {each for each in FILES if each not in {"/_headers", "/cdn.toml"}}
    if rules.mode is RulesMode.CLOUDFLARE:
        files.discard("/functions/f.js")
    clean = rules.clean_urls
    tidy = {name: plain_names_of(name)[-1] for name in files}
    if path in files:
        moved = clean is CleanUrls.CANONICAL and tidy[path] != path
        return f"308 {tidy[path]}" if moved else f"200 {path}"
    if path.endswith("/") and f"{path}index.html" in files:
        return f"200 {path}index.html"
    if clean is CleanUrls.CANONICAL and path.endswith("/") and f"{path[:-1]}.html" in files:
        return f"308 {path[:-1]}"
    if clean is not CleanUrls.OFF and not path.endswith("/") and f"{path}.html" in files:
        return f"308 {path.removesuffix('index')}" if path.endswith("/index") else f"200 {path}.html"
    if not path.endswith("/") and f"{path}/index.html" in files:
        return f"308 {path}/"
    if path in RETAINED:
        return f"200 {path} once"
    looks_like_file = path.endswith((".js", ".png", ".toml")) or path.startswith(("/_", "/assets/"))
    if rules.spa and not looks_like_file:
        return f"200 {rules.spa}"
    if rules.error_pages:
        return "404 /about.html"
    return "404 /app/404.html" if path.startswith("/app/") else "404 /404.html"


@given(SETS, PATHS)
def test_without_redirects_and_access_routes_are_those_of_the_model(rules: RuleSet, path: str) -> None:
    rules = replace(rules, redirects=(), guards=(), countries=())
    match resolve(manifest(rules), RETAINED, target(path)):
        case FileRoute(name, _, status, is_retained):
            said = f"{status} {name}{' once' if is_retained else ''}"
        case RedirectRoute(location, status):
            said = f"{status} {location}"
        case other:
            said = str(other)
    assert said == plain_route(rules, path)


def test_a_rule_that_stands_for_whatever_is_absent_lets_a_kept_file_by() -> None:
    deploy = manifest(RuleSet(redirects=(RedirectRule("/*", "/index.html", 200),)))
    assert resolve(deploy, RETAINED, target("/old.5d2a9c1b.js")) == FileRoute(
        "/old.5d2a9c1b.js", RETAINED["/old.5d2a9c1b.js"], is_retained=True
    )
    found = resolve(deploy, {}, target("/old.5d2a9c1b.js"))
    assert isinstance(found, FileRoute)
    assert (found.path, found.rule) == ("/index.html", "/* /index.html 200")


def test_outcomes_of_redirect_rules() -> None:
    rules = (
        RedirectRule("/proxy/*", "https://other.example/:splat", 200),
        RedirectRule("/page", "/about", 200),
        RedirectRule("/folder", "/app", 200),
        RedirectRule("/gone", "/app/404.html", 404),
        RedirectRule("/lost", "/nowhere", 200),
    )
    deploy = manifest(RuleSet(redirects=rules))
    proxied = resolve(deploy, {}, target("/proxy/a"))
    assert isinstance(proxied, ProxyRoute)
    assert proxied.url == "https://other.example/a"

    def file_at(path: str) -> tuple[str, int]:
        route = resolve(deploy, {}, target(path))
        assert isinstance(route, FileRoute)
        return route.path, route.status

    assert file_at("/page") == ("/about.html", 200)
    assert file_at("/folder") == ("/app.html", 200)
    assert file_at("/gone") == ("/app/404.html", 404)
    assert file_at("/lost") == ("/404.html", 404)
    bare = Manifest({"/b": entry("/b")}, RuleSet(redirects=rules)).prepare()
    assert isinstance(resolve(bare, {}, target("/lost")), AbsentRoute)


def test_rule_files_are_not_kept_of_former_deploys() -> None:
    files: dict[str, FileEntry] = {}
    add_retained(files, manifest(RuleSet(mode=RulesMode.CLOUDFLARE)), ("/*",))
    assert not files.keys() & {"/_headers", "/cdn.toml", "/functions/f.js"}
    assert "/about.html" in files


@pytest.mark.parametrize(
    ("then", "now", "is_kept"),
    [
        (RuleSet(guards=(Guard("/app/*", "team", (("ann", "hash"),)),)), None, False),
        (RuleSet(guards=(Guard("/app/*", "team", (("ann", "hash"),)),)), RuleSet(), False),
        (RuleSet(guards=(Guard("/*", "t", (("ann", "old"),)),)), RuleSet(guards=(Guard("/app/*", "t", ()),)), True),
        (RuleSet(guards=(Guard("/*", "t", ()),)), RuleSet(guards=(Guard("/about", "t", ()),)), False),
        (RuleSet(guards=(Guard("/about", "t", ()),)), None, True),
        (RuleSet(countries=(CountryRule("/*", ("DE",)),)), RuleSet(guards=(Guard("/*", "t", ()),)), False),
        (RuleSet(countries=(CountryRule("/*", ("DE",)),)), RuleSet(countries=(CountryRule("/*", ("FR",)),)), True),
        (RuleSet(spa="/index.html"), None, True),
    ],
)
def test_what_was_closed_is_not_kept_open(then: RuleSet, now: RuleSet | None, is_kept: bool) -> None:
    """Who takes a guard away means the files of that deploy, not those that it no longer has."""
    files: dict[str, FileEntry] = {}
    add_retained(files, manifest(then), (), None if now is None else now.access)
    assert ("/app/a.3f2a9c1b.js" in files) is is_kept


FIELD_RULES = st.lists(
    st.builds(
        FieldRule,
        SOURCES,
        st.lists(
            st.sampled_from(
                [("x-a", ":splat"), ("x-a", "2"), ("cache-tag", "t"), ("set-cookie", "a"), ("etag", '"x"')]
            ),
            max_size=3,
        ).map(tuple),
        st.sampled_from([(), ("x-a",), ("cache-control",)]),
        st.sampled_from(["", "a.example", "*.example", ":x.example"]),
        st.sampled_from(RulesMode),
    ),
    max_size=3,
).map(tuple)
CORS_RULES = st.lists(
    st.builds(
        CorsRule, SOURCES, st.sampled_from([("*",), ("https://a.example",), ("https://a.example", "https://b.c")])
    ),
    max_size=2,
).map(tuple)
CACHE_RULES = st.lists(
    st.builds(CacheRule, SOURCES, st.sampled_from([None, 0, 60]), st.sampled_from([None, 5]), st.just(("r",))),
    max_size=2,
).map(tuple)
DESCRIBED = st.builds(RuleSet, fields=FIELD_RULES, cors=CORS_RULES, caching=CACHE_RULES)


@given(DESCRIBED, st.sampled_from(["/index.html", "/app/x.js", "/404.html"]), PATHS, ASKINGS, ASKINGS)
def test_representations_that_are_general_are_the_same_for_everybody(
    rules: RuleSet, path: str, asked: str, one: Asking, other: Asking
) -> None:
    status = 404 if path == "/404.html" else 200
    settings = DEFAULT_SETTINGS
    found = representation_of(path, entry(path), settings, status, rules=rules, asked_path=asked, asking=one)
    again = representation_of(path, entry(path), settings, status, rules=rules, asked_path=asked, asking=other)
    assert found.is_general == again.is_general
    assert not found.is_general or found == again
    names = [name for name, _ in found.fields]
    assert {name for name in names if names.count(name) > 1} <= {"set-cookie", "vary"}
    assert set(found.rule_tags) <= set(found.tags)
    assert (encode_path(asked) in found.names) == (status == 200 or asked in plain_names_of(path))
    assert not {"cache-tag", "surrogate-key"} & set(names)
    if status != 200:
        assert dict(found.fields)["cache-control"] == "public, max-age=0, must-revalidate"


@pytest.mark.parametrize("rules", [RuleSet(), RuleSet(spa="/x")])
def test_rules_without_fields_change_no_representation(rules: RuleSet) -> None:
    plain = representation_of("/a.css", entry("/a.css"), DEFAULT_SETTINGS, 200)
    assert representation_of("/a.css", entry("/a.css"), DEFAULT_SETTINGS, 200, rules=rules) == plain
    assert rules.answer_fields("/a.css", NOBODY) == ()
    assert rules.preflight("/a.css", NOBODY) is None


def test_fields_of_answers_that_are_no_file() -> None:
    rules = RuleSet(
        fields=(
            FieldRule("/*", (("x-frame-options", "DENY"), ("cache-control", "max-age=9"), ("link", "</a>"))),
            FieldRule("/*", (("content-security-policy", "default-src 'self'"), ("content-language", "de"))),
            FieldRule("/*", (("cdn-cache-control", "max-age=9"), ("expires", "Thu, 01 Jan 2099 00:00:00 GMT"))),
        ),
        cors=(CorsRule("/*", ("*",)),),
    )
    assert rules.answer_fields("/none", NOBODY) == (
        ("x-frame-options", "DENY"),
        ("content-security-policy", "default-src 'self'"),
        ("access-control-allow-origin", "*"),
    )


def test_values_cannot_end_their_line() -> None:
    rules = RuleSet(
        fields=(FieldRule("/go/*", (("x-to", "to :splat and :other"), ("x-plain", "none")), mode=RulesMode.CLOUDFLARE),)
    )
    asked = "/go/a\r\nset-cookie: x=1/\u2603"
    found = dict(
        representation_of(
            "/index.html", entry(""), DEFAULT_SETTINGS, 200, rules=rules, asked_path=asked, asking=NOBODY
        ).fields
    )
    assert found["x-to"] == "to a%0D%0Aset-cookie:%20x=1/%E2%98%83 and :other"


def test_a_value_that_an_address_makes_too_long_is_left_out() -> None:
    fields = (("x-long", ":splat" * 20), ("x-short", ":splat"))
    rules = RuleSet(fields=(FieldRule("/go/*", fields, mode=RulesMode.CLOUDFLARE),))
    found = rules.answer_fields("/go/" + "a" * 500, NOBODY)
    assert found == (("x-short", "a" * 500),)


def test_rules_count_for_the_memory_that_a_manifest_takes() -> None:
    rules = RuleSet(redirects=(RedirectRule("/a", "/b"),), cors=(CorsRule("/*", ("*",)),), spa="/x")
    assert (manifest(RuleSet()).memory_share, manifest(rules).memory_share) == (len(FILES), len(FILES) + 8)


def test_users_of_a_guard() -> None:
    guard = Guard("/*", "r", (("ann", "one"), ("bob", "two")))
    assert (guard.hash_of("bob"), guard.hash_of("eve")) == ("two", None)
    assert NOBODY.country() == ""


@pytest.mark.parametrize(
    ("rules", "are_alike"),
    [
        (RuleSet(), True),
        (RuleSet(fields=(FieldRule("/*", (("x-one", "1"),)),)), True),
        (RuleSet(fields=(FieldRule("/b/*", (("x-one", "1"),), host="www.example.com"),)), True),
        (RuleSet(fields=(FieldRule("/*", (("x-one", "1"),), host="www.example.com"),)), False),
        (RuleSet(cors=(CorsRule("/*", ("*",)),)), True),
        (RuleSet(cors=(CorsRule("/*", ("https://o.example", "https://p.example")),)), False),
    ],
)
def test_answers_that_hosts_or_origins_tell_apart_are_known(rules: RuleSet, are_alike: bool) -> None:
    assert rules.answers_all_alike("/a", NOBODY) is are_alike
