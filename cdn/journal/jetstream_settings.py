"""How the journal is kept on JetStream."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdn.errors import InvalidInput
from cdn.journal.nats_settings import NatsSettings

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

MAX_JOURNAL_BYTES = 8 * 1024 * 1024 * 1024
"""The stream's bound on disk, some ten million records: when it is reached appends are refused until it is trimmed."""


@dataclass(frozen=True, slots=True)
class JetStreamSettings:
    """`name` keeps several journals on the same servers apart. `replicas` is 1, 3 or 5.

    `domain` is the JetStream domain of the stream, where the servers have domains. A program near a leaf node gives
    `mirror_domain` too: it connects to the leaf, reads from a mirror there, and appends through it to `domain`.
    """

    nats: NatsSettings
    name: str = "cdn"
    replicas: int = 3
    domain: str = ""
    mirror_domain: str = ""
    max_bytes: int = MAX_JOURNAL_BYTES

    def __post_init__(self) -> None:
        """Raises InvalidInput."""
        if _NAME.fullmatch(self.name) is None:
            raise InvalidInput(f"{self.name!r} cannot name a journal: use up to 32 of a-z, 0-9, - and _")
        if self.replicas not in (1, 3, 5):
            raise InvalidInput(f"a journal cannot have {self.replicas} replicas: choose 1, 3 or 5")
        if self.mirror_domain and not self.domain:
            raise InvalidInput("a mirror needs to know the domain it mirrors: set `domain` beside `mirror_domain`")
