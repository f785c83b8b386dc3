"""What the records of zones, keys, challenges and geography add up to; snapshots and nodes' copies of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import (
    EVERY_AUDIENCE,
    ChallengeRemoved,
    ChallengeSet,
    Change,
    GeographySet,
    Record,
    SealedZoneKey,
    SiteCreated,
    ZoneKeysSet,
    ZoneRecords,
    ZoneRemoved,
    ZoneSet,
    audience_of,
    version_of,
)
from cdn.journal.replica import Replica
from cdn.journal.snapshot import Snapshot, UnreadableSnapshot, decode, encode, load_into, take
from cdn.journal.zone_fold import Challenge, ImportedZone, ZoneFold

RRSETS = (ZoneRecords("a.example", 1, 60, ("wAACAQ==",)),)
KEYS = (SealedZoneKey("k", "active", 1.0, "eA=="),)


def record(sequence: int, change: Change) -> Record:
    at = 100.0 + sequence
    return Record(version_of(change), "e", sequence, "subject", at, "ann", audience_of(change), change)


def fold_of(*changes: Change) -> ZoneFold:
    fold = ZoneFold()
    for sequence, change in enumerate(changes, start=1):
        fold.apply(record(sequence, change))
    return fold


def test_a_zone_takes_the_place_of_the_one_before() -> None:
    fold = fold_of(ZoneSet("b.example", ()), ZoneSet("a.example", ()), ZoneSet("a.example", RRSETS))
    assert fold.zones() == (ImportedZone("a.example", RRSETS, 3, 103.0), ImportedZone("b.example", (), 1, 101.0))
    assert fold.zone("c.example") is None


def test_keys_go_with_their_zone_and_with_an_empty_list() -> None:
    fold = fold_of(
        ZoneSet("a.example", ()),
        ZoneKeysSet("a.example", KEYS),
        ZoneKeysSet("cdn.localhost", KEYS),
        ZoneKeysSet("cdn.localhost", ()),
        ZoneKeysSet("b.example", KEYS),
        ZoneRemoved("a.example"),
    )
    assert fold.zones_with_keys() == ("b.example",)
    assert (fold.keys("a.example"), fold.keys("b.example")) == ((), KEYS)
    assert fold.zones() == ()


def test_challenges_stand_beside_each_other_and_what_is_over_is_forgotten_with_the_next() -> None:
    fold = fold_of(ChallengeSet("n", "a", 103.0), ChallengeSet("n", "b", 500.0), ChallengeSet("m", "a", 500.0))
    assert fold.challenges() == (Challenge("m", "a", 500.0), Challenge("n", "b", 500.0))
    fold.apply(record(4, ChallengeRemoved("n", "b")))
    fold.apply(record(5, ChallengeRemoved("n", "never there")))
    assert fold.challenges() == (Challenge("m", "a", 500.0),)


def test_changes_say_that_something_is_another() -> None:
    fold = fold_of(SiteCreated("s", "blog", {}))
    assert fold.changes == 0
    changes: tuple[Change, ...] = (ZoneSet("a", ()), ZoneRemoved("a"), GeographySet("d" * 64, 1, ""))
    for sequence, change in enumerate(changes, start=2):
        before = fold.changes
        fold.apply(record(sequence, change))
        assert fold.changes > before
    before = fold.changes
    fold.load(None)
    assert fold.changes > before


_NAMES = st.sampled_from(["a", "b", "c"])
_CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(ZoneSet, _NAMES, st.sampled_from([(), RRSETS])),
    st.builds(ZoneRemoved, _NAMES),
    st.builds(ZoneKeysSet, _NAMES, st.sampled_from([(), KEYS])),
    st.builds(ChallengeSet, _NAMES, _NAMES, st.sampled_from([0.0, 104.0, 500.0])),
    st.builds(ChallengeRemoved, _NAMES, _NAMES),
    st.builds(GeographySet, st.sampled_from(["", "d" * 64]), st.just(1), st.just("note")),
    st.builds(SiteCreated, _NAMES, _NAMES, st.just({})),
)


@given(st.lists(_CHANGES, max_size=20), st.integers(0, 20))
def test_a_snapshot_in_between_changes_nothing_of_what_comes_of_the_records(
    changes: Sequence[Change], cut: int
) -> None:
    whole, resumed = fold_of(*changes), fold_of(*changes[:cut])
    snapshot = take((resumed,), Position("e", cut), floor_horizon=0, audiences=EVERY_AUDIENCE)
    resumed = fold_of(ZoneSet("left over", ()))
    load_into(decode(encode(snapshot)), (resumed,))
    for sequence, change in enumerate(changes[cut:], start=cut + 1):
        resumed.apply(record(sequence, change))
    assert resumed.dump() == whole.dump()
    assert (resumed.zones(), resumed.challenges(), resumed.geography) == (
        whole.zones(),
        whole.challenges(),
        whole.geography,
    )


@pytest.mark.parametrize(
    "section", [{}, [], {"zones": [], "keys": {}, "challenges": [], "geography": None, "more": 1}, {"zones": 1}]
)
def test_a_section_that_is_not_understood_is_refused_and_changes_nothing(section: object) -> None:
    fold = fold_of(ZoneSet("a.example", RRSETS))
    with pytest.raises(UnreadableSnapshot, match="zones"):
        load_into(Snapshot(2, Position("e", 1), 0, {"zones": section}), (fold,))
    assert [zone.name for zone in fold.zones()] == ["a.example"]


def test_an_empty_state_needs_no_reader_who_knows_zones() -> None:
    assert fold_of().dump() is None
    assert fold_of(ZoneSet("a", ()), ZoneRemoved("a")).dump() is None


async def test_a_name_servers_copy_from_before_there_were_zones_is_gone_on_from(tmp_path: Path) -> None:
    """It would have stopped before the first zone, so there is none behind its snapshot."""
    catalog = CatalogFold("cdn.localhost")
    catalog.apply(record(1, SiteCreated("s", "blog", {})))
    earlier = take((catalog,), Position("e", 1), floor_horizon=0, audiences=EVERY_AUDIENCE)
    assert (earlier.version, "zones" in earlier.sections) == (1, False)
    replica = await Replica.open(tmp_path / "copy.db")
    await replica.load((CatalogFold("cdn.localhost"),))
    await replica.replace(earlier)
    await replica.aclose()
    replica = await Replica.open(tmp_path / "copy.db")
    catalog, zones = CatalogFold("cdn.localhost"), fold_of(ZoneSet("left over", ()))
    assert await replica.load((catalog, zones)) == Position("e", 1)
    assert [site.name for site in catalog.catalog.sites()] == ["blog"]
    assert zones.zones() == ()
    await replica.replace(msgspec.structs.replace(earlier, version=2))
    await replica.aclose()
    replica = await Replica.open(tmp_path / "copy.db")
    assert await replica.load((CatalogFold("cdn.localhost"), ZoneFold())) is None, "zones may be behind this one"
    await replica.aclose()
