"""Where all nodes stand, against a plain dictionary; receipts made from that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cdn.fleet.acknowledgements import Acknowledgements, tally
from cdn.fleet.node import NodeFacts, NodeView, outcome_of
from cdn.fleet.position import Position
from cdn.fleet.receipt import NodeOutcome, ReceiptTally

_NODES = st.sampled_from(["a", "b", "c", "d"])
_POSITIONS = st.builds(Position, st.sampled_from(["e", "f"]), st.integers(0, 5))
_STEPS = st.lists(st.tuples(_NODES, st.none() | _POSITIONS | st.just("forget")), max_size=30)


def _played(steps: list[tuple[str, Position | str | None]]) -> tuple[Acknowledgements, dict[str, Position | None]]:
    kept, plain = Acknowledgements(), dict[str, Position | None]()
    for node_id, step in steps:
        if isinstance(step, str):
            kept.forget(node_id)
            plain.pop(node_id, None)
        else:
            kept.note(node_id, step)
            plain[node_id] = step
    return kept, plain


@given(_STEPS, _POSITIONS)
def test_what_is_short_of_a_position(steps: list[tuple[str, Position | str | None]], asked: Position) -> None:
    kept, plain = _played(steps)
    short = sorted(node_id for node_id, at in plain.items() if at is None or not at.covers(asked))
    assert kept.short_of(asked) == tuple(short)
    assert len(kept) == len(plain)
    assert kept.covers(asked) is (not short)


@given(_STEPS)
def test_the_lowest_is_what_every_node_has_applied(steps: list[tuple[str, Position | str | None]]) -> None:
    kept, plain = _played(steps)
    of_epoch = [at.sequence for at in plain.values() if at is not None and at.epoch == "e"]
    everyone = len(of_epoch) == len(plain) and of_epoch
    assert kept.lowest("e") == (min(of_epoch) if everyone else None)


@given(
    st.dictionaries(_NODES, st.tuples(st.none() | _POSITIONS, st.booleans(), st.sampled_from([None, 0.0, 95.0]))),
    _POSITIONS,
    st.none() | _POSITIONS,
)
def test_a_tally_says_what_the_receipt_says(
    nodes: dict[str, tuple[Position | None, bool, float | None]], asked: Position, validates_from: Position | None
) -> None:
    now = 100.0
    views = {
        node_id: NodeView(node_id, NodeFacts("1"), position, is_connected, answered_at, 10.0)
        for node_id, (position, is_connected, answered_at) in nodes.items()
    }
    kept = Acknowledgements()
    for view in views.values():
        kept.note(view.node_id, view.position)
    lines = {each: outcome_of(view, asked, now, validates_from=validates_from) for each, view in views.items()}

    def named(outcome: NodeOutcome) -> tuple[str, ...]:
        return tuple(sorted(node_id for node_id, found in lines.items() if found is outcome))

    found = tally(kept, views.__getitem__, asked, now, validates_from=validates_from)
    assert found == ReceiptTally(
        asked,
        len(named(NodeOutcome.APPLIED)),
        named(NodeOutcome.PENDING),
        named(NodeOutcome.FENCED),
        named(NodeOutcome.EXCUSED),
    )
    assert found.is_complete is (NodeOutcome.PENDING not in lines.values())
    assert found.unapplied == tuple(sorted(each for each, line in lines.items() if line is not NodeOutcome.APPLIED))
