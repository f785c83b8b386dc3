"""Cache groups that an answer invalidated: marks, and the sweep behind them."""

from __future__ import annotations

import asyncio

import pytest

from cdn.edge.disk_index import IndexUnavailable
from cdn.edge.disk_tier import DiskTier
from cdn.edge.pull_marks import GroupMarks, Mark
from tests.edge.pull_stage import FRESH, Gate, Stage, until

GROUPED = (FRESH, ("cache-groups", '"g"'))


def test_what_is_from_before_a_mark_is_covered() -> None:
    marks = GroupMarks()
    assert not marks.covers_stored("s1", ("g",), 0)
    assert not marks.covers_flight("s1", ("g",), 0)
    marks.raise_to("s1", ("g", "h"), Mark(10, 20))
    for group in ("g", "h"):
        assert [marks.covers_stored("s1", (group,), at) for at in (9, 10, 11)] == [True, True, False]
        assert [marks.covers_flight("s1", (group,), at) for at in (19, 20, 21)] == [True, False, False]
    assert marks.covers_stored("s1", ("other", "g"), 10)
    assert not marks.covers_stored("s1", ("other",), 0)
    assert not marks.covers_stored("s1", (), 0)
    assert not marks.covers_stored("s2", ("g",), 0)


def test_a_later_mark_counts() -> None:
    marks = GroupMarks()
    marks.raise_to("s1", ("g",), Mark(10, 20))
    marks.raise_to("s1", ("g",), Mark(30, 40))
    assert marks.covers_stored("s1", ("g",), 30)
    assert len(marks) == 1


def test_too_many_marks_become_one_for_their_site_and_forget_nothing() -> None:
    marks = GroupMarks(max_marks=2)
    for number in range(5):
        marks.raise_to("s1", (f"g{number}",), Mark(10 * number, 10 * number))
    assert len(marks) == 3
    for number in range(5):
        assert marks.covers_stored("s1", (f"g{number}",), 10 * number)
    assert marks.covers_stored("s1", ("unheard",), 20), "what carries another group goes too: rather that than stale"
    assert not marks.covers_stored("s1", ("unheard",), 21)
    assert not marks.covers_stored("s2", ("g0",), 0)


def test_the_oldest_marks_go_first() -> None:
    marks = GroupMarks(max_marks=2)
    marks.raise_to("s1", ("a",), Mark(1, 1))
    marks.raise_to("s1", ("b",), Mark(2, 2))
    marks.raise_to("s1", ("a",), Mark(3, 3))
    marks.raise_to("s1", ("c",), Mark(4, 4))
    assert not marks.covers_stored("s1", ("unheard",), 3), "b became the site's mark, not a, which was raised again"
    assert marks.covers_stored("s1", ("a",), 3)


def test_a_site_that_is_gone_leaves_no_marks() -> None:
    marks = GroupMarks(max_marks=1)
    marks.raise_to("s1", ("a",), Mark(1, 1))
    marks.raise_to("s1", ("b",), Mark(2, 2))
    marks.raise_to("s2", ("c",), Mark(3, 3))
    marks.drop_site("s1")
    assert not marks.covers_stored("s1", ("a", "b"), 0)
    assert marks.covers_stored("s2", ("c",), 3)


async def test_a_group_is_invalid_at_once_and_leaves_the_disk(stage: Stage) -> None:
    await stage.fetch("/a", *GROUPED)
    await stage.fetch("/b", FRESH)
    await stage.unsafe("/c", ("cache-group-invalidation", '"g"'))
    assert (await stage.get("/b")).is_hit
    await stage.fetch("/a", content=b"new")
    assert (await stage.get("/a")).content == b"new"
    await until(lambda: not stage.pull._invalidation._sweeps)
    assert stage.disk.facts().responses == 2
    await stage.assert_clean()


@pytest.mark.parametrize("is_safe_or_failed", [("GET", 200), ("POST", 500)])
async def test_a_safe_or_failed_request_invalidates_nothing(stage: Stage, is_safe_or_failed: tuple[str, int]) -> None:
    method, status = is_safe_or_failed
    await stage.fetch("/a", *GROUPED)
    client = stage.begin("/c", method)
    (await stage.upstream.next()).answer(status, ("cache-group-invalidation", '"g"'), ("location", "/a"))
    await client
    await stage.idle()
    assert (await stage.get("/a")).is_hit


async def test_another_site_keeps_its_groups(stage: Stage) -> None:
    stage.create_site("s2")
    await stage.fetch("/a", *GROUPED)
    stage.marks.raise_to("s2", ("g",), Mark(stage.disk.incarnation_now(), stage.flights.next_number()))
    assert (await stage.get("/a")).is_hit


async def test_what_is_invalidated_during_a_sweep_leaves_the_disk_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks live in memory: what a sweep had passed already would come back with a restart."""
    for path, group in (("/a", "g"), ("/b", "h")):
        await stage.fetch(path, FRESH, ("cache-groups", f'"{group}"'))
    gate = Gate()
    sweep = DiskTier.sweep

    async def held(self: DiskTier, *args: object, **options: object) -> int:
        removed = await sweep(self, *args, **options)  # type: ignore[arg-type]
        await gate.pass_through()
        return removed

    monkeypatch.setattr(DiskTier, "sweep", held)
    await stage.unsafe("/c", ("cache-group-invalidation", '"g"'))
    await gate.come()
    assert stage.disk.facts().responses == 1
    await stage.unsafe("/c", ("cache-group-invalidation", '"h"'))
    gate.open()
    await until(lambda: not stage.pull._invalidation._sweeps)
    assert stage.disk.facts().responses == 0


async def test_a_sweep_that_the_index_does_not_take_leaves_the_marks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.fetch("/a", *GROUPED)

    async def fail(self: DiskTier, *args: object, **options: object) -> int:
        raise IndexUnavailable("no writes now")

    monkeypatch.setattr(DiskTier, "sweep", fail)
    await stage.unsafe("/c", ("cache-group-invalidation", '"g"'))
    await until(lambda: not stage.pull._invalidation._sweeps)
    await stage.fetch("/a", content=b"new")


async def test_closing_the_node_ends_a_sweep(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()

    async def held(self: DiskTier, *args: object, **options: object) -> int:
        await gate.pass_through()
        return 0

    monkeypatch.setattr(DiskTier, "sweep", held)
    await stage.unsafe("/c", ("cache-group-invalidation", '"g"'))
    await gate.come()
    await stage.pull.aclose()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("sweep")]
