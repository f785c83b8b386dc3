"""What was acknowledged, and whether an answer may follow that (DESIGN I8, I9).

Each site has one author whose changes are numbered; an answer shows the number it was made from. A node that a receipt
calls applied or fenced never shows less than its number again. One that is excused may, as long as its own lease has
lapsed, which it says in Cache-Status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

FENCED_GRACE_S = 1.0
"""A cut-off node looks at a site's activation pointer once a second; for what it fetches it asks every time."""


class Broken(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One answer: the number it was made from, and whether the node said that its lease has lapsed."""

    node: str
    number: int
    is_detached: bool
    told: str  # whatever helps to understand it


@dataclass(frozen=True, slots=True)
class Due:
    """The least that an answer may show whose request begins now: without a lease, and with one."""

    always: int
    attached: int


@dataclass(slots=True)
class SiteAcknowledged:
    """The changes of one site. `is_pull`: what it shows is fetched, so what is shown never goes back by itself."""

    name: str
    is_pull: bool
    attempted: int = 0
    last: int = 0
    sequence: int = 0
    unsettled: set[int] = field(default_factory=set)
    deploys: dict[str, int] = field(default_factory=dict)
    outcomes_seen: dict[str, set[str]] = field(default_factory=dict)
    _applied: dict[str, int] = field(default_factory=dict)
    _fenced: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    _excused: dict[str, int] = field(default_factory=dict)

    def attempt(self) -> int:
        """The number of the next change."""
        self.attempted += 1
        return self.attempted

    def lose(self, number: int) -> None:
        """No answer came, or one that promises nothing: the change may come about, now or later."""
        self.unsettled.add(number)

    def acknowledge(self, number: int, receipt: Mapping[str, Any], now: float) -> None:
        """The receipt of a change has come. What it says of each node counts from `now` on."""
        self.last, self.sequence = number, receipt["position"]["sequence"]
        for line in receipt["nodes"]:
            node, outcome = line["node"], line["outcome"]
            self.outcomes_seen.setdefault(node, set()).add(outcome)
            if outcome == "applied":
                self._applied[node] = number
            elif receipt["complete"] and outcome == "fenced":
                since = now if self.is_pull else now + FENCED_GRACE_S
                self._fenced.setdefault(node, []).append((since, number))
            elif receipt["complete"] and outcome == "excused":
                self._excused[node] = number
            elif receipt["complete"]:
                raise Broken(f"{self.name}: a receipt is complete and {node} is {outcome}: {receipt}")

    def due(self, node: str, now: float) -> Due:
        """What a request to `node` that begins now must show."""
        fenced = [number for since, number in self._fenced.get(node, ()) if since <= now]
        always = max(self._applied.get(node, 0), *fenced, 0)
        whenever = [number for since, number in self._fenced.get(node, ()) if since < inf]
        return Due(always, max(always, *whenever, self._excused.get(node, 0)))

    def judge(self, due: Due, shown: Shown, *, may_lapse_unsaid: bool = False) -> None:
        """`due` is of when the request began. `may_lapse_unsaid`: the node was surely without its lease, said or not.

        Raises Broken.
        """
        what = f"{self.name}: {shown.node} shows {shown.number}"
        if shown.number > self.attempted:
            raise Broken(f"{what}, and nobody made it: {shown.told}")
        if shown.number in self.unsettled and not self.is_pull:
            return  # its activation may have come after any other; what is fetched never goes back
        if shown.number < due.always:
            raise Broken(f"{what} after a receipt for {due.always} counted the node in: {shown.told}")
        if shown.number < due.attached and not shown.is_detached and not may_lapse_unsaid:
            raise Broken(f"{what} after a receipt for {due.attached} excused it, and has its lease: {shown.told}")

    def judge_settled(self, shown: Shown) -> None:
        """Nothing is under way any more, and all nodes are well. Raises Broken."""
        due = Due(self.last, self.last)
        self.judge(due, shown)
        if shown.is_detached:
            raise Broken(f"{self.name}: {shown.node} is still detached: {shown.told}")

    def settle(self, number: int) -> None:
        """Everything under way has ended, and `number` is what every node shows: nothing older may come any more."""
        self.unsettled.clear()
        self.last = number
