"""Knows what was acknowledged, and says so when somebody is shown something older (DESIGN I1, I8, I9)."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdn.edge.detached import READ_EVERY_S
from tests.simulation.node import Answer

POINTER_GRACE_S = READ_EVERY_S * 1.02
"""An activation pointer is read at most once a second, by a clock that runs up to a hundredth slow."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A receipt came at `at`: from then on nobody is shown less than `value` under the key.

    Nodes in `exempt` may be, while they hold no lease. Those in `unaware` may be too as long as they do not know the
    site's settings of `settings_sequence`. `only`: the nodes that are bound, None: all. `is_soft`: what says itself
    that it is stale may be older.
    """

    at: float
    sequence: int
    value: int
    exempt: frozenset[str]
    unaware: frozenset[str]
    settings_sequence: int
    only: frozenset[str] | None
    is_soft: bool


@dataclass
class Checker:
    """`activations` are the sequences at which deploys became active."""

    activations: dict[str, int] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    answers: int = 0
    judged: int = 0
    _promises: dict[tuple[str, str], list[Promise]] = field(default_factory=dict)

    def promise(self, key: tuple[str, str], promise: Promise) -> None:
        self._promises.setdefault(key, []).append(promise)

    def judge(self, node_id: str, key: tuple[str, str], asked_at: float, answer: Answer) -> None:
        """`asked_at`: when the node began to look at the request."""
        self.answers += 1
        if answer.value is None:
            return
        value = self.activations.get(answer.value, 0) if isinstance(answer.value, str) else answer.value
        for promise in self._promises.get(key, ()):
            grace_s = POINTER_GRACE_S if answer.by_pointer else 0.0
            if promise.at + grace_s > asked_at or (promise.is_soft and answer.is_stale):
                continue
            if promise.only is not None and node_id not in promise.only:
                continue
            if not answer.had_lease:
                if node_id in promise.exempt:
                    continue
                if node_id in promise.unaware and answer.settings_sequence < promise.settings_sequence:
                    continue
            self.judged += 1
            if value < promise.value:
                how = "with a lease" if answer.had_lease else "without a lease"
                self.stale.append(
                    f"{asked_at:.3f}: {node_id} shows {key[0]}{key[1]} as of {value} {how}, but {promise.value} "
                    f"was acknowledged at {promise.at:.3f} (record {promise.sequence})"
                )
