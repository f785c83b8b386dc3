"""What a node may say about itself."""

from __future__ import annotations

import pytest

from cdn.errors import InvalidInput
from cdn.fleet.node import (
    MAX_ADDRESSES,
    MAX_PUBLIC_ADDRESSES,
    MAX_WEIGHT,
    NodeFacts,
    check_bias,
    check_facts,
    check_location,
    check_public_addresses,
    check_weight,
    read_location,
)


@pytest.mark.parametrize("weight", [0, 1, 100, MAX_WEIGHT])
def test_weights_a_node_may_have(weight: int) -> None:
    assert check_weight(weight) == weight


@pytest.mark.parametrize("weight", [-1, MAX_WEIGHT + 1])
def test_weights_it_may_not(weight: int) -> None:
    with pytest.raises(InvalidInput, match=f"{weight} is no weight") as refused:
        check_weight(weight)
    assert refused.value.field == "weight"


def test_addresses_come_in_their_shortest_form() -> None:
    assert check_public_addresses(("192.0.2.7", "2001:DB8:0::7")) == ("192.0.2.7", "2001:db8::7")
    assert check_public_addresses(()) == ()


@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        (("192.0.2.7:80",), "'192.0.2.7:80' is no IP address"),
        (("edge.example.net",), "is no IP address"),
        (("",), "is no IP address"),
        (("192.0.2.07",), "is no IP address"),
        (("fe80::1%eth0",), "no address of one machine"),
        (("0.0.0.0",), "no address of one machine"),
        (("::",), "no address of one machine"),
        (("224.0.0.1",), "no address of one machine"),
        (("2001:db8::7", "2001:db8:0::7"), "stands twice"),
        (tuple(f"192.0.2.{n}" for n in range(MAX_PUBLIC_ADDRESSES + 1)), "at most 8"),
    ],
)
def test_addresses_that_dns_cannot_answer_with(addresses: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        check_public_addresses(addresses)
    assert refused.value.field == "public_addresses"


def test_facts_are_checked_as_a_whole() -> None:
    facts = NodeFacts("0.1", "eu", ("127.0.0.1:80",), 50, ("192.0.2.7",))
    assert check_facts(facts) is facts
    assert check_facts(NodeFacts("0.1")) == NodeFacts("0.1")
    for wrong in (
        NodeFacts("0.1", "No Region"),
        NodeFacts("x" * 256),
        NodeFacts("0.1", addresses=("x" * 256,)),
        NodeFacts("0.1", addresses=("x",) * (MAX_ADDRESSES + 1)),
        NodeFacts("0.1", weight=-5),
        NodeFacts("0.1", public_addresses=("here",)),
    ):
        with pytest.raises(InvalidInput):
            check_facts(wrong)


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("50.11,8.68", (50.11, 8.68)),
        (" -33.9 , 151.2", (-33.9, 151.2)),
        ("90,-180", (90.0, -180.0)),
        ("0,0", (0.0, 0.0)),
    ],
)
def test_places(text: str, location: tuple[float, float]) -> None:
    assert read_location(text) == location
    assert check_location(location) == location


@pytest.mark.parametrize("text", ["", "50.11", "50.11,8.68,3", "north,8", "90.1,0", "0,180.1", "-91,0", "nan,0"])
def test_places_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no place"):
        read_location(text)


def test_a_node_may_say_no_place() -> None:
    assert check_location(None) is None


@pytest.mark.parametrize("bias", [-99, 0, 99])
def test_biases(bias: int) -> None:
    assert check_bias(bias) == bias


@pytest.mark.parametrize("bias", [-100, 100])
def test_biases_that_are_none(bias: int) -> None:
    with pytest.raises(InvalidInput, match=f"{bias} is no bias"):
        check_bias(bias)
