"""The route with which an administrator has the store swept."""

from __future__ import annotations

import math

import msgspec
from aiohttp import web

from cdn.control.content import json_response, read_json
from cdn.control.route import Call
from cdn.control.services import Services
from cdn.control.sweep_watch import SweepWatch
from cdn.errors import InvalidInput


class SweepStore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`grace_s`: how long an object has to have been useless; control's setting when left out. `dry_run`: say what
    would go."""

    grace_s: float | None = None
    dry_run: bool = False


class SweptView(msgspec.Struct, frozen=True):
    """`waiting` objects are useless, but not for long enough; `pinned` ones have an open upload. `faults`: sites that
    could not be swept, and why."""

    sites: int
    objects: int
    removed: int
    removed_bytes: int
    waiting: int
    pinned: int
    faults: tuple[str, ...]


class SweepsApi:
    """Sweep now."""

    def __init__(self, services: Services, sweeps: SweepWatch) -> None:
        self._services = services
        self._sweeps = sweeps

    async def sweep(self, call: Call) -> web.Response:
        wanted = await read_json(call.request, SweepStore, self._services.settings.max_request_bytes)
        if wanted.grace_s is not None and not 0 <= wanted.grace_s < math.inf:
            raise InvalidInput("grace_s is a number of seconds, 0 or more.", field="grace_s")
        swept = await self._sweeps.run(grace_s=wanted.grace_s, is_dry=wanted.dry_run)
        return json_response(
            SweptView(
                sites=swept.sites,
                objects=swept.objects,
                removed=swept.removed,
                removed_bytes=swept.removed_bytes,
                waiting=swept.waiting,
                pinned=swept.pinned,
                faults=swept.faults,
            )
        )
