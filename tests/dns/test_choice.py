"""Which nodes an answer names: eligible ones only, in proportion to their weight, always somebody when there is one."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.dns import choice as choice_module
from cdn.dns import ranking as ranking_module
from cdn.dns.choice import SLOTS, Candidate, Choice, Family, slot_of
from cdn.dns.client import client_at
from cdn.dns.fleet_nodes import FleetNode
from cdn.fleet.condition import NodeState
from tests.dns.fleets import asked, node, site, texts

SOURCES = [str(ip_address(number << 8)) for number in range(1 << 16, (1 << 16) + 4 * SLOTS)]
"""One of each network, many in each slot."""

V4, V6 = Family.IPV4, Family.IPV6


def slot_at(source: str) -> int:
    return slot_of(client_at(source))


def candidate(node: FleetNode, fraction: float = 1.0, *, down: bool = False) -> Candidate:
    return Candidate(node, fraction, () if down else node.packed)


def named(choice: Choice, *regions: str) -> Counter[str]:
    """How often each address is first or among others, over all sources, each answer counting as one."""
    counts: Counter[str] = Counter()
    for source in SOURCES:
        found = asked(choice, site(*regions), V4, source)
        assert found
        for each in found:
            counts[str(ip_address(each))] += 1 / len(found)  # type: ignore[assignment]
    return counts


def test_small_fleets_are_named_whole_and_everyone_in_a_network_hears_the_same() -> None:
    choice = Choice([candidate(node(1)), candidate(node(2)), candidate(node(3))], 4)
    for source in SOURCES[:200]:
        assert texts(asked(choice, site(), V4, source)) == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
    one, other = "203.0.113.1", "203.0.113.254"
    assert asked(choice, site(), V4, one) == asked(choice, site(), V4, other)
    orders = {asked(choice, site(), V4, source) for source in SOURCES}
    assert len(orders) == 6, "each is first for some"


def test_of_many_a_few_are_named_and_all_get_their_part() -> None:
    choice = Choice([candidate(node(number)) for number in range(1, 31)], 4)
    assert all(len(asked(choice, site(), V4, source) or ()) == 4 for source in SOURCES[:200])
    counts = named(choice)
    assert len(counts) == 30
    for count in counts.values():
        assert count == pytest.approx(len(SOURCES) / 30, rel=0.45)


def test_visitors_are_spread_by_weight() -> None:
    """A node of half the weight of thirty others gets half of what each of them gets, and one of a tenth a tenth."""
    light, lighter = node(40, weight=50), node(41, weight=10)
    choice = Choice([candidate(node(number)) for number in range(1, 31)] + [candidate(light), candidate(lighter)], 4)
    counts = named(choice)
    usual = sum(counts[f"192.0.2.{number}"] for number in range(1, 31)) / 30
    assert counts["192.0.2.40"] == pytest.approx(usual / 2, rel=0.4)
    assert 0 < counts["192.0.2.41"] < usual / 4


def many(count: int, weight: float = 100.0) -> list[Candidate]:
    """At 10.X.Y.Z."""
    addresses = [str(ip_address((10 << 24) + number)) for number in range(count)]
    return [candidate(node(number, weight=weight, addresses=(each,))) for number, each in enumerate(addresses)]


def test_of_a_large_fleet_some_are_drawn_and_all_get_their_part() -> None:
    light = candidate(node(9000, weight=25.0, addresses=("192.0.2.1",)))
    counts = named(Choice([*many(200), light], 4))
    assert len(counts) == 201
    usual = len(SOURCES) / 200.25
    for address, count in counts.items():
        if address != "192.0.2.1":
            assert usual / 4 < count < usual * 2.5
    assert 0 < counts["192.0.2.1"] < usual


def test_a_choice_costs_the_same_in_any_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    lots = choice_module._lots

    def counted(slot: int, node_id: str) -> tuple[int, int, int]:
        nonlocal looked_at
        looked_at += 1
        return lots(slot, node_id)

    monkeypatch.setattr(choice_module, "_lots", counted)
    choice = Choice(many(5000), 4)
    for source in SOURCES[:100]:
        assert len(asked(choice, site(), V4, source) or ()) == 4
    assert looked_at < 100 * 12


def test_in_a_large_fleet_too_only_the_answers_change_that_named_who_goes() -> None:
    candidates = many(300)
    before, after = Choice(candidates, 4), Choice(candidates[1:], 4)
    gone = candidates[0].packed[0]
    for source in SOURCES[:2000]:
        was, now = (asked(each, site(), V4, source) or () for each in (before, after))
        left = tuple(each for each in was if each != gone)
        assert now[: len(left)] == left
        assert (was == now) == (gone not in was)


def test_a_large_fleet_with_hardly_any_weight_names_whoever_has_some() -> None:
    one = candidate(node(9000, weight=100.0, addresses=("192.0.2.1",)))
    choice = Choice([*many(500, 0.000001), one], 4)
    for source in SOURCES[:20]:
        assert "192.0.2.1" in (texts(asked(choice, site(), V4, source)) or ())


def test_a_share_counts_like_a_weight_and_none_is_none() -> None:
    choice = Choice([candidate(node(1)), candidate(node(2), 0.25), candidate(node(3), 0.0)], 4)
    found = [texts(asked(choice, site(), V4, source)) for source in SOURCES]
    with_second = sum("192.0.2.2" in (each or ()) for each in found)
    assert all("192.0.2.1" in (each or ()) and "192.0.2.3" not in (each or ()) for each in found)
    assert with_second / len(found) == pytest.approx(0.25, abs=0.08)


def test_when_a_node_goes_only_the_answers_that_named_it_change() -> None:
    candidates = [candidate(node(number)) for number in range(1, 21)]
    before, after = Choice(candidates, 4), Choice(candidates[1:], 4)
    for source in SOURCES[:500]:
        was = asked(before, site(), V4, source) or ()
        now = asked(after, site(), V4, source) or ()
        left = tuple(each for each in was if each != candidates[0].packed[0])
        assert now[: len(left)] == left
        assert (was == now) == (len(left) == 4)


def test_a_site_that_names_regions_is_answered_with_nodes_there_only() -> None:
    choice = Choice([candidate(node(1, region="eu")), candidate(node(2, region="us")), candidate(node(3))], 4)
    assert texts(asked(choice, site("eu"), V4, "192.0.2.9")) == {"192.0.2.1"}
    assert texts(asked(choice, site("eu", "us"), V4, "192.0.2.9")) == {"192.0.2.1", "192.0.2.2"}
    assert asked(choice, site("asia"), V4, "192.0.2.9") is None
    assert asked(choice, site("asia"), V6, "192.0.2.9") is None


def test_the_last_resort_stays_in_the_region() -> None:
    down = candidate(node(1, region="eu"), 0.0, down=True)
    choice = Choice([down, candidate(node(2, region="us"))], 4)
    assert texts(asked(choice, site("eu"), V4, "192.0.2.9")) == {"192.0.2.1"}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((NodeState.SERVING, NodeState.DRAINING), {"192.0.2.1"}),
        ((NodeState.LAGGING, NodeState.DETACHED), {"192.0.2.1", "192.0.2.2"}),
        ((NodeState.JOINING, NodeState.GONE), {"192.0.2.1"}),
        ((NodeState.DRAINING, NodeState.JOINING), {"192.0.2.1", "192.0.2.2"}),
        ((NodeState.GONE, NodeState.GONE), None),
    ],
)
def test_when_nobody_is_left_whoever_may_serve_is_named(
    states: tuple[NodeState, NodeState], expected: set[str] | None
) -> None:
    candidates = [candidate(node(number, state=state), 0.0) for number, state in enumerate(states, 1)]
    assert texts(asked(Choice(candidates, 4), site(), V4, "192.0.2.9")) == expected


def test_nodes_without_weight_or_address_are_in_no_answer() -> None:
    unweighted, unnamed = node(1, weight=0.0), node(2, addresses=())
    assert asked(Choice([candidate(unweighted), candidate(unnamed)], 4), site(), V4, "192.0.2.9") is None
    choice = Choice([candidate(unweighted), candidate(unnamed), candidate(node(3))], 4)
    assert texts(asked(choice, site(), V4, "192.0.2.9")) == {"192.0.2.3"}


def test_families_are_chosen_for_themselves() -> None:
    both = node(1, addresses=("192.0.2.1", "2001:db8::1", "2001:db8::2"))
    choice = Choice([candidate(both), candidate(node(2))], 4)
    assert texts(asked(choice, site(), V6, "2001:db8:9::1")) == {"2001:db8::1", "2001:db8::2"}
    assert texts(asked(choice, site(), V4, "2001:db8:9::1")) == {"192.0.2.1", "192.0.2.2"}
    assert asked(Choice([candidate(node(2))], 4), site(), V6, "192.0.2.9") == ()


def test_networks_share_a_slot() -> None:
    assert slot_at("192.0.2.1") == slot_at("192.0.2.255")
    assert slot_at("2001:db8:1::1") == slot_at("2001:db8:1:ffff:ffff::")
    assert slot_at("fe80::1%lo") == slot_at("fe80::2")
    assert len({slot_at(source) for source in SOURCES}) > SLOTS * 0.9


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice_module, "MAX_REMEMBERED", 100)
    monkeypatch.setattr(choice_module, "MAX_PLACES", 100)
    monkeypatch.setattr(choice_module, "MAX_LIVE_POOLS", 3)
    monkeypatch.setattr(ranking_module, "MAX_POOLS", 3)
    pairs = [node(number + more, region=f"r{number}") for number in range(1, 8) for more in (0, 10)]
    choice = Choice([candidate(each) for each in pairs], 4)
    for number in range(1, 8):
        for source in SOURCES[:300]:
            assert texts(asked(choice, site(f"r{number}"), V4, source)) == {
                f"192.0.2.{number}",
                f"192.0.2.{number + 10}",
            }
        kept = (choice.nearest, choice.further, choice.named, choice.groups)
        assert all(len(each) <= 100 for each in kept)
        assert len(choice.named) > 40
        assert (len(choice._ipv4) <= 3, len(choice.geometry._pools) <= 3) == (True, True)


@given(
    weights=st.lists(st.integers(0, 300), min_size=1, max_size=12),
    fractions=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=12, max_size=12),
    most=st.integers(1, 8),
    source=st.ip_addresses().map(str),
)
def test_whoever_is_there_is_found(weights: list[int], fractions: list[float], most: int, source: str) -> None:
    nodes = [node(number, weight=float(weight)) for number, weight in enumerate(weights, 1)]
    choice = Choice([candidate(each, fraction) for each, fraction in zip(nodes, fractions, strict=False)], most)
    found = texts(asked(choice, site(), V4, source))
    has_share = {each.addresses[0] for each, part in zip(nodes, fractions, strict=False) if each.member.weight * part}
    has_weight = {each.addresses[0] for each in nodes if each.member.weight}
    allowed = has_share or has_weight
    assert (found is None) == (not allowed)
    assert found is None or (1 <= len(found) <= most and found <= allowed)
