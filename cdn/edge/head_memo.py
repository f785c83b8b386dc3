"""Request heads that were judged once, and the prepared response they led to (DESIGN section 7)."""

from __future__ import annotations

from cdn.edge.prepared import Prepared
from cdn.edge.traffic import Told

ENTRY_OVERHEAD_BYTES = 200
"""What the interpreter keeps around one remembered head."""

TOLD_OVERHEAD_BYTES = 150
"""What the interpreter keeps around what is said of the answer, beside the line itself."""

MAX_NOTED = 65_536
"""Hashes of heads that came once, about 4 MiB."""


Remembered = tuple[Prepared, Told]
"""What a head led to, and what is said of it whenever it is sent. A plain tuple: a tenth of a class to make."""


class HeadMemo:
    """A bounded map from the raw bytes of a head, or its gist, to what it led to; None when the head is unknown.

    Two generations: what is asked for moves to the young one; when that holds half of either bound, it becomes the old
    one and the old one is forgotten. So heads in use stay, at the cost of one dictionary access. A found response must
    be checked with `is_usable`, and `forget` called when it is not.
    """

    def __init__(self, max_entries: int, max_bytes: int, max_head_bytes: int) -> None:
        self._max_young_entries = max(1, max_entries // 2)
        self._max_young_bytes = max_bytes // 2
        self._max_head_bytes = max_head_bytes
        self._young: dict[bytes, Remembered] = {}
        self._old: dict[bytes, Remembered] = {}
        self._young_bytes = 0
        self._noted: set[int] = set()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, head: bytes) -> Remembered | None:
        """What is remembered for these bytes."""
        known = self._young.get(head)
        if known is None and self._old:
            known = self._old.pop(head, None)
            if known is not None:
                self._insert(head, known)
        return known

    def offer(self, head: bytes, led_to: Remembered) -> None:
        """Remember a head that comes for the second time; one that never comes again is not worth its room (1.5 us)."""
        if self.has_come(head):
            self.put(head, led_to)

    def has_come(self, head: bytes) -> bool:
        """Whether this head came before; if not, it will have."""
        sign = hash(head)
        if sign in self._noted:
            self._noted.discard(sign)
            return True
        self.note(head)
        return False

    def note(self, head: bytes) -> None:
        """This head came once: remember it when it is offered again."""
        if len(self._noted) >= MAX_NOTED:
            self._noted.clear()
        self._noted.add(hash(head))

    def put(self, head: bytes, led_to: Remembered) -> None:
        """Remember, unless the head is longer than `max_head_bytes`.

        Only heads of GET and HEAD without content, that keep the connection open, belong here.
        """
        if len(head) <= self._max_head_bytes:
            self.forget(head)
            self._insert(head, led_to)

    def forget(self, head: bytes) -> None:
        """Remember these bytes no longer."""
        known = self._young.pop(head, None)
        if known is not None:
            self._young_bytes -= _cost(head, known)
        self._old.pop(head, None)

    def _insert(self, head: bytes, known: Remembered) -> None:
        cost = _cost(head, known)
        if len(self._young) >= self._max_young_entries or self._young_bytes + cost > self._max_young_bytes:
            self._old = self._young
            self._young = {}
            self._young_bytes = 0
        self._young[head] = known
        self._young_bytes += cost


def _cost(head: bytes, known: Remembered) -> int:
    prepared, told = known
    return len(head) + len(told.line) + prepared.memo_bytes + ENTRY_OVERHEAD_BYTES + TOLD_OVERHEAD_BYTES
