"""The server behind the pull sites: every path has a version, which grows when its owner changes it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

from cdn.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Said:
    """A version, None: that which was asked about. `age_s`: how long ago the upstream said so."""

    version: int | None
    age_s: float = 0.0


class SimulatedUpstream:
    """What an owner publishes, and one node's way to it (`is_away`: none)."""

    def __init__(self) -> None:
        self.versions: Counter[tuple[str, str]] = Counter()
        self.is_away: set[str] = set()

    async def ask(self, node_id: str, name: str, path: str, rng: random.Random, *, etag: int | None = None) -> Said:
        """What is published between the asking and the answer; not said again when it is `etag`. Raises Unavailable."""
        await asyncio.sleep(_way_s(rng))
        if node_id in self.is_away:
            raise Unavailable("the upstream does not answer")
        version = self.versions[name, path]
        await asyncio.sleep(_way_s(rng))
        return Said(None if version == etag else version)


def _way_s(rng: random.Random) -> float:
    return rng.uniform(0.0, 1.5) if rng.random() < 0.1 else rng.uniform(0.001, 0.05)
