"""What control refused to believe or to give, counted by reason, and the last of it by name."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from cdn.journal.wire import WireFault

MAX_KEPT = 32
"""Refusals shown with node and time: enough to see who does it; the counters have the rest."""

MAX_CHARS = 300
"""What is kept of a sentence or a name that came from outside."""

LOGGED_PER_MINUTE = 60
"""Lines in the log for refusals: whoever knocks a thousand times a second does not fill the disk."""

CLOCK_TOLERANCE_S = 10.0
"""A node whose clock is further off is told of: what it says was on its way for no longer than a lease."""

_log = logging.getLogger(__name__)


class Refusal(Enum):
    """Why; also the metric label. Everything but WRONG_CLOCK ends the connection or never lets it begin."""

    UNKNOWN_TOKEN = "unknown-token"  # noqa: S105 - none, revoked before, or never given
    NO_CERTIFICATE = "no-certificate"  # where nodes have to show one
    FOREIGN_TOKEN = "foreign-token"  # noqa: S105 - of another node
    REVOKED_TOKEN = "revoked-token"  # noqa: S105 - while its node was connected
    DOUBLED_NODE = "doubled-node"  # a second living node under one id: the first one stays
    OTHER_ZONE = "other-zone"  # a node of another CDN
    BAD_HELLO = "bad-hello"  # an id or facts that no node has
    BAD_MESSAGE = "bad-message"  # what does not belong on the connection
    FORGED_ACK = "forged-ack"  # of another epoch, or backwards
    FUTURE_ACK = "future-ack"  # of a record that was not sent
    FUTURE_POSITION = "future-position"  # a hello from beyond the journal's end: it gets a snapshot
    SLOW_NODE = "slow-node"  # it did not take what it was sent
    NO_ROOM = "no-room"  # as many connections or nodes as there may be
    WRONG_CLOCK = "wrong-clock"  # let in, as nothing counts on its clock, and shown


class NotBelieved(WireFault):
    """A message that can be read and cannot be true."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Refused:
    """One refusal. `node_id` is what the other side called itself, empty before it did; `at` is wall time."""

    reason: Refusal
    node_id: str
    peer: str
    sentence: str
    at: float


class Refusals:
    """Counts without bound, remembers within one."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(Refusal, 0)
        self._last: deque[Refused] = deque(maxlen=MAX_KEPT)
        self._logged: deque[float] = deque(maxlen=LOGGED_PER_MINUTE)

    def note(self, reason: Refusal, node_id: str, peer: str, sentence: str, at: float) -> None:
        """One more. `at` is wall time in seconds."""
        self._counts[reason] += 1
        refused = Refused(reason, node_id[:MAX_CHARS], peer[:MAX_CHARS], sentence[:MAX_CHARS], at)
        self._last.append(refused)
        if len(self._logged) < LOGGED_PER_MINUTE or not 0 <= at - self._logged[0] < 60:
            self._logged.append(at)
            _log.warning("%s: node %s at %s: %s", reason.value, node_id or "(unknown)", peer, refused.sentence)

    def __getitem__(self, reason: Refusal) -> int:
        """How many there were for this reason."""
        return self._counts[reason]

    def counts(self) -> Mapping[str, int]:
        """All reasons with their counts, those with none too."""
        return {reason.value: count for reason, count in self._counts.items()}

    def last(self) -> tuple[Refused, ...]:
        """The last ones, newest first."""
        return tuple(reversed(self._last))
