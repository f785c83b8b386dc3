"""Routes about challenges of certificate authorities that are answered by DNS."""

from __future__ import annotations

from aiohttp import web

from cdn.control.challenges import Challenges
from cdn.control.content import json_response, read_json
from cdn.control.route import Call
from cdn.control.services import Services
from cdn.control.views import position_view
from cdn.control.zone_schema import (
    ChallengeList,
    ChallengeRemovedView,
    ChallengeSetView,
    ChallengeView,
    SetChallenge,
)
from cdn.journal.record import ChallengeRemoved, ChallengeSet


class ChallengesApi:
    """Set, list, remove."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._challenges = Challenges(services.settings, services.state, services.zones, services.clock)

    async def set(self, call: Call) -> web.Response:
        wanted = await read_json(call.request, SetChallenge, self._services.settings.max_request_bytes)
        record = await self._challenges.set(
            wanted.name, wanted.value, expires_s=wanted.expires_s, actor=call.caller.actor
        )
        change = record.change
        assert isinstance(change, ChallengeSet), "it is what was recorded"
        position = position_view(record.position)
        return json_response(ChallengeSetView(change.name, change.value, change.expires_at, position), 201)

    async def list(self, call: Call) -> web.Response:
        now = self._services.clock()
        present = [each for each in self._services.zones.challenges() if each.expires_at > now]
        return json_response(ChallengeList(tuple(ChallengeView(c.name, c.value, c.expires_at) for c in present)))

    async def remove(self, call: Call) -> web.Response:
        record = await self._challenges.remove(call.query["name"], call.query["value"], actor=call.caller.actor)
        change = record.change
        assert isinstance(change, ChallengeRemoved), "it is what was recorded"
        return json_response(ChallengeRemovedView(change.name, change.value, position_view(record.position)))
