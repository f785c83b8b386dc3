"""Prepared hits of files that have coded forms: found by what a request prefers, and by nothing else."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.edge import recall as module
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.prepared import Prepared
from cdn.edge.pull_memory import PullMemory
from cdn.edge.recall import BundlePlace, Recall
from cdn.http.content_coding import CODINGS, preferred_coding
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.journal.record import SiteChanged
from tests.edge.certificate_stage import ZONE, Known

HOST = f"blog.{ZONE}"
ACCEPT = (
    "",
    "br",
    "gzip",
    "zstd",
    "br, gzip",
    "gzip;q=0.5, zstd",
    "*",
    "identity",
    "br;q=0, *",
    "gzip, deflate, br, zstd",
)


class Stage:
    def __init__(self) -> None:
        self.known = Known()
        self.tier: MemoryTier[Prepared] = MemoryTier(1 << 20)
        self.recall = Recall(self.known.view, self.tier, PullMemory(self.tier))

    def prepared(self) -> Prepared:
        runtime = self.known.view.runtime("s1")
        return Prepared(
            status=200,
            fields=(),
            content=b"x",
            base_age_at=0.0,
            site=runtime,
            generation=runtime.generation,
            fresh_until=inf,
        )

    def put(self, path: str, accept: str, codings: tuple[str, ...]) -> Prepared:
        prepared = self.prepared()
        self.recall.put(asked(path, accept), BundlePlace("s1", "production", path, codings), prepared)
        return prepared


def asked(path: str = "/a.js", accept: str = "") -> Request:
    fields = (("accept-encoding", accept),) if accept else ()
    return Request("GET", Target(path, None, path), HOST, None, Fields(fields), "http")


PUTS = st.tuples(
    st.sampled_from(("/a.js", "/b.js", "/br:/a.js")),
    st.sampled_from(ACCEPT),
    st.sets(st.sampled_from(CODINGS)).flatmap(lambda some: st.permutations(sorted(some))).map(tuple),
)


@given(st.lists(st.one_of(PUTS, st.none()), max_size=25))
def test_a_hit_is_what_the_whole_road_answered_to_whoever_prefers_the_same(
    puts: list[tuple[str, str, tuple[str, ...]] | None],
) -> None:
    """Whatever was kept, in whatever order, with whatever forms there were; None: a record touches the site."""
    stage = Stage()
    kept: dict[tuple[str, str | None], Prepared] = {}
    there: dict[str, tuple[str, ...]] = {}
    for put in puts:
        if put is None:
            stage.known.tell(SiteChanged("s1", {}))
            kept, there = {}, {}
            continue
        path, accept, codings = put
        if there.get(path, codings) != codings:  # of one generation a place has the same forms, or fewer for a while
            kept = {key: one for key, one in kept.items() if key[0] != path}
        there[path] = codings
        kept[path, preferred_coding(accept, codings)] = stage.put(path, accept, codings)
    for path in ("/a.js", "/b.js", "/br:/a.js"):
        for accept in ACCEPT:
            found = stage.recall.find(asked(path, accept), 0.0)
            wanted = kept.get((path, preferred_coding(accept, there.get(path, ()))))
            assert found is wanted or (found is not None and there[path] and _is_of(stage, found, path, accept, there))


def _is_of(stage: Stage, found: Prepared, path: str, accept: str, there: dict[str, tuple[str, ...]]) -> bool:
    """A form of before the forms changed for a while: still right for who prefers it among those that there are."""
    coding = preferred_coding(accept, there[path])
    return stage.tier.get(("s1", "production", f"{coding or 'identity'}:{path}")) is found


def test_a_file_without_forms_has_one_place_for_all() -> None:
    stage = Stage()
    prepared = stage.put("/a.js", "br", ())
    assert all(stage.recall.find(asked(accept=accept), 0.0) is prepared for accept in ACCEPT)
    assert stage.recall.place(asked()) == BundlePlace("s1", "production", "/a.js")


def test_a_file_that_has_forms_now_is_not_hidden_by_what_was_kept_before() -> None:
    stage = Stage()
    old = stage.put("/a.js", "", ())
    stage.known.tell(SiteChanged("s1", {}))
    assert stage.recall.find(asked(accept="br"), 0.0) is None
    coded = stage.put("/a.js", "br", ("br", "gzip"))
    assert stage.recall.find(asked(accept="br"), 0.0) is coded
    assert stage.recall.find(asked(accept="gzip"), 0.0) is None
    assert stage.recall.find(asked(), 0.0) is None
    assert not old.is_usable(0.0)
    stage.known.tell(SiteChanged("s1", {}))
    plain = stage.put("/a.js", "br", ())
    assert stage.recall.find(asked(accept="br"), 0.0) is plain


def test_a_worker_keeps_a_form_where_it_looks_for_it() -> None:
    node, worker = Stage(), Stage()
    given = node.put("/a.js", "gzip", ("br", "gzip"))
    place = node.recall.place(asked(accept="gzip"))
    assert place == BundlePlace("s1", "production", "/a.js", ("br", "gzip"))
    noted = worker.recall.note(asked())
    assert noted is not None
    prepared = worker.prepared()
    worker.recall.keep(asked(accept="gzip"), noted, place, prepared, 0)
    assert worker.recall.find(asked(accept="gzip"), 0.0) is prepared
    assert worker.recall.find(asked(accept="br, gzip"), 0.0) is None
    assert given.is_usable(0.0)


def test_places_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CODED_PLACES", 2)
    stage = Stage()
    for number in range(5):
        stage.put(f"/{number}.js", "br", ("br",))
    assert [stage.recall.find(asked(f"/{n}.js", "br"), 0.0) is not None for n in range(5)] == [False] * 3 + [True] * 2
