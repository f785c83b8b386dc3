"""The checker of faults in fleets can fail: what it lets pass, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.acknowledged import FENCED_GRACE_S, Broken, Shown, SiteAcknowledged


def receipt(*, complete: bool = True, **outcomes: str) -> dict[str, Any]:
    nodes = [{"node": node, "outcome": outcome} for node, outcome in outcomes.items()]
    return {"position": {"sequence": 7}, "complete": complete, "nodes": nodes}


def site(*, is_pull: bool = False, attempts: int = 5) -> SiteAcknowledged:
    known = SiteAcknowledged("one", is_pull)
    for _ in range(attempts):
        known.attempt()
    return known


def judge(known: SiteAcknowledged, number: int, *, now: float = 100.0, detached: bool = False) -> None:
    known.judge(known.due("a", now), Shown("a", number, detached, ""))


def test_a_node_that_applied_never_shows_less_whatever_it_says() -> None:
    known = site()
    known.acknowledge(3, receipt(complete=False, a="applied", b="pending"), 1.0)
    judge(known, 3)
    judge(known, 4)
    for detached in (False, True):
        with pytest.raises(Broken, match="after a receipt for 3"):
            judge(known, 2, detached=detached)
    known.judge(known.due("b", 100.0), Shown("b", 1, is_detached=False, told=""))


def test_an_excused_node_may_be_behind_while_it_says_that_it_has_no_lease() -> None:
    known = site()
    known.acknowledge(3, receipt(a="excused"), 1.0)
    judge(known, 2, detached=True)
    with pytest.raises(Broken, match="has its lease"):
        judge(known, 2)
    known.judge(known.due("a", 2.0), Shown("a", 2, is_detached=False, told=""), may_lapse_unsaid=True)


def test_a_fenced_node_has_the_second_between_two_looks_at_the_pointer() -> None:
    known = site()
    known.acknowledge(3, receipt(a="fenced"), 1.0)
    judge(known, 2, now=1.0 + FENCED_GRACE_S / 2, detached=True)
    with pytest.raises(Broken):
        judge(known, 2, now=1.0 + FENCED_GRACE_S, detached=True)
    pulled = site(is_pull=True)
    pulled.acknowledge(3, receipt(a="fenced"), 1.0)
    with pytest.raises(Broken):
        judge(pulled, 2, now=1.0, detached=True)


def test_what_got_no_answer_may_come_about_and_what_is_fetched_never_goes_back() -> None:
    for is_pull in (False, True):
        known = site(is_pull=is_pull)
        known.lose(2)
        known.acknowledge(3, receipt(a="applied"), 1.0)
        if is_pull:
            with pytest.raises(Broken):
                judge(known, 2)
        else:
            judge(known, 2)
        with pytest.raises(Broken):
            judge(known, 1)


def test_nothing_comes_from_nowhere_and_no_complete_receipt_leaves_a_node_open() -> None:
    known = site(attempts=2)
    with pytest.raises(Broken, match="nobody made it"):
        judge(known, 3)
    with pytest.raises(Broken, match="complete and a is pending"):
        known.acknowledge(2, receipt(a="pending"), 1.0)


def test_the_end_allows_no_node_without_a_lease() -> None:
    known = site()
    known.acknowledge(3, receipt(a="applied"), 1.0)
    known.judge_settled(Shown("a", 3, is_detached=False, told=""))
    for shown in (Shown("a", 3, is_detached=True, told=""), Shown("b", 2, is_detached=False, told="")):
        with pytest.raises(Broken):
            known.judge_settled(shown)
