"""What a node's state means for a receipt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdn.errors import InvalidInput
from cdn.fleet.lease import LEASE_MARGIN_S
from cdn.fleet.node import NodeFacts, NodeView, check_node_id, is_surely_detached, outcome_of
from cdn.fleet.position import Position
from cdn.fleet.receipt import NodeOutcome, Receipt, ReceiptTally

ASKED = Position("e", 5)
OVER_AT = 100.0 + 10.0 + LEASE_MARGIN_S


def _node(position: Position | None, *, is_connected: bool, answered_at: float | None) -> NodeView:
    return NodeView("edge-1", NodeFacts("0.1"), position, is_connected, answered_at, 10.0)


@pytest.mark.parametrize(
    ("position", "is_connected", "answered_at", "now", "expected"),
    [
        (Position("e", 5), False, None, 0.0, NodeOutcome.APPLIED),
        (Position("e", 6), True, 100.0, 101.0, NodeOutcome.APPLIED),
        (Position("e", 4), True, 100.0, 101.0, NodeOutcome.PENDING),
        (Position("other", 9), True, 100.0, 101.0, NodeOutcome.PENDING),
        (None, True, None, 101.0, NodeOutcome.PENDING),
        (Position("e", 4), True, 100.0, OVER_AT + 1, NodeOutcome.PENDING),
        (Position("e", 4), False, 100.0, OVER_AT - 0.01, NodeOutcome.PENDING),
        (Position("e", 4), False, 100.0, OVER_AT, NodeOutcome.EXCUSED),
        (None, False, None, 0.0, NodeOutcome.EXCUSED),
    ],
)
def test_the_outcome_follows_from_position_connection_and_lease(
    position: Position | None, is_connected: bool, answered_at: float | None, now: float, expected: NodeOutcome
) -> None:
    node = _node(position, is_connected=is_connected, answered_at=answered_at)
    assert outcome_of(node, ASKED, now) is expected
    strict = outcome_of(node, ASKED, now, validates_from=Position("e", 4))
    knows = position == Position("e", 4)
    assert strict is (NodeOutcome.FENCED if expected is NodeOutcome.EXCUSED and knows else expected)
    assert is_surely_detached(node, now) is (not is_connected and (answered_at is None or now >= OVER_AT))


@pytest.mark.parametrize(
    ("position", "validates_from", "expected"),
    [
        (Position("e", 4), Position("e", 4), NodeOutcome.FENCED),
        (Position("e", 4), Position("e", 2), NodeOutcome.FENCED),
        (Position("e", 3), Position("e", 4), NodeOutcome.EXCUSED),
        (Position("other", 9), Position("e", 4), NodeOutcome.EXCUSED),
        (None, Position("e", 4), NodeOutcome.EXCUSED),
        (Position("e", 4), None, NodeOutcome.EXCUSED),
    ],
)
def test_a_node_validates_only_if_it_heard_that_the_site_wants_it(
    position: Position | None, validates_from: Position | None, expected: NodeOutcome
) -> None:
    node = _node(position, is_connected=False, answered_at=None)
    assert outcome_of(node, ASKED, 0.0, validates_from=validates_from) is expected


def test_only_pending_nodes_keep_a_receipt_open() -> None:
    assert Receipt(ReceiptTally(ASKED, 0, (), (), ()), 0.0, ()).is_complete
    assert Receipt(ReceiptTally(ASKED, 1, (), ("a",), ("b",)), 0.0, ()).is_complete
    open_one = Receipt(ReceiptTally(ASKED, 1, ("b",), (), ("a",)), 0.0, ())
    assert not open_one.is_complete
    assert (open_one.position, open_one.tally.unapplied) == (ASKED, ("a", "b"))


def test_positions_of_different_epochs_do_not_compare() -> None:
    assert Position("e", 5).covers(Position("e", 5))
    assert not Position("e", 4).covers(Position("e", 5))
    assert not Position("f", 9).covers(Position("e", 5))
    assert str(Position("e", 5)) == "e:5"


@pytest.mark.parametrize("text", ["a", "edge-1", "edge-1.eu.example", "0", "a" * 63])
def test_names_a_node_may_have(text: str) -> None:
    assert check_node_id(text) == text


@pytest.mark.parametrize("text", ["", "A", "a b", "-a", "a-", ".a", "a" * 64, "ä", "a\n", "a/b"])
def test_names_it_may_not(text: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a node"):
        check_node_id(text)


def test_a_node_that_stands_elsewhere_is_the_same_in_all_else() -> None:
    facts = NodeFacts("0.1", "eu", ("127.0.0.1:80",), 7, ("192.0.2.1",))
    view = NodeView("edge-1", facts, Position("e", 1), True, 3.0, 10.0, 2, "stopped")
    assert view.standing_at(ASKED) == replace(view, position=ASKED)
