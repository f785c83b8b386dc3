"""How far sweeps have let floors go."""

from __future__ import annotations

from cdn.edge.swept_floors import SweptFloors
from cdn.fleet.position import Position
from cdn.purge.floors import Floors


def test_what_a_sweep_let_go_is_remembered_by_site() -> None:
    swept = SweptFloors(Floors())
    assert swept.through("s1") == 0
    swept.began_at(Position("e1", 7))
    assert swept.through("s1") == 7
    swept.swept("s1", Position("e1", 9))
    swept.swept("s2", Position("e1", 5))
    assert (swept.through("s1"), swept.through("s2"), swept.through("s3")) == (9, 7, 7)
    swept.drop_site("s1")
    swept.drop_site("never heard of")
    assert swept.through("s1") == 7


def test_a_sweep_that_ends_in_another_epoch_asks_nothing_of_it() -> None:
    floors = Floors()
    swept = SweptFloors(floors)
    swept.began_at(Position("e1", 900))
    floors.begin_epoch("e2", 3)
    swept.swept("s1", Position("e1", 1000))
    assert swept.through("s1") == 0
    swept.swept("s1", Position("e2", 5))
    assert swept.through("s1") == 5
