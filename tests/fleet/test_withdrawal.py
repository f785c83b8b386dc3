"""How lag takes nodes out of DNS: tables, the bounds for any fleet, and the ramp against plain arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.fleet.condition import NodeState
from cdn.fleet.withdrawal import MAX_WITHDRAWN_SHARE, RAMP_FLOOR, RAMP_S, Member, Share, ShareReason, dns_shares

STATES = {
    "s": NodeState.SERVING,
    "l": NodeState.LAGGING,
    "d": NodeState.DETACHED,
    "j": NodeState.JOINING,
    "x": NodeState.DRAINING,
    "g": NodeState.GONE,
}


def region(text: str) -> tuple[list[Member], set[str]]:
    """Nodes a, b, c, ... from words like `s`, `l5` (lagging, five seconds), `d9/2` (weight 2), `!s` (down)."""
    members, up = [], set()
    for node_id, word in zip("abcdefghij", text.split(), strict=False):
        state, _, weight = word.removeprefix("!").partition("/")
        lag_s = float(state[1:] or 0)
        members.append(Member(node_id, "eu", float(weight or 1), STATES[state[0]], lag_s))
        if not word.startswith("!"):
            up.add(node_id)
    return members, up


def shown(shares: dict[str, Share]) -> str:
    """The shares in hundredths, by node id."""
    return " ".join(str(round(100 * shares[node_id].fraction)) for node_id in sorted(shares))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("s s s", "100 100 100"),
        ("s s l5", "100 100 0"),
        ("s s d5", "100 100 0"),
        ("s l5 l9", "100 100 0"),  # the most stale goes, and no more than a third
        ("s l9 d9", "100 100 0"),  # equally stale: the one that is cut off
        ("s l9 l9", "100 0 100"),  # else by name, so that all observers choose the same
        ("l5 l7 l9", "100 100 0"),  # all lag: still a third
        ("d5 d7 d9 d8 d1 d2", "100 100 0 0 100 100"),
        ("s l5", "100 33"),  # a third of two nodes is two thirds of one
        ("l5", "67"),
        ("s s l5/4", "100 100 50"),
        ("s/4 l5 l6", "100 0 0"),
        ("s s/0 l5/0", "100 0 0"),  # without weight there is nothing to take out, or to be spared
        ("s s l5 s/0 d9/0", "100 100 0 0 0"),
        ("s/0", "0"),
        ("s s s l5 j x g", "100 100 100 0 0 0 0"),
        ("j j g", "0 0 0"),
        # the third is of what is up
        ("s s s l5 !s !s", "100 100 100 0 0 0"),
        ("s l5 !s", "100 33 0"),
        # below half healthy, lag is ignored
        ("l5 !s", "67 0"),
        ("l5 !s !s", "100 0 0"),
        ("s l5 !s !l9 !s", "100 100 0 0 0"),
        ("s l5 x x x", "100 100 0 0 0"),  # who drains is missing too
        ("s s l5 j j j j", "100 100 0 0 0 0 0"),  # who joins was never there
    ],
)
def test_who_stands_in_dns(nodes: str, expected: str) -> None:
    members, up = region(nodes)
    assert shown(dns_shares(members, up, None, 100.0)) == expected


def test_every_region_is_judged_by_itself() -> None:
    members = [
        Member("a", "eu", 1.0, NodeState.LAGGING, 9.0),
        Member("b", "eu", 1.0, NodeState.SERVING),
        Member("c", "us", 1.0, NodeState.SERVING),
        Member("d", "us", 1.0, NodeState.SERVING),
    ]
    assert shown(dns_shares(members, {"a", "b", "c", "d"}, None, 0.0)) == "33 100 100 100"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # nothing was answered before: nobody rises
        (["0 s s s"], "100 100 100"),
        # back from lag
        (["0 s s l5", "10 s s s"], "100 100 10"),
        (["0 s s l5", "10 s s s", "40 s s s"], "100 100 60"),
        (["0 s s l5", "10 s s s", "20 s s s", "30 s s s", "40 s s s"], "100 100 60"),
        (["0 s s l5", "10 s s s", "64 s s s"], "100 100 100"),
        # from what it had kept
        (["0 s l5", "10 s s"], "100 33"),
        (["0 s l5", "10 s s", "25 s s"], "100 58"),
        # back from being down, drained or new
        (["0 s s !s", "10 s s s"], "100 100 10"),
        (["0 s s x", "10 s s s", "25 s s s"], "100 100 35"),
        (["0 s s", "10 s s s", "25 s s s"], "100 100 35"),
        (["0 !s", "10 s"], "10"),
        # what is missing after lag counts into the third, and the more stale go first
        (["0 s s l5", "10 l5 s s"], "0 100 100"),
        (["0 s s l5", "10 s s s", "40 l9 s s"], "0 100 100"),
        (["0 s s s l5", "10 s s s s", "40 l9 s s s"], "0 100 100 67"),
        # what is missing for other reasons does not
        (["0 s s !s", "10 l5 s s"], "0 100 10"),
        # it lags again while it rises
        (["0 s s s !s", "10 s s s s", "22 s s s l5"], "100 100 100 0"),
        (["0 s !s", "10 s s", "22 s l5"], "100 30"),
        (["0 s !s", "10 s l5", "70 s l5"], "100 33"),
        # below half healthy nobody has to rise
        (["0 s s l5", "10 s s s", "20 !s !s s"], "0 0 100"),
    ],
)
def test_nodes_that_return_rise(steps: list[str], expected: str) -> None:
    shares: dict[str, Share] | None = None
    for step in steps:
        now, _, nodes = step.partition(" ")
        members, up = region(nodes)
        shares = dns_shares(members, up, shares, float(now))
    assert shares is not None
    assert shown(shares) == expected


def test_every_share_says_why() -> None:
    members, up = region("s s s l5 l1 !s j")
    shares = dns_shares(members, up, {"b": Share(0.0, ShareReason.DOWN)} | dict.fromkeys("acde", _FULL), 50.0)
    assert {node_id: share.reason.value for node_id, share in shares.items()} == {
        "a": "full",
        "b": "ramping",
        "c": "full",
        "d": "withdrawn",
        "e": "withdrawn",  # two thirds of it
        "f": "down",
        "g": "out",
    }
    members, up = region("s l5 !s !s !s")
    assert dns_shares(members, up, None, 50.0)["b"].reason is ShareReason.LAG_IGNORED
    members, up = region("s l5 l6/2 s s")
    assert dns_shares(members, up, None, 50.0)["b"].reason is ShareReason.LAG_IGNORED


_FULL = Share(1.0, ShareReason.FULL)

MEMBERS = st.lists(
    st.tuples(st.sampled_from("ssslld" + "jxg"), st.integers(1, 4), st.integers(0, 9), st.booleans()), max_size=9
)


def _fleet(drawn: list[tuple[str, int, int, bool]]) -> tuple[list[Member], set[str]]:
    members = [
        Member(node_id, "eu", weight, STATES[state], 0 if state == "s" else lag_s)
        for node_id, (state, weight, lag_s, _) in zip("abcdefghi", drawn, strict=False)
    ]
    return members, {member.node_id for member, (*_, is_up) in zip(members, drawn, strict=True) if is_up}


@given(st.lists(st.tuples(st.integers(0, 70), MEMBERS), min_size=1, max_size=4))
def test_lag_never_takes_more_than_a_third_whatever_happened_before(
    steps: list[tuple[int, list[tuple[str, int, int, bool]]]],
) -> None:
    now, shares = 0.0, None
    for wait_s, drawn in steps:
        now += wait_s
        members, up = _fleet(drawn)
        before, shares = shares, dns_shares(members, up, shares, now)
        in_service = [each for each in members if each.state.value in {"serving", "lagging", "detached"}]
        healthy = [each for each in in_service if each.node_id in up]
        whole = sum(each.weight for each in in_service) + sum(m.weight for m in members if m.state.value == "draining")
        healthy_weight = sum(each.weight for each in healthy)
        missing = {each.node_id: each.weight * (1 - shares[each.node_id].fraction) for each in healthy}
        by_lag = sum(missing[each.node_id] for each in healthy if shares[each.node_id].lagged)
        assert by_lag <= healthy_weight * MAX_WITHDRAWN_SHARE + 1e-9
        assert all(0 <= share.fraction <= 1 for share in shares.values())
        assert {node_id for node_id, share in shares.items() if share.fraction == 0} >= {
            each.node_id for each in members if each not in healthy
        }
        if healthy_weight * 2 < whole:
            assert not any(missing.values())
        if before is None:  # then nobody rises, and the third is used up before a stale node stays
            stale = sorted(healthy, key=lambda each: (-each.lag_s, each.state.value != "detached", each.node_id))
            stale = [each for each in stale if each.state.value != "serving"]
            fractions = [shares[each.node_id].fraction for each in stale]
            assert fractions == sorted(fractions), "the more stale, the less is left"
            could = min(healthy_weight / 3, sum(each.weight for each in stale))
            if healthy_weight * 2 >= whole:
                assert by_lag == pytest.approx(could)


@given(st.lists(st.floats(0, 20), max_size=12))
def test_the_ramp_does_not_depend_on_how_often_one_looks(waits: list[float]) -> None:
    members, up = region("s s s")
    shares = dns_shares(*region("s s l5"), None, 0.0)
    now = 100.0
    shares = dns_shares(members, up, shares, now)
    for wait_s in waits:
        now += wait_s
        shares = dns_shares(members, up, shares, now)
        assert shares["c"].fraction == pytest.approx(min(1.0, RAMP_FLOOR + (now - 100.0) / RAMP_S))


@given(MEMBERS, st.permutations(range(9)))
def test_all_observers_come_to_the_same(drawn: list[tuple[str, int, int, bool]], order: list[int]) -> None:
    members, up = _fleet(drawn)
    shuffled = [members[n] for n in order if n < len(members)]
    assert dns_shares(shuffled, up, None, 0.0) == dns_shares(members, up, None, 0.0)


def test_a_node_that_is_given_weight_rises() -> None:
    node = Member("a", "eu", 0.0, NodeState.SERVING)
    others = [Member(each, "eu", 1.0, NodeState.SERVING) for each in "bcd"]
    shares = dns_shares([node, *others], set("abcd"), None, 0.0)
    assert shares["a"] == Share(0.0, ShareReason.UNWEIGHTED)
    weighted = Member("a", "eu", 1.0, NodeState.SERVING)
    shares = dns_shares([weighted, *others], set("abcd"), shares, 10.0)
    assert (shares["a"].fraction, shares["a"].reason) == (RAMP_FLOOR, ShareReason.RAMPING)
    assert shares["b"].fraction == 1.0
