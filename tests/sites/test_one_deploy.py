"""One deploy (DESIGN I4).

After any history, a request reaches the active deploy's files, fingerprinted or kept files of deploys that were active
on the same alias or are being prepared for it, and nothing else of any other deploy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.http.target import Target, encode_path
from cdn.sites.catalog import Catalog
from cdn.sites.deploy import PREPARING_KEPT_S, Deploy
from cdn.sites.manifest import FileEntry, Manifest, digest_of
from cdn.sites.name import PRODUCTION
from cdn.sites.route import AbsentRoute, FileRoute, RedirectRoute, Route, add_retained, resolve
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site

FINGERPRINTED = ("/assets/app.3f2a9c1b.js", "/assets/index-BfX3k_9a.css", "/assets/index-DiwrgTda.js")
KEPT = ("/data/feed.json", "/data/old.html")
ORDINARY = (
    "/index.html",
    "/about.html",
    "/docs/index.html",
    "/.env",
    "/data/.env",
    "/secret.txt",
    "/app.js",
    "/404.html",
)
ALL_PATHS = (*FINGERPRINTED, *KEPT, *ORDINARY)
URLS = (*ALL_PATHS, "/", "/about", "/docs", "/docs/", "/data/old", "/nothing")
KEEP = ("/data/*",)
RETENTION_S = 1000
ALIASES = (PRODUCTION, "next")


@dataclass
class History:
    """The catalog under test beside a plain account of everything that ever happened."""

    keep: tuple[str, ...]
    now: float = 0.0
    sequence: int = 0
    catalog: Catalog = field(default_factory=lambda: Catalog("cdn.localhost"))
    files: dict[str, Mapping[str, FileEntry]] = field(default_factory=dict)
    prepared_at: dict[str, tuple[str, float]] = field(default_factory=dict)
    active: dict[str, str] = field(default_factory=dict)
    superseded_at: dict[tuple[str, str], float] = field(default_factory=dict)
    ever_active: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        site_settings = SiteSettings(retention_s=RETENTION_S, keep=self.keep)
        self.catalog.create_site(Site("s", "site", 0.0, site_settings))

    def prepare(self, alias: str, paths: frozenset[str]) -> None:
        self.sequence += 1
        deploy_id = f"d{self.sequence}"
        self.files[deploy_id] = {path: FileEntry(digest_of(f"{deploy_id}{path}".encode()), 1) for path in sorted(paths)}
        self.prepared_at[deploy_id] = (alias, self.now)
        deploy = Deploy(deploy_id, "s", alias, deploy_id, len(paths), 1, "", "", self.now, self.sequence)
        assert self.catalog.prepare_deploy(deploy)

    def activate(self, alias: str, choice: int) -> None:
        if not self.files:
            return
        deploy_id = list(self.files)[choice % len(self.files)]
        self._activate(alias, deploy_id)

    def rollback(self, alias: str) -> None:
        to = self.catalog.rollback_target("s", alias)
        if to is not None:
            self._activate(alias, to.id)

    def _activate(self, alias: str, deploy_id: str) -> None:
        self.sequence += 1
        before = self.active.get(alias)
        if before is not None and before != deploy_id:
            self.superseded_at[alias, before] = self.now
        self.active[alias] = deploy_id
        self.ever_active.add((alias, deploy_id))
        assert self.catalog.activate("s", alias, deploy_id, self.now, self.sequence)

    def may_give(self, alias: str, deploy_id: str) -> bool:
        """Whether fingerprinted and kept files of that deploy may be reachable beside the active one's."""
        superseded_at = self.superseded_at.get((alias, deploy_id))
        if superseded_at is not None and self.now < superseded_at + RETENTION_S:
            return True
        prepared_for, at = self.prepared_at[deploy_id]
        is_preparing = prepared_for == alias and (alias, deploy_id) not in self.ever_active
        return is_preparing and self.now < at + PREPARING_KEPT_S

    def resolve(self, alias: str, url: str) -> Route | None:
        """As a node does it."""
        found = self.catalog.alias("s", alias)
        site = self.catalog.site("s")
        if found is None or found.active is None or site is None:
            return None
        retained: dict[str, FileEntry] = {}
        for deploy in found.reachable(self.now):
            add_retained(retained, Manifest(self.files[deploy.id]), site.settings.keep)
        return resolve(Manifest(self.files[found.active.id]), retained, Target(encode_path(url), None, url))

    def check(self, alias: str) -> None:
        for url in URLS:
            route = self.resolve(alias, url)
            if alias not in self.active:
                assert route is None
                continue
            assert route is not None
            self._check_route(alias, url, route)

    def _check_route(self, alias: str, url: str, route: Route) -> None:
        active = self.files[self.active[alias]]
        others = [deploy_id for deploy_id in self.files if self.may_give(alias, deploy_id)]
        may_keep = url in FINGERPRINTED or (bool(self.keep) and url in KEPT)
        holders = [deploy_id for deploy_id in others if url in self.files[deploy_id]]
        if isinstance(route, FileRoute) and route.is_retained:
            assert url == route.path
            assert may_keep
            assert route.status == 200
            assert route.entry in [self.files[deploy_id][url] for deploy_id in holders]
        elif isinstance(route, FileRoute):
            assert route.entry == active[route.path]
        if url in active:
            assert isinstance(route, FileRoute)
            assert not route.is_retained
            assert route.path == url
        elif may_keep and holders:
            assert isinstance(route, FileRoute)
            assert route.is_retained
        elif url in ALL_PATHS:
            assert isinstance(route, AbsentRoute | RedirectRoute | FileRoute)
            assert not isinstance(route, FileRoute) or route.status == 404


STEPS = st.one_of(
    st.tuples(st.just("prepare"), st.sampled_from(ALIASES), st.frozensets(st.sampled_from(ALL_PATHS), min_size=1)),
    st.tuples(st.just("activate"), st.sampled_from(ALIASES), st.integers(0, 9)),
    st.tuples(st.just("rollback"), st.sampled_from(ALIASES), st.none()),
    st.tuples(st.just("wait"), st.sampled_from(ALIASES), st.sampled_from([1.0, 400.0, 999.0, 1000.0, 3600.0])),
    st.tuples(st.just("forget"), st.sampled_from(ALIASES), st.none()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=14), st.sampled_from([(), KEEP]))
def test_nothing_of_another_deploy_is_reachable(steps: list[tuple[str, str, object]], keep: tuple[str, ...]) -> None:
    history = History(keep)
    for step in steps:
        match step:
            case ("prepare", alias, frozenset() as paths):
                history.prepare(alias, paths)
            case ("activate", alias, int() as choice):
                history.activate(alias, choice)
            case ("rollback", alias, _):
                history.rollback(alias)
            case ("wait", _, float() as seconds):
                history.now += seconds
            case _:
                history.catalog.forget_retained(history.now)
        for alias in ALIASES:
            history.check(alias)


def history_of(*bundles: frozenset[str]) -> History:
    history = History(KEEP)
    for number, paths in enumerate(bundles):
        history.prepare(PRODUCTION, paths)
        history.activate(PRODUCTION, number)
    return history


def test_a_tab_from_before_the_deploy_finds_its_chunk_and_not_the_removed_secret() -> None:
    history = history_of(frozenset(ALL_PATHS), frozenset({"/index.html"}))
    for url in (*FINGERPRINTED, *KEPT):
        found = history.resolve(PRODUCTION, url)
        assert isinstance(found, FileRoute)
        assert found.is_retained
    for url in ("/.env", "/data/.env", "/about", "/about.html", "/docs/", "/docs", "/secret.txt", "/app.js"):
        assert history.resolve(PRODUCTION, url) == AbsentRoute()
    history.now += RETENTION_S
    assert history.resolve(PRODUCTION, FINGERPRINTED[0]) == AbsentRoute()


def test_after_a_rollback_the_newer_deploys_tabs_find_their_chunks() -> None:
    history = history_of(frozenset({"/index.html"}), frozenset({"/index.html", FINGERPRINTED[0]}))
    history.rollback(PRODUCTION)
    found = history.resolve(PRODUCTION, FINGERPRINTED[0])
    assert found == FileRoute(FINGERPRINTED[0], history.files["d3"][FINGERPRINTED[0]], 200, True)


def test_files_of_a_preview_stay_with_the_preview() -> None:
    history = history_of(frozenset({"/index.html"}))
    history.prepare("next", frozenset({"/index.html", FINGERPRINTED[0], KEPT[0]}))
    history.activate("next", 1)
    history.prepare("next", frozenset({"/index.html"}))
    history.activate("next", 2)
    for url in (FINGERPRINTED[0], KEPT[0]):
        assert history.resolve(PRODUCTION, url) == AbsentRoute()
        assert isinstance(history.resolve("next", url), FileRoute)


def test_a_prepared_deploy_is_reachable_before_it_is_active_by_its_fingerprints_only() -> None:
    history = history_of(frozenset({"/index.html"}))
    history.prepare(PRODUCTION, frozenset({"/index.html", FINGERPRINTED[1], "/secret.txt"}))
    assert isinstance(history.resolve(PRODUCTION, FINGERPRINTED[1]), FileRoute)
    assert history.resolve(PRODUCTION, "/secret.txt") == AbsentRoute()
    assert history.resolve(PRODUCTION, "/") == FileRoute("/index.html", history.files["d1"]["/index.html"])
