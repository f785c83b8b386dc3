"""What was answered lately, for those who ask the same."""

from __future__ import annotations

from collections.abc import Hashable

MEMO_BYTES = 64 * 1024 * 1024
"""For what is remembered, in two halves: 130,000 networks that ask one question fit into each of them."""

KEY_BYTES = 180
"""What an entry takes beside its octets: the key, its place in the table, and in that of answers it shares."""

ANSWER_BYTES = 420
"""What an answer takes beside its octets, which all networks share that are told the same."""

Remembered = tuple[bytes, int, int, int]
"""The response between its id and what is repeated from the query at its end, which is the address of the client
subnet; where that begins in the query; the tally it counts for; its kind for the rate limits."""


class AnswerMemo:
    """Two halves: when the newer one is full the older one is dropped, and what is still asked for was copied over."""

    def __init__(self, limit_bytes: int = MEMO_BYTES) -> None:
        self.newer: dict[Hashable, Remembered] = {}
        self._older: dict[Hashable, Remembered] = {}
        self._answers: dict[Remembered, Remembered] = {}
        self._limit_bytes = limit_bytes // 2
        self._bytes = 0

    def clear(self) -> None:
        """Forget everything."""
        self.newer = {}
        self._older = {}
        self._answers = {}
        self._bytes = 0

    def find(self, key: Hashable, key_bytes: int) -> Remembered | None:
        """What is remembered, if not in `newer` then from before."""
        found = self.newer.get(key)
        if found is None and (found := self._older.pop(key, None)) is not None:
            self.keep(key, key_bytes, found)
        return found

    def keep(self, key: Hashable, key_bytes: int, answer: Remembered) -> None:
        """`key_bytes` are the octets in the key."""
        if self._bytes >= self._limit_bytes:
            self._older, self.newer = self.newer, {}
            self._answers = {}
            self._bytes = 0
        self._bytes += KEY_BYTES + key_bytes
        shared = self._answers.get(answer)
        if shared is None:
            shared = self._answers[answer] = answer
            self._bytes += ANSWER_BYTES + len(answer[0])
        self.newer[key] = shared
