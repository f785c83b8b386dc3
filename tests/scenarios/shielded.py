"""Sites on an edge whose every miss goes through another one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.roles import RoleFleet
from tests.e2e.running import Answer, exchange

PATIENCE_S = 20
"""A busy machine is no dead shield."""


@dataclass(frozen=True, slots=True)
class ShieldedCdn:
    """What scenarios ask of a CDN."""

    fleet: RoleFleet
    http_url: str

    def call(self, method: str, path: str, content: Any = None) -> Answer:
        """One request to control's API, with the admin token."""
        token = (self.fleet.root / "control" / "admin-token").read_text().strip()
        fields = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        raw = None if content is None else json.dumps(content).encode()
        return exchange(self.fleet.url, method, path, fields, raw)


@contextmanager
def running_shielded(folder: Path) -> Iterator[ShieldedCdn]:
    """Control, a shield and the edge that visitors connect to, each a process of its own."""
    fleet = RoleFleet(folder, 'url = "store"', {})
    try:
        fleet.start_control()
        shield = fleet.start_edge("shield", 'allows_private_upstreams = true\n[peers]\nlisten = "127.0.0.1:0"\n')
        asyncio.run(shield.until_ready())
        asks = f'[shield]\npatience_s = {PATIENCE_S}\nurls = ["{shield.ready["peers_url"]}"]\n'
        edge = fleet.start_edge("edge", f"allows_private_upstreams = true\n{asks}")
        asyncio.run(edge.until_ready())
        yield ShieldedCdn(fleet, edge.ready["http_url"])
    finally:
        fleet.close()
