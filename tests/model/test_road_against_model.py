"""For any sequence of requests, answers, clocks and purges no stored response is used that a plain reading forbids."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
from tests.model.scenes import ALONE, FRESH, TOGETHER, told
from tests.model.script import Asking, Passing, Step
from tests.model.simulation import WatchedLoop, played
from tests.model.stories import overlapping_steps, steps

IN_MEMORY = Path("/dev/shm")
"""Where there is such a folder the disk tier is quick; nothing here is about its durability."""

QUICK = settings(
    max_examples=300,
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


def with_scenes(holds: Callable[[], None], scenes: Sequence[list[Step]]) -> Callable[[], None]:
    """A property that begins with these scripts."""
    for scene in scenes:
        holds = example(script=scene)(holds)
    return holds


def run_alone(tally: Tally, how: settings) -> None:
    @how
    @given(script=steps())
    def holds(script: list[Step]) -> None:
        history = history_of(script)
        tally.count(history)
        assert_allowed(history)

    with_scenes(holds, ALONE)()


def run_together(tally: Tally, how: settings) -> None:
    @how
    @given(script=overlapping_steps())
    def holds(script: list[Step]) -> None:
        history = history_of(script, overlaps=True)
        tally.count(history)
        assert_allowed(history)
        assert objections_to_collapse(history) == []

    with_scenes(holds, TOGETHER)()


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
