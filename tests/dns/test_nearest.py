"""Nearest: who is named where, how far the answer holds, and that health costs no distances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.dns import ranking as ranking_module
from cdn.dns.choice import Candidate, Choice, Family, is_of, slot_of
from cdn.dns.client import AddressFamily, Client, client_at
from cdn.dns.fleet_nodes import FleetNode
from cdn.dns.fleet_state import FleetState
from cdn.dns.geography import Place
from cdn.dns.ranking import SAME_PLACE_KM, Geometry
from cdn.dns.site_addresses import Chosen
from cdn.fleet.condition import NodeState
from cdn.fleet.eligibility import eligible
from tests.dns.fleets import node, seen, site
from tests.dns.places import BLOCK, Blocks, Measured

FRANKFURT, LONDON, NEW_YORK = (50.11, 8.68), (51.51, -0.13), (40.71, -74.01)
NEAR_FRANKFURT = (50.02, 8.6)
PLACES = {
    1: Place(*FRANKFURT, "DE", "EU"),
    2: Place(*LONDON, "GB", "EU"),
    3: Place(*NEW_YORK, "US", "NA"),
    4: Place(country="DE", continent="EU"),
    5: Place(continent="EU"),
    6: Place(52.52, 13.4, "DE", "EU"),
}
GEOGRAPHY = Blocks(PLACES)
V4, V6 = Family.IPV4, Family.IPV6


def at(number: int, location: tuple[float, float] | None, **more: object) -> FleetNode:
    bias = more.pop("bias", 0)
    assert isinstance(bias, int)
    return replace(node(number, **more), location=location, bias=bias)  # type: ignore[arg-type]


FLEET = (at(1, FRANKFURT), at(2, LONDON), at(3, NEW_YORK))


def choice_of(
    nodes: Sequence[FleetNode],
    fractions: Mapping[int, float] | None = None,
    *,
    down: frozenset[int] = frozenset(),
    measured: Measured | None = None,
    geography: Blocks | None = GEOGRAPHY,
    most: int = 4,
    ttls: Mapping[str, int] | None = None,
) -> Choice:
    candidates = [
        Candidate(each, (fractions or {}).get(number, 1.0), () if number in down else each.packed)
        for number, each in enumerate(nodes, start=1)
    ]
    return Choice(candidates, most, Geometry(nodes, geography, measured), ttls)


def named(choice: Choice, source: str, *regions: str, family: Family = V4) -> tuple[list[str], int]:
    """Whom the resolver at `source` hears, in order, and how far that holds."""
    chosen = choice.addresses(site(*regions), family, client_at(source))
    assert chosen is not None
    return [str(ip_address(each)) for each in chosen.packed], chosen.scope_prefix


def slots(choice: Choice, block: int, count: int = 600) -> Counter[str]:
    """Who is first for networks of a block."""
    return Counter(named(choice, f"10.{block}.{number >> 2}.{number & 3}")[0][0] for number in range(count))


@pytest.mark.parametrize(
    ("block", "expected"), [(1, "192.0.2.1"), (2, "192.0.2.2"), (3, "192.0.2.3"), (6, "192.0.2.1")]
)
def test_everyone_hears_the_nearest_node_and_the_answer_holds_for_the_place(block: int, expected: str) -> None:
    assert named(choice_of(FLEET), f"10.{block}.7.9") == ([expected], BLOCK)


def test_of_a_node_without_a_location_the_address_says_where_it_is() -> None:
    fleet = [at(1, None, addresses=("10.3.0.1",)), at(2, LONDON)]
    assert named(choice_of(fleet), "10.3.1.1")[0] == ["10.3.0.1"]
    assert named(choice_of(fleet), "10.2.1.1")[0] == ["192.0.2.2"]


def test_countries_and_continents_count_where_there_are_no_coordinates() -> None:
    german = at(1, FRANKFURT, addresses=("10.1.0.1",))
    american = at(2, NEW_YORK, addresses=("10.3.0.1",))
    british = at(3, LONDON, addresses=("10.2.0.1",))
    choice = choice_of([american, british, german])
    assert named(choice, "10.4.0.9") == (["10.1.0.1"], BLOCK), "the same country"
    assert set(named(choice, "10.5.0.9")[0]) == {"10.1.0.1", "10.2.0.1"}, "the same continent"
    assert len(named(choice, "10.99.0.9")[0]) == 3, "nothing is known: all are equally far"


def test_a_bias_draws_visitors_in() -> None:
    between = {7: Place(51.0, 4.0, "BE", "EU")}  # nearer to London
    geography = Blocks({**PLACES, **between})
    for bias, expected in ((0, "192.0.2.2"), (40, "192.0.2.1")):
        fleet = [at(1, FRANKFURT, bias=bias), at(2, LONDON)]
        assert named(choice_of(fleet, geography=geography), "10.7.0.1")[0] == [expected]
    # who is nowhere is spread over all the same
    assert len(named(choice_of([at(1, FRANKFURT, bias=99), at(2, LONDON)]), "10.88.0.1")[0]) == 2


def test_measured_times_go_before_distances() -> None:
    measured = Measured({1: {"n2": 5.0, "n1": 30.0}, 2: {"us": 1.0, "n2": 9.0}})
    fleet = [at(1, FRANKFURT), at(2, LONDON), at(3, NEW_YORK, region="us")]
    choice = choice_of(fleet, measured=measured)
    assert named(choice, "10.1.0.1") == (["192.0.2.2"], Measured.PREFIX)
    assert named(choice, "10.2.0.1")[0] == ["192.0.2.3"], "the region's"
    assert named(choice, "10.3.0.1")[0] == ["192.0.2.3"], "nothing was measured: the distance"
    assert named(choice_of(fleet, measured=measured, geography=None), "10.1.0.1") == (["192.0.2.2"], Measured.PREFIX)
    equal = choice_of(fleet, measured=Measured({1: {"n1": 7.0, "n2": 7.9, "n3": 8.1}}))
    assert set(named(equal, "10.1.0.1")[0]) == {"192.0.2.1", "192.0.2.2"}, "a millisecond is no difference"


def test_nodes_of_one_place_share_its_visitors_by_network() -> None:
    choice = choice_of([at(1, FRANKFURT), at(2, NEAR_FRANKFURT), at(3, LONDON)])
    assert set(named(choice, "10.1.0.1")[0]) == {"192.0.2.1", "192.0.2.2"}
    assert named(choice, "10.1.0.1")[1] == 24, "who is named first depends on the network"
    firsts = slots(choice, 1)
    assert all(count > 200 for count in firsts.values()), firsts
    assert named(choice, "10.2.0.1") == (["192.0.2.3"], BLOCK)


def test_equally_far_nodes_of_different_places_are_no_group() -> None:
    """Half way between two the nearer is named, not both: which one that is says the distance alone."""
    geography = Blocks({1: Place(0.0, 0.01, "", "")})
    fleet = [at(1, (0.0, 10.0)), at(2, (0.0, -10.0))]
    assert named(choice_of(fleet, geography=geography), "10.1.0.1")[0] == ["192.0.2.1"]


def test_when_the_nearest_is_out_the_next_is_named() -> None:
    assert named(choice_of(FLEET, {1: 0.0}), "10.1.0.1")[0] == ["192.0.2.2"]
    assert named(choice_of(FLEET, down=frozenset({1, 2})), "10.1.0.1")[0] == ["192.0.2.3"]


def test_a_part_of_a_node_is_a_part_of_its_networks_and_the_others_hear_the_next() -> None:
    choice = choice_of(FLEET, {1: 0.25})
    found = slots(choice, 1, 1000)
    assert set(found) == {"192.0.2.1", "192.0.2.2"}
    assert found["192.0.2.1"] == pytest.approx(250, abs=60)
    assert named(choice, "10.1.0.1")[1] == 24
    assert named(choice, "10.2.0.1") == (["192.0.2.2"], BLOCK), "whom it does not concern hears what was heard"
    assert set(slots(choice_of(FLEET, {1: 0.01, 2: 0.01, 3: 0.01}), 1, 200)) <= {
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
    }


def test_slots_that_nobody_takes_on_are_the_nearests() -> None:
    choice = choice_of(FLEET, dict.fromkeys((1, 2, 3), 0.02))
    assert slots(choice, 1)["192.0.2.1"] > 500


def test_the_last_resort_is_the_nearest_allowed() -> None:
    lagging = [replace(each, member=replace(each.member, state=NodeState.LAGGING, lag_s=9.0)) for each in FLEET]
    assert named(choice_of(lagging, dict.fromkeys((1, 2, 3), 0.0)), "10.2.0.1")[0] == ["192.0.2.2"]
    choice = choice_of(lagging, dict.fromkeys((1, 2, 3), 0.0), down=frozenset({2}))
    assert named(choice, "10.2.0.1")[0] == ["192.0.2.1"], "one that is up goes before a nearer one that is not"


def test_a_forbidden_region_is_never_named() -> None:
    fleet = [at(1, FRANKFURT, region="eu"), at(2, NEW_YORK, region="us")]
    choice = choice_of(fleet, {1: 0.0, 2: 1.0}, down=frozenset({1}))
    assert named(choice, "10.3.0.1", "eu")[0] == ["192.0.2.1"]
    assert choice.addresses(site("asia"), V4, client_at("10.3.0.1")) is None


def test_the_scope_is_no_longer_than_it_has_to_be() -> None:
    one = choice_of([at(1, FRANKFURT)])
    assert named(one, "10.1.0.1") == (["192.0.2.1"], 0), "everybody hears the same"
    assert named(choice_of([at(1, FRANKFURT), at(2, FRANKFURT)]), "10.1.0.1")[1] == 24, "the slot alone"
    assert named(choice_of(FLEET, geography=None), "10.1.0.1")[1] == 24
    assert named(choice_of(FLEET), "10.1.0.1", family=V6) == ([], 0)
    private = Client(AddressFamily.IPV4, 0, 0)
    chosen = choice_of(FLEET).addresses(site(), V4, private)
    assert chosen is not None
    assert (len(chosen.packed), chosen.scope_prefix) == (3, 0)
    both = [at(1, FRANKFURT, addresses=("2001:db8::1",)), at(2, NEAR_FRANKFURT, addresses=("2001:db8::2",))]
    assert named(choice_of(both), "2001:db8::9", family=V6)[1] == 48
    assert GEOGRAPHY.locate(AddressFamily.IPV4, 0).place == 0


def test_how_long_an_answer_may_be_kept_is_what_could_change_it() -> None:
    choice = choice_of(FLEET, ttls={"192.0.2.2": 7, "192.0.2.3": 3})
    for block, expected in ((1, None), (2, 7), (3, 3)):
        chosen = choice.addresses(site(), V4, client_at(f"10.{block}.0.1"))
        assert chosen is not None
        assert chosen.ttl_s == expected
    fallen = choice_of(FLEET, down=frozenset({1}), ttls={"192.0.2.1": 5})
    chosen = fallen.addresses(site(), V4, client_at("10.1.0.1"))
    assert chosen == Chosen(FLEET[1].packed, BLOCK, 5), "the nearer one may be back by then"


def test_a_change_of_health_costs_no_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    state = FleetState(None, 4, 0.0)
    state.use(GEOGRAPHY, None)
    state.hear(seen(*FLEET), 0.0)
    first = state.look(frozenset(), 0.0)
    assert first is not None
    assert named(first, "10.1.0.1")[0] == ["192.0.2.1"]
    monkeypatch.setattr(ranking_module, "acos", None)  # a new order would need it
    state.hear(seen(*FLEET), 1.0)
    second = state.look(frozenset({"192.0.2.1"}), 1.0)
    assert second is not None
    assert second is not first
    assert named(second, "10.1.0.1")[0] == ["192.0.2.2"]
    monkeypatch.undo()
    state.use(Blocks({1: PLACES[3]}), None)
    third = state.look(frozenset(), 1.0)
    assert third is not None
    assert named(third, "10.1.0.1")[0] == ["192.0.2.3"], "another table: another order"


def test_a_node_that_moves_is_named_elsewhere() -> None:
    state = FleetState(None, 4, 0.0)
    state.use(GEOGRAPHY, None)
    state.hear(seen(*FLEET), 0.0)
    first = state.look(frozenset(), 0.0)
    assert first is not None
    assert state.look(frozenset(), 0.0) is first
    for moved in (at(3, LONDON), at(3, LONDON, bias=50), at(3, NEW_YORK), at(3, NEW_YORK, weight=7.0)):
        state.hear(seen(at(1, FRANKFURT), at(2, LONDON), moved), 0.0)
        last = state.look(frozenset(), 0.0)
        assert last is not None
        assert last is not first
        assert ("192.0.2.3" in named(last, "10.2.0.1")[0]) == (moved.location == LONDON)
        first = last


def test_the_last_group_that_is_remembered_is_whole() -> None:
    """Its nearest node is the sixth in the order, and the others come after that."""
    fleet = [at(number, (0.0, float(number))) for number in range(1, 6)]
    fleet += [at(number, (0.0, 6.0 + (number - 6) * 0.05)) for number in range(6, 10)]
    geography = Blocks({1: Place(0.0, 0.0)})
    choice = choice_of(fleet, dict.fromkeys(range(1, 6), 0.0), geography=geography)
    for _ in range(2):
        assert set(named(choice, "10.1.0.1")[0]) == {f"192.0.2.{number}" for number in range(6, 10)}


def test_a_busy_node_keeps_a_part_of_its_networks() -> None:
    state = FleetState(None, 4, 0.0, full_load=0.5)
    state.use(GEOGRAPHY, None)
    for load, kept in ((0.5, 600), (1.0, 300), (7.0, 300), (0.75, 450)):
        state.hear(seen(replace(FLEET[0], load=load), *FLEET[1:]), 0.0)
        choice = state.look(frozenset(), 0.0)
        assert choice is not None
        assert slots(choice, 1)["192.0.2.1"] == pytest.approx(kept, abs=45)


def test_a_thousand_places_remember_little_and_all_of_the_order_is_there_when_it_is_needed() -> None:
    fleet = [at(number, (0.0, float(number))) for number in range(1, 120)]
    geography = Blocks({1: Place(0.0, 0.0)})
    choice = choice_of(fleet, geography=geography)
    pool = choice.geometry.pool(site())
    standing = choice.geometry.standing(client_at("10.1.0.1"))
    for _ in range(2):
        assert [group for (group,) in pool.outward(standing)] == list(range(119))
    kept = choice.geometry.rankings.get((1, standing.place, standing.row))
    assert kept is not None
    assert len(kept) < 10
    far = choice_of(fleet, dict.fromkeys(range(1, 100), 0.0), geography=geography)
    assert named(far, "10.1.0.1")[0] == ["192.0.2.100"]


LOCATIONS = st.sampled_from([FRANKFURT, NEAR_FRANKFURT, LONDON, NEW_YORK, (0.0, 0.0), None])
STATES = st.sampled_from([NodeState.SERVING, NodeState.SERVING, NodeState.LAGGING, NodeState.DRAINING, NodeState.GONE])


@st.composite
def fleets(draw: st.DrawFn) -> list[tuple[FleetNode, float, bool]]:
    found = []
    for number in range(1, draw(st.integers(1, 7)) + 1):
        addresses = draw(st.sampled_from([(f"192.0.2.{number}",), (f"2001:db8::{number}",), (f"10.2.0.{number}",)]))
        each = at(
            number,
            draw(LOCATIONS),
            bias=draw(st.sampled_from([0, 0, 30, -60])),
            region=draw(st.sampled_from(["", "eu", "us"])),
            weight=draw(st.sampled_from([100.0, 50.0, 0.0])),
            state=draw(STATES),
            addresses=addresses,
        )
        found.append((each, draw(st.sampled_from([1.0, 1.0, 0.5, 0.0])), draw(st.booleans())))
    return found


@given(
    fleet=fleets(),
    block=st.sampled_from([1, 2, 3, 4, 5, 6, 77]),
    rest=st.integers(0, 0xFFFF),
    other=st.integers(0, 0xFFFF_FFFF),
    regions=st.sampled_from([(), ("eu",), ("eu", "us")]),
    family=st.sampled_from([V4, V6]),
    is_measured=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_any_fleet(
    fleet: list[tuple[FleetNode, float, bool]],
    block: int,
    rest: int,
    other: int,
    regions: tuple[str, ...],
    family: Family,
    is_measured: bool,
) -> None:
    """Only who may answer; somebody, when there is anybody; who shares the scope's bits hears the same."""
    candidates = [Candidate(each, fraction, each.packed if is_up else ()) for each, fraction, is_up in fleet]
    measured = Measured({1: {"n1": 9.0, "eu": 3.0}, 3: {"us": 40.0}}) if is_measured else None
    geometry = Geometry([each.node for each in candidates], GEOGRAPHY, measured)
    choice = Choice(candidates, 2, geometry)
    where = site(*regions)
    client = Client(AddressFamily.IPV4, 10 << 24 | block << 16 | rest)
    chosen = choice.addresses(where, family, client)
    allowed = [each for each in candidates if eligible(each.node.facts, where) and each.node.member.weight > 0]
    if chosen is None:
        assert all(each.node.member.state is NodeState.GONE and not _has_share(each) for each in allowed)
        return
    names = {packed: each for each in candidates for packed in each.node.packed}
    found = [names[packed] for packed in chosen.packed]
    resort = choice.live(where, family).resort
    assert resort is not None
    fit = [each for each in allowed if is_of(each, resort) and len(each.node.packed[0]) == family.value]
    assert bool(found) == bool(fit)
    assert len(found) <= 2
    assert all(each in fit for each in found)
    kept = 32 - chosen.scope_prefix
    fellow = Client(AddressFamily.IPV4, client.address >> kept << kept | other & ((1 << kept) - 1))
    assert choice.addresses(where, family, fellow) == chosen, "the scope promises so"
    if found and all(each.fraction == 1.0 for each in fit):
        _is_nearest(choice, client, found, fit)


def _has_share(candidate: Candidate) -> bool:
    return candidate.fraction > 0 and bool(candidate.packed)


def _is_nearest(choice: Choice, client: Client, found: list[Candidate], fit: list[Candidate]) -> None:
    """Nobody who was left is nearer, by more than what counts as equal."""
    standing = choice.geometry.standing(client)
    pool = choice.geometry.pool(site())
    by_node = {
        choice.candidates[number].node.member.node_id: distance.km
        for spot, distance in zip(pool.spots, pool.distances(standing), strict=True)
        for number in spot.nodes
    }
    nearest = min(by_node[each.node.member.node_id] for each in fit)
    for each in found:
        assert by_node[each.node.member.node_id] <= nearest + max(SAME_PLACE_KM, ranking_module.SAME_TIME_KM)


def test_the_slot_is_the_networks() -> None:
    assert slot_of(Client(AddressFamily.IPV4, 0x0A010203, 32)) == slot_of(Client(AddressFamily.IPV4, 0x0A010200, 24))
    assert slot_of(Client(AddressFamily.IPV6, 0x20 << 120, 0)) == 0
