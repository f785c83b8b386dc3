from __future__ import annotations

import gc
import json
import sys
from types import FrameType
from typing import Any

import pytest

from cdn.fleet.position import Position
from cdn.http.decide import Required
from cdn.http.tag import OVERFLOW_TAG
from cdn.journal.record import (
    RECORD_VERSION,
    Audience,
    Change,
    Purged,
    PurgeScope,
    Record,
    SiteChanged,
    SiteCreated,
    SiteRemoved,
    UnknownRecord,
)
from cdn.purge.floors import Floors, SiteFloors
from cdn.purge.limits import FloorLimits
from cdn.purge.scope import EVERYTHING, Scope, ScopeKind

EPOCH = "e1"


def record(sequence: int, change: Change, epoch: str = EPOCH) -> Record:
    return Record(RECORD_VERSION, epoch, sequence, "subject", 0.0, "tester", Audience.ALL, change)


def purged(sequence: int, *scopes: Scope, site_id: str = "s", soft: bool = False, epoch: str = EPOCH) -> Record:
    return record(sequence, Purged(site_id, tuple(scope.to_record() for scope in scopes), soft), epoch)


def url(value: str) -> Scope:
    return Scope(ScopeKind.URL, value)


def prefix(value: str) -> Scope:
    return Scope(ScopeKind.PREFIX, value)


def tag(value: str) -> Scope:
    return Scope(ScopeKind.TAG, value)


def hard(floors: SiteFloors, name: str, *tags: str) -> int:
    return floors.required((name,), tags).hard


def test_each_kind_covers_what_it_names() -> None:
    floors = Floors()
    floors.apply(purged(3, url("/a")))
    floors.apply(purged(4, prefix("/blog/")))
    floors.apply(purged(5, tag("t")))
    of_site = floors.of("s")
    assert hard(of_site, "/a") == 3
    assert hard(of_site, "/ab") == 0
    assert hard(of_site, "/a?q") == 0
    assert hard(of_site, "/blog/") == 4
    assert hard(of_site, "/blog/2024/x?y") == 4
    assert hard(of_site, "/blog") == 0
    assert hard(of_site, "/b", "u", "t") == 5
    assert hard(of_site, "/blog/", "t") == 5
    floors.apply(purged(6, EVERYTHING))
    assert of_site.required(("/zzz",), ()) == Required(6, 0)


def test_any_of_the_names_counts() -> None:
    floors = Floors()
    floors.apply(purged(3, url("/docs/")))
    assert floors.of("s").required(("/docs/index.html", "/docs/"), ()) == Required(3, 0)


def test_a_url_with_a_query_also_covers_the_response_that_ignores_queries() -> None:
    floors = Floors()
    floors.apply(purged(3, url("/app.js?v=1")))
    assert hard(floors.of("s"), "/app.js?v=1") == 3
    assert hard(floors.of("s"), "/app.js") == 3
    assert hard(floors.of("s"), "/app.js?v=2") == 0


def test_a_purge_of_any_tag_covers_responses_whose_tags_did_not_all_fit() -> None:
    floors = Floors()
    floors.apply(purged(3, tag("t")))
    assert hard(floors.of("s"), "/a", "u", OVERFLOW_TAG) == 3


def test_soft_and_hard_stand_side_by_side() -> None:
    floors = Floors()
    floors.apply(purged(3, url("/a")))
    floors.apply(purged(4, url("/a"), soft=True))
    assert floors.of("s").required(("/a",), ()) == Required(3, 4)
    floors.apply(purged(5, url("/a")))
    assert floors.of("s").required(("/a",), ()) == Required(5, 0)


def test_sites_do_not_share_floors() -> None:
    floors = Floors()
    floors.apply(purged(3, EVERYTHING, site_id="s"))
    assert floors.of("other").required(("/a",), ("t",)) == Required(0, 0)


def test_other_records_change_nothing() -> None:
    floors = Floors()
    floors.apply(record(1, SiteCreated("s", "blog", {})))
    assert floors.dump()["sites"] == {}


def test_a_scope_from_the_future_stops_the_reader_before_anything_is_raised() -> None:
    floors = Floors()
    with pytest.raises(UnknownRecord):
        floors.apply(record(1, Purged("s", (PurgeScope("everything", ""), PurgeScope("regex", ".*")), False)))
    assert hard(floors.of("s"), "/a") == 0


def test_everything_drops_the_floors_it_subsumes() -> None:
    floors = SiteFloors()
    floors.raise_floor(url("/a"), 3, False)
    floors.raise_floor(prefix("/b"), 4, True)
    floors.raise_floor(tag("t"), 5, False)
    floors.raise_floor(EVERYTHING, 6, True)
    assert len(floors) == 3  # a soft floor says nothing of what a hard one forbids: /a, t, and the tag that overflowed
    floors.raise_floor(EVERYTHING, 7, False)
    assert len(floors) == 0
    assert floors.required(("/a",), ("t",)) == Required(7, 0)
    floors.raise_floor(prefix("/late"), 2, False)
    assert len(floors) == 0


def test_compaction_merges_the_oldest_half_and_only_demands_more() -> None:
    floors = SiteFloors(limits=FloorLimits(max_floors_per_site=4))
    for sequence in range(1, 5):
        floors.raise_floor(url(f"/{sequence}"), sequence, soft=sequence == 1)
    assert floors.required(("/0",), ()) == Required(0, 0)
    floors.raise_floor(url("/5"), 5, False)
    assert len(floors) == 2
    assert floors.required(("/0",), ()) == Required(3, 0)
    assert hard(floors, "/4") == 4
    assert hard(floors, "/5") == 5


def test_compaction_of_soft_floors_stays_soft() -> None:
    floors = SiteFloors(limits=FloorLimits(max_floors_per_site=2))
    for sequence in range(1, 4):
        floors.raise_floor(url(f"/{sequence}"), sequence, soft=True)
    assert floors.required(("/0",), ()) == Required(0, 2)


def test_compacting_nothing_is_harmless() -> None:
    floors = SiteFloors()
    floors.compact()
    assert floors.is_empty


def test_all_sites_together_are_bounded_and_the_one_with_most_gives_way() -> None:
    floors = Floors(FloorLimits(max_floors=10))
    floors.apply(purged(1, url("/small"), site_id="small"))
    for sequence in range(2, 12):
        floors.apply(purged(sequence, url(f"/{sequence}"), site_id="large"))
    assert hard(floors.of("small"), "/other") == 0
    assert hard(floors.of("large"), "/other") == 6
    assert len(floors.of("small")) + len(floors.of("large")) <= 10


@pytest.mark.parametrize("is_loaded", [False, True])
def test_the_bound_over_all_sites_holds_through_everything_that_changes_counts(is_loaded: bool) -> None:
    floors = Floors(FloorLimits(max_floors=6))
    for round_number in range(20):
        at = 100 * round_number
        for number in range(12):
            scope = tag(f"{number}") if number == 2 else url(f"/{at}/{number}")
            floors.apply(purged(at + number + 1, scope, site_id=f"s{number // 4}"))
            assert sum(len(floors.of(f"s{other}")) for other in range(3)) <= 6
        floors.swept("s0", Position(EPOCH, at + 3))
        floors.apply(record(at + 20, SiteRemoved("s2" if round_number == 10 else "unknown")))
        if is_loaded:
            floors.load(json.loads(json.dumps(floors.dump())))
            floors.raise_horizon(at + 2)


def test_what_goes_makes_room_again() -> None:
    floors = Floors(FloorLimits(max_floors=4))
    floors.apply(purged(1, url("/keep"), site_id="keep"))
    floors.apply(record(2, SiteRemoved("removed")))
    for sequence in range(3, 30):
        floors.apply(purged(sequence, url("/a"), url("/b"), url("/c")))
        floors.swept("s", Position(EPOCH, sequence))
        floors.apply(purged(sequence, url("/a"), site_id="removed"))
        floors.apply(purged(sequence, url("/a"), url("/b"), url("/c"), site_id=f"s{sequence}"))
        floors.apply(record(sequence, SiteRemoved(f"s{sequence}")))
        assert hard(floors.of("keep"), "/other") == 0
        assert hard(floors.of("s"), "/other") == 0


def test_prefixes_have_few_distinct_lengths_and_the_closest_are_merged() -> None:
    floors = SiteFloors(limits=FloorLimits(max_prefix_lengths=3))
    floors.raise_floor(prefix("/a/"), 1, False)
    floors.raise_floor(prefix("/docs/guide/"), 2, False)
    floors.raise_floor(prefix("/docs/guide/a"), 3, True)
    floors.raise_floor(prefix("/docs/other/b"), 4, False)
    floors.raise_floor(prefix("/docs/guide/long/"), 5, False)
    assert hard(floors, "/docs/guide/x") == 2
    assert floors.required(("/docs/guide/x",), ()) == Required(2, 3)
    assert hard(floors, "/docs/other/x") == 4
    assert hard(floors, "/docs/guide/long/x") == 5
    assert hard(floors, "/a/x") == 1
    assert hard(floors, "/docs/") == 0
    for length in range(1, 100):
        floors.raise_floor(prefix("/" + "p" * length), 100 + length, False)
    assert hard(floors, "/" + "p" * 200) == 199
    assert len({len(kept) for kept in floors.dump()["prefixes"]}) <= 3


def test_a_removed_site_is_forbidden_for_good() -> None:
    floors = Floors()
    held = floors.of("s")
    floors.apply(purged(3, url("/a")))
    floors.apply(record(4, SiteRemoved("s")))
    assert hard(held, "/b") == 4
    assert hard(floors.of("s"), "/b") == 4
    floors.apply(purged(5, url("/a")))
    floors.swept("s", Position(EPOCH, 9))
    assert hard(floors.of("s"), "/a") == 4
    floors.load(floors.dump())
    assert hard(floors.of("s"), "/b") == 4


def test_removed_sites_are_bounded() -> None:
    floors = Floors(FloorLimits(max_removed_sites=3))
    for sequence in range(1, 5):
        floors.apply(record(sequence, SiteRemoved(f"s{sequence}")))
    assert len(floors.dump()["removed"]) == 2
    assert floors.horizon == 2
    assert [hard(floors.of(f"s{number}"), "/") for number in range(1, 5)] == [2, 2, 3, 4]


def test_the_horizon_is_demanded_of_every_site_known_and_to_come() -> None:
    floors = Floors()
    known = floors.of("known")
    floors.apply(purged(3, url("/a"), site_id="known"))
    floors.raise_horizon(5)
    floors.raise_horizon(4)
    assert floors.horizon == 5
    assert hard(known, "/b") == 5
    assert hard(floors.of("new"), "/b") == 5
    assert len(known) == 0


def test_a_loaded_horizon_counts_for_sites_that_the_section_does_not_name() -> None:
    source = Floors()
    source.raise_horizon(5)
    floors = Floors()
    held = floors.of("only-here")
    floors.load(source.dump())
    assert hard(held, "/a") == 5
    assert hard(floors.of("later"), "/a") == 5


def test_a_sweep_forgets_hard_floors_and_keeps_soft_ones() -> None:
    floors = Floors()
    floors.apply(purged(3, url("/a"), prefix("/b"), tag("t")))
    floors.apply(purged(4, url("/a"), url("/soft"), soft=True))
    floors.apply(purged(6, url("/late")))
    of_site = floors.of("s")
    assert of_site.sweepable == 6
    floors.swept("s", Position(EPOCH, 5))
    assert of_site.required(("/a",), ()) == Required(0, 4)
    assert of_site.required(("/soft",), ()) == Required(0, 4)
    assert of_site.required(("/b",), ("t",)) == Required(0, 0)
    assert hard(of_site, "/late") == 6
    floors.swept("s", Position(EPOCH, 6))
    assert of_site.sweepable == 0
    assert not of_site.is_empty


@pytest.mark.parametrize("soft", [False, True])
def test_when_the_rules_of_a_site_change_its_tag_floors_cover_everything(soft: bool) -> None:
    """A response that carried the tag by a rule when it was purged may not come back when the rule goes."""
    floors = Floors()
    floors.apply(purged(3, tag("t"), url("/a"), soft=soft))
    floors.apply(purged(4, url("/b"), soft=soft))
    floors.apply(record(5, SiteChanged("s", {})))
    floors.apply(record(6, SiteChanged("unknown", {})))
    of_site = floors.of("s")
    assert of_site.required(("/x",), ()) == (Required(0, 3) if soft else Required(3, 0))
    assert of_site.required(("/b",), ()) == (Required(0, 4) if soft else Required(4, 0))
    assert len(of_site) == 1
    floors.apply(record(7, SiteChanged("s", {})))
    assert of_site.required(("/x",), ()) == (Required(0, 3) if soft else Required(3, 0))


def test_a_change_that_purges_raises_the_floor_of_everything_at_its_own_sequence() -> None:
    floors = Floors()
    floors.apply(purged(3, url("/a")))
    floors.apply(record(4, SiteChanged("s", {}, purges=True)))
    assert floors.of("s").required(("/x",), ()) == Required(4, 0)
    assert hard(floors.of("s"), "/a") == 4
    assert floors.of("s").sweepable == 4
    assert hard(floors.of("other"), "/x") == 0
    floors.apply(record(5, SiteRemoved("s")))
    floors.apply(record(6, SiteChanged("s", {}, purges=True)))
    assert hard(floors.of("s"), "/x") == 5, "a site that is gone is not made again"


def test_a_sweep_of_another_epoch_or_of_an_unknown_site_changes_nothing() -> None:
    floors = Floors()
    floors.apply(purged(3, EVERYTHING))
    floors.swept("s", Position("e0", 9))
    floors.swept("unknown", Position(EPOCH, 9))
    assert hard(floors.of("s"), "/a") == 3
    floors.apply(purged(1, url("/b"), epoch="e2"))
    floors.swept("s", Position(EPOCH, 9))
    assert hard(floors.of("s"), "/a") == 3


def test_objects_given_out_follow_a_load() -> None:
    source = Floors()
    source.apply(purged(7, url("/a"), prefix("/p"), tag("t")))
    source.apply(purged(8, EVERYTHING, site_id="other", soft=True))
    source.apply(record(9, SiteRemoved("gone")))
    section = json.loads(json.dumps(source.dump()))

    floors = Floors()
    held = {site_id: floors.of(site_id) for site_id in ("s", "gone", "third")}
    floors.apply(purged(2, url("/old")))
    floors.apply(purged(3, EVERYTHING, site_id="third"))
    floors.load(section)
    assert floors.of("s") is held["s"]
    assert hard(held["s"], "/a") == hard(held["s"], "/p/x") == hard(held["s"], "/x", "t") == 7
    assert hard(held["s"], "/old") == 0
    assert held["third"].is_empty
    assert hard(held["gone"], "/x") == 9
    assert floors.of("other").required(("/x",), ()) == Required(0, 8)
    assert floors.dump() == section
    floors.load(None)
    assert held["s"].is_empty
    assert floors.dump() == Floors().dump()


def calls_of(action: Any) -> int:
    """Calls of Python and C functions while `action` runs."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    gc.disable()  # a collection calls whoever watches collections
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


@pytest.mark.parametrize("scope", [url("/0?q"), prefix("/"), tag("t0"), EVERYTHING])
@pytest.mark.parametrize("soft", [False, True])
def test_raising_a_floor_does_the_same_work_whatever_was_ever_asked_for(scope: Scope, soft: bool) -> None:
    """I2: the floors learn of responses only through what asks for them, and nothing of that stays behind."""

    def work_after(asked_for: int) -> tuple[int, Any]:
        floors = Floors()
        floors.apply(purged(1, url("/a"), prefix("/b"), tag("c")))
        of_site = floors.of("s")
        for number in range(asked_for):
            of_site.required((f"/{number}",), (f"t{number}",))
        return calls_of(lambda: floors.apply(purged(2, scope, soft=soft))), floors.dump()

    assert work_after(10) == work_after(20_000)


def test_the_work_of_a_purge_is_bounded_by_the_floors_kept() -> None:
    def work_at(purges: int) -> int:
        floors = Floors(FloorLimits(max_floors_per_site=64))
        for sequence in range(1, purges):
            floors.apply(purged(sequence, url(f"/{sequence}")))
        return max(
            calls_of(lambda sequence=sequence: floors.apply(purged(sequence, url(f"/{sequence}"))))
            for sequence in range(purges, purges + 64)
        )

    assert work_at(5000) <= work_at(200)
