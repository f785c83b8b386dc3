"""Snapshots: what they carry, to whom, and what is refused."""

from __future__ import annotations

import zlib

import msgspec
import pytest

from cdn.fleet.position import Position
from cdn.journal import snapshot as snapshots
from cdn.journal.record import EDGE_AUDIENCES, EVERY_AUDIENCE, Audience
from cdn.journal.snapshot import SNAPSHOT_VERSION, UnreadableSnapshot, decode, encode, load_into, take
from tests.journal.ledger import Ledger


def _ledger(name: str, *entries: tuple[int, str], audience: Audience = Audience.ALL) -> Ledger:
    ledger = Ledger(name, audience)
    ledger.entries = list(entries)
    return ledger


def test_folds_come_back_as_they_were() -> None:
    folds = [_ledger("a", (1, "x")), _ledger("b", (1, "y"), (2, "z"))]
    raw = encode(take(folds, Position("e", 2), floor_horizon=1, audiences=EVERY_AUDIENCE))
    snapshot = decode(raw)
    assert snapshot.position == Position("e", 2)
    loaded = [_ledger("a", (9, "old")), _ledger("b"), _ledger("new", (9, "old"))]
    load_into(snapshot, loaded)
    assert [fold.entries for fold in loaded] == [[(1, "x")], [(1, "y"), (2, "z")], []]
    assert [fold.horizon for fold in loaded] == [1, 1, 1]


def test_an_edge_receives_no_section_of_controls() -> None:
    folds = [_ledger("a", (1, "x")), _ledger("tokens", (1, "hash"), audience=Audience.CONTROL)]
    raw = encode(take(folds, Position("e", 1), floor_horizon=0, audiences=EDGE_AUDIENCES))
    assert b"hash" not in zlib.decompress(raw)
    assert set(decode(raw).sections) == {"a"}
    assert set(take(folds, Position("e", 1), floor_horizon=0, audiences=EVERY_AUDIENCE).sections) == {"a", "tokens"}


def test_damaged_newer_and_oversized_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    good = encode(take([_ledger("a", (1, "x" * 1000))], Position("e", 1), floor_horizon=0, audiences=EDGE_AUDIENCES))
    newer = zlib.compress(msgspec.json.encode({"version": SNAPSHOT_VERSION + 1, "other": 1}))
    for raw, said in (
        (good[:-3], "cut off"),
        (b"", "cut off"),
        (b"rubbish", "damaged"),
        (zlib.compress(b'{"version": 1}'), "damaged"),
        (newer, "upgrade"),
    ):
        with pytest.raises(UnreadableSnapshot, match=said):
            decode(raw)
    monkeypatch.setattr(snapshots, "MAX_SNAPSHOT_BYTES", 500)
    with pytest.raises(UnreadableSnapshot, match="larger than 500"):
        decode(good)


@pytest.mark.parametrize("section", [{}, {"epoch": ""}, [], "text", {"epoch": "", "entries": [1]}])
def test_a_section_of_another_form_is_refused_by_name(section: object) -> None:
    snapshot = take([_ledger("a", (1, "x"))], Position("e", 1), floor_horizon=0, audiences=EDGE_AUDIENCES)
    snapshot.sections["a"] = section or {"other": 1}
    with pytest.raises(UnreadableSnapshot, match="section a is not understood"):
        load_into(snapshot, [_ledger("a")])
