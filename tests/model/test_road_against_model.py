"""For any sequence of requests, answers, clocks and purges no stored response is used that a plain reading forbids."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, note, settings
from hypothesis import strategies as st

from cdn.edge import pull_invalidation
from tests.model.history import History, Visit
from tests.model.plain_cache import PlainCache
from tests.model.plain_collapse import objections_to_collapse
from tests.model.plain_message import Lines
from tests.model.script import Answering, Asking, Passing, Purging, Step, Told
from tests.model.simulation import WatchedLoop, played
from tests.model.stories import overlapping_steps, steps

IN_MEMORY = Path("/dev/shm")
"""Where there is such a folder the disk tier is quick; nothing here is about its durability."""

QUICK = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=5_000, derandomize=False)


@pytest.fixture(autouse=True, scope="module")
def _swiftly() -> Iterator[None]:
    """Sweeps do not rest, and the failures that upstreams are told to have are not news."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pull_invalidation, "SWEEP_PAUSE_S", 0.0)
        logging.disable(logging.WARNING)
        yield
        logging.disable(logging.NOTSET)


@dataclass
class Tally:
    """What the scripts came to, so that a property of nothing does not pass."""

    hits: int = 0
    prepared: int = 0
    validated: int = 0
    stale: int = 0
    parts: int = 0

    def count(self, history: History) -> None:
        for visit in history.visits.values():
            of = visit.content_of
            if of is None or history.exchanges[of].visit == visit.number:
                continue
            is_validated = any(history.exchanges[each].visit == visit.number for each in visit.seen)
            self.validated += is_validated
            self.hits += not is_validated
            self.prepared += visit.is_prepared
            self.parts += visit.status == 206
            self.stale += not is_validated and _is_stale(visit)


def _is_stale(visit: Visit) -> bool:
    return any(name == "cache-status" and "detail=" in value for name, value in visit.answer)


def history_of(script: Sequence[Step], *, overlaps: bool = False) -> History:
    folder = Path(tempfile.mkdtemp(dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    try:
        with asyncio.Runner(loop_factory=WatchedLoop) as runner:
            return runner.run(played(folder, script, overlaps=overlaps))
    finally:
        shutil.rmtree(folder)


def assert_allowed(history: History) -> None:
    for each in (*history.exchanges.values(), *history.visits.values(), *history.purges):
        note(str(each))
    model = PlainCache(history)
    assert {number: said for number, visit in history.visits.items() if (said := model.objections(visit))} == {}


def told(*lines: tuple[str, str], **more: object) -> tuple[Told, ...]:
    return (Told(lines, **more),)  # type: ignore[arg-type]


FRESH = ("cache-control", "max-age=100")

A_PART_THAT_IS_THE_WHOLE: list[Step] = [
    Asking(lines=(("range", "bytes=0-"),), told=told(FRESH, cuts=True)),
    Asking(),
]
"""Who asks for no range is not sent a 206."""

A_304_FOR_ONE_WHO_WANTS_NOTHING_STORED: list[Step] = [
    Asking(told=told(FRESH, ("etag", '"a"'))),
    Asking(lines=(("cache-control", "no-store"),), told=(*told(confirms=True), *told())),
    Asking(),
]
"""Its head is a part of a response that must not be stored."""

A_304_THAT_IS_PRIVATE: list[Step] = [
    Asking(told=told(("cache-control", "max-age=0"), ("etag", '"a"'))),
    Asking(told=told(("cache-control", "max-age=100, private"), confirms=True)),
    Asking(),
]

A_304_WITH_A_FIELD_FOR_ONE: list[Step] = [
    Asking(told=told(("cache-control", "max-age=0"), ("etag", '"a"'))),
    Asking(told=told(("cache-control", 'max-age=100, private="x-secret"'), ("x-secret", "yes"), confirms=True)),
    Asking(),
]

A_304_WITHOUT_A_DATE: list[Step] = [
    Asking(told=told(("cache-control", "max-age=10"), ("etag", '"a"'))),
    Passing(seconds=90),
    Asking(told=told(confirms=True, is_dated=False)),
    Asking(),
]
"""It was received when it was received: the response is young again."""


A_304_TO_WHAT_WAS_REPLACED: list[Step] = [
    Asking(told=told(("last-modified", "@-1000"))),
    Answering(0),
    Answering(0),
    Purging("everything", is_soft=True),
    Asking(told=told(("cache-control", "max-age=100"), ("etag", 'W/"a"'))),
    Asking(lines=(("cache-control", "no-cache"),), told=(*told(confirms=True), *told(FRESH))),
    Answering(0),
    Answering(0),
    Answering(0),
]
"""The answer to the first request took the place of what the second asked about: the 304 says nothing of it."""


A_304_THAT_NARROWS_NO_VARY_SEARCH: list[Step] = [
    Asking("/a?x=1", told=told(("cache-control", "max-age=0"), ("etag", '"a"'), ("no-vary-search", "params"))),
    Asking("/a?x=1", told=told(FRESH, ("no-vary-search", 'params, except=("x")'), confirms=True)),
    Asking("/a?x=2", told=told()),
]

VARIANTS_WITH_OTHER_NO_VARY_SEARCH: list[Step] = [
    Asking("/a?x=1", (("x-kind", "1"),), told(FRESH, ("vary", "x-kind"))),
    Asking("/a?x=1", (("x-kind", "2"),), told(FRESH, ("vary", "x-kind"), ("no-vary-search", "params"))),
    Asking("/a?x=2", (("x-kind", "1"),), told()),
]
"""What one variant says of queries does not hold for the other."""


def run_alone(tally: Tally, how: settings) -> None:
    @how
    @given(script=steps())
    @example(script=A_PART_THAT_IS_THE_WHOLE)
    @example(script=A_304_FOR_ONE_WHO_WANTS_NOTHING_STORED)
    @example(script=A_304_THAT_IS_PRIVATE)
    @example(script=A_304_WITH_A_FIELD_FOR_ONE)
    @example(script=A_304_WITHOUT_A_DATE)
    @example(script=A_304_THAT_NARROWS_NO_VARY_SEARCH)
    @example(script=VARIANTS_WITH_OTHER_NO_VARY_SEARCH)
    def holds(script: list[Step]) -> None:
        history = history_of(script)
        tally.count(history)
        assert_allowed(history)

    holds()


def run_together(tally: Tally, how: settings) -> None:
    @how
    @given(script=overlapping_steps())
    @example(script=A_304_TO_WHAT_WAS_REPLACED)
    def holds(script: list[Step]) -> None:
        history = history_of(script, overlaps=True)
        tally.count(history)
        assert_allowed(history)
        assert objections_to_collapse(history) == []

    holds()


def test_nothing_stored_is_used_that_the_rfc_forbids() -> None:
    """One client after another (RFC 9111, DESIGN I1)."""
    tally = Tally()
    run_alone(tally, QUICK)
    assert tally.hits > 80
    assert min(tally.prepared, tally.validated, tally.stale, tally.parts) > 0


def test_nothing_is_shared_that_the_rfc_forbids() -> None:
    """Clients side by side, answered in any order; who may join a fetch begins no other (DESIGN I6)."""
    tally = Tally()
    run_together(tally, settings(QUICK, max_examples=60))
    assert tally.hits > 15


PLAINLY_FRESH: tuple[Lines, ...] = (
    (FRESH,),
    (("cache-control", "public, s-maxage=100"), ("etag", '"l"')),
    (("expires", "@100"), ("content-type", "text/plain")),
    (("cdn-cache-control", "max-age=100"), ("cache-control", "no-store")),
    (FRESH, ("vary", "x-kind"), ("set-cookie", "a=1")),
    (("last-modified", "@-9000"),),
)


@settings(QUICK, max_examples=40)
@given(
    before=steps(),
    answer=st.sampled_from(PLAINLY_FRESH),
    size_bytes=st.sampled_from((0, 20, 300, 70_000)),
    lines=st.sampled_from(((), (("accept-encoding", "gzip"),), (("x-kind", "1"), ("cookie", "a=1")))),
)
def test_what_is_plainly_fresh_is_not_asked_for_again(
    before: list[Step], answer: Lines, size_bytes: int, lines: Lines
) -> None:
    """Whatever went on elsewhere: a cache that never stored would break no rule."""
    asking = Asking("/live", lines, told(*answer, size_bytes=size_bytes))
    history = history_of([*before[:6], asking, asking, Passing(90), asking])
    assert_allowed(history)
    assert len([each for each in history.exchanges.values() if each.target == "/live"]) == 1


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_a_great_many_scripts(seed: int) -> None:
    """With other scripts in every run."""
    run_alone(Tally(), LONG)
    run_together(Tally(), settings(LONG, max_examples=1_000))
