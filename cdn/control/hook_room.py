"""What hooks are made of on one replica, put together once: kept messages, counters, and what was refused last."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from cachetools import LRUCache

from cdn.control.hook_deliveries import InboundDeliveries
from cdn.control.hook_rate import HookRate
from cdn.control.hook_secrets import HookSecrets
from cdn.control.turns import Turns
from cdn.control.webhook_queue import WebhookQueue

MAX_REFUSED_HOOKS = 256
"""Hooks of which the last refusals are kept in memory: for whoever sets one up and looks why nothing happens."""

MAX_REFUSED = 8
"""Of one hook."""


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """A message that was refused before anything of it was kept. `at` is wall time."""

    at: float
    peer: str
    reason: str
    says: str


def _last_refused() -> LRUCache[str, deque[RefusedMessage]]:
    return LRUCache(MAX_REFUSED_HOOKS)


@dataclass(frozen=True, slots=True)
class HookRoom:
    """Shared by the receiver, the sender and the API."""

    secrets: HookSecrets
    deliveries: InboundDeliveries
    queue: WebhookQueue
    turns: Turns
    rate: HookRate
    counters: Counter[str] = field(default_factory=Counter)
    _refused: LRUCache[str, deque[RefusedMessage]] = field(default_factory=_last_refused)

    def refuse(self, hook_id: str, refused: RefusedMessage) -> None:
        """Count and remember a refusal."""
        self.counters["hook_messages_refused"] += 1
        self._refused.setdefault(hook_id, deque(maxlen=MAX_REFUSED)).appendleft(refused)

    def refused(self, hook_id: str) -> Sequence[RefusedMessage]:
        """The last ones of a hook, newest first."""
        return tuple(self._refused.get(hook_id, ()))
