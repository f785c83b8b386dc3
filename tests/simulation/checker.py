"""Knows what was acknowledged, and says so when somebody is shown something older (DESIGN I1, I8, I9)."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdn.edge.detached import READ_EVERY_S
from tests.simulation.cache import Answer

POINTER_GRACE_S = READ_EVERY_S * 1.02
"""An activation pointer is read at most once a second, by a clock that runs up to a hundredth slow."""

Key = tuple[str, str]
"""The name of a site, and a path."""

Value = int | tuple[int, int]
"""Of a pull site the upstream's version; else when the deploy became active: the number of the epoch, the sequence."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A receipt came at `at`: from then on nobody is shown less than `value` under the key.

    Nodes in `exempt` may be, while they hold no lease. Those in `unaware` may be too as long as they do not know the
    site's settings of `settings_sequence`. `only`: the nodes that are bound, None: all. `is_soft`: what says itself
    that it is stale may be older.
    """

    at: float
    epoch: int
    sequence: int
    value: Value
    exempt: frozenset[str] = frozenset()
    unaware: frozenset[str] = frozenset()
    settings_sequence: int = 0
    only: frozenset[str] | None = None
    is_soft: bool = False


@dataclass
class Checker:
    """`activations` say when deploys became active."""

    activations: dict[str, tuple[int, int]] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    answers: int = 0
    judged: int = 0
    promised: int = 0
    _promises: dict[Key, list[Promise]] = field(default_factory=dict)

    def promise(self, key: Key, promise: Promise) -> None:
        self.promised += 1
        self._promises.setdefault(key, []).append(promise)

    def lose(self, epoch: int, after: int) -> None:
        """Records after that are lost with the journal: deploys are not to be seen, and purged is purged."""
        for key, promises in self._promises.items():
            self._promises[key] = [
                each
                for each in promises
                if each.epoch != epoch or each.sequence <= after or not isinstance(each.value, tuple)
            ]

    def judge(self, node_id: str, key: Key, asked_at: float, answer: Answer) -> None:
        """`asked_at`: when the node began to look at the request."""
        self.answers += 1
        if answer.value is None:
            return
        value: Value = answer.value if isinstance(answer.value, int) else self.activations.get(answer.value, (-1, 0))
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
            if is_older(value, promise.value):
                how = "with a lease" if answer.had_lease else "without a lease"
                self.stale.append(
                    f"{asked_at:.3f}: {node_id} shows {key[0]}{key[1]} as of {value} {how}, but {promise.value} "
                    f"was acknowledged at {promise.at:.3f} (record {promise.sequence})"
                )


def is_older(value: Value, promised: Value) -> bool:
    """Of one key all are of one kind."""
    if isinstance(value, int) and isinstance(promised, int):
        return value < promised
    assert isinstance(value, tuple)
    assert isinstance(promised, tuple)
    return value < promised
