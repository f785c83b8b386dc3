"""Signatures that were made and are still good, of a bounded number of record sets."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.dns.zone_answer import Rrset

MAX_REMEMBERED = 8_192
"""Record sets in each half of a memo, most of them below 1 KiB with their signature: two halves of both memos are 32
MiB at the most. Signing 8,192 sets anew takes a third of a second, spread over as many questions."""

SignatureKey = tuple[str, Rrset]
"""The key that signed, and what."""


@dataclass(frozen=True, slots=True)
class Signed:
    """The content of an RRSIG record, to be used between these two wall times, which lie well within its validity."""

    rrsig: bytes
    from_s: float
    until_s: float


class SignatureMemo:
    """What was asked for lately is kept: when the young half is full the old one goes, and the young one is old."""

    def __init__(self, most: int = MAX_REMEMBERED) -> None:
        self._most = most
        self._young: dict[SignatureKey, Signed] = {}
        self._old: dict[SignatureKey, Signed] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, key: SignatureKey, wall_s: float) -> Signed | None:
        """None: it has to be signed anew, because it is not here, or ends soon, or the clock was set back."""
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is None:
                return None
            self.keep(key, found)
        return found if found.from_s <= wall_s < found.until_s else None

    def keep(self, key: SignatureKey, signed: Signed) -> None:
        """From now on, in the place of what was there."""
        if len(self._young) >= self._most and key not in self._young:
            self._young, self._old = {}, self._young
        self._young[key] = signed
