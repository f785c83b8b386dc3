"""Which targets without a file of their own were asked for: what is asked for again is worth its room in memory."""

from __future__ import annotations

from typing import Final

from cdn.edge.https_rules import ACME_PATH
from cdn.edge.recall import SERVED_METHODS
from cdn.edge.visit import Visit

MAX_NOTED: Final = 16_384
"""Hashes of targets, 1 MiB. Beyond it all are forgotten, and what is asked for takes the whole road once more."""

MAX_TARGET_CHARS: Final = 1024
"""Longer targets are written by programs, and seldom come again."""


class AskedBefore:
    """One per node. Who tries out paths asks once for each."""

    def __init__(self) -> None:
        self._noted: set[int] = set()

    def has_come(self, visit: Visit) -> bool:
        """Whether the target came before; if not, it will have. Never of what authorities ask for (RFC 8555): what
        they are shown is set without a record that touches the site."""
        request = visit.request
        target = request.target
        is_long = len(target.path) + len(target.query or "") > MAX_TARGET_CHARS
        if is_long or target.path.startswith(ACME_PATH) or request.method not in SERVED_METHODS:
            return False
        sign = hash((visit.site.id, visit.alias, request.scheme, target.path, target.query))
        if sign in self._noted:
            return True
        if len(self._noted) >= MAX_NOTED:
            self._noted.clear()
        self._noted.add(sign)
        return False
