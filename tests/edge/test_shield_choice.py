"""Which shield a key belongs to, and when one is left alone."""

from __future__ import annotations

from collections import Counter

from cdn.edge.shield_choice import FIRST_PAUSE_S, LONGEST_PAUSE_S, Circuit, owner

URLS = tuple(f"https://10.0.0.{number}:8444" for number in range(1, 6))
KEYS = tuple(f"site {number} /a/{number}" for number in range(2000))


def test_every_node_says_the_same_whatever_the_order() -> None:
    for key in KEYS[:100]:
        assert owner(key, URLS) == owner(key, reversed(URLS))


def test_keys_are_spread_evenly() -> None:
    counts = Counter(owner(key, URLS) for key in KEYS)
    assert set(counts) == set(URLS)
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_when_one_goes_only_its_own_keys_move() -> None:
    left = URLS[1:]
    for key in KEYS:
        before = owner(key, URLS)
        assert owner(key, left) == before or before == URLS[0]


def test_nobody_owns_what_there_is_nobody_for() -> None:
    assert owner("key", ()) is None


def test_a_circuit_opens_once_and_closes_with_a_probe() -> None:
    circuit = Circuit()
    assert circuit.failed()
    assert not circuit.failed(), "somebody probes already"
    assert _is_open(circuit)
    pauses = []
    for _ in range(10):
        pauses.append(circuit.pause_s)
        circuit.probe_failed()
    assert pauses[0] == FIRST_PAUSE_S
    assert pauses == sorted(pauses)
    assert circuit.pause_s == LONGEST_PAUSE_S
    circuit.answered()
    assert not _is_open(circuit)
    assert circuit.failed()
    assert circuit.pause_s == FIRST_PAUSE_S


def _is_open(circuit: Circuit) -> bool:
    return circuit.is_open
