"""Routes about DNSSEC: how a zone is signed, and what is done about its keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from cdn.control.content import json_response, read_json
from cdn.control.route import Call
from cdn.control.services import Services
from cdn.control.zone_names import normalise_name
from cdn.control.zone_schema import ChangeSigning, SigningView, ZoneKeyView
from cdn.errors import Conflict, InvalidInput, NotFound
from cdn.journal.record import Change, ZoneKeysSet
from cdn.tls.zone_signing import SigningAction, ZoneKeyMaker

OWN_LONGEST_TTL_S = 86400
"""At least as long as any record of the CDN's own zone may be remembered: name servers have their own settings."""


class SigningApi:
    """Keys are made, sealed and described by the `ZoneKeyMaker`; here they are recorded, for one zone at a time."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def show(self, call: Call) -> web.Response:
        return self._view(self._zone_of(call))

    async def change(self, call: Call) -> web.Response:
        services = self._services
        zone = self._zone_of(call)
        wanted = await read_json(call.request, ChangeSigning, services.settings.max_request_bytes)
        action = _action(wanted.do)
        maker = self._maker()

        def decide() -> Change:
            longest_ttl_s, keys = self._longest_ttl_s(zone), services.zones.keys(zone)
            with _opening():
                changed = maker.changed(zone, keys, action, longest_ttl_s=longest_ttl_s, now=services.clock())
            return ZoneKeysSet(zone, changed)

        # On the zone's subject: it is not removed between the look and the record.
        await services.state.append(f"zone/{zone}", decide, call.caller.actor)
        return self._view(zone)

    def _view(self, zone: str) -> web.Response:
        services = self._services
        recorded = services.zones.keys(zone)
        if not recorded and services.zone_keys is None:
            return json_response(SigningView(zone, signed=False, keys=(), next_step=""))
        maker, longest_ttl_s = self._maker(), self._longest_ttl_s(zone)
        with _opening():
            signing = maker.described(zone, recorded, longest_ttl_s=longest_ttl_s, now=services.clock())
        keys = tuple(
            ZoneKeyView(each.key_id, each.stage, each.created_at, each.key_tag, each.ds) for each in signing.keys
        )
        return json_response(SigningView(zone, bool(recorded), keys, signing.next_step))

    def _zone_of(self, call: Call) -> str:
        name = normalise_name(call.path["zone"], field="zone")
        if name != self._services.settings.zone and self._services.zones.zone(name) is None:
            raise NotFound(f"There is no zone {name} here: cdn zone list shows those that there are.")
        return name

    def _longest_ttl_s(self, name: str) -> int:
        """Raises NotFound when the zone was removed meanwhile."""
        if name == self._services.settings.zone:
            return OWN_LONGEST_TTL_S
        zone = self._services.zones.zone(name)
        if zone is None:
            raise NotFound(f"The zone {name} was removed meanwhile.")
        return max((each.ttl_s for each in zone.rrsets), default=0)

    def _maker(self) -> ZoneKeyMaker:
        if self._services.zone_keys is None:
            raise Conflict(
                "This control holds no `dns` key, with which keys of zones are sealed: give it one in its settings and "
                "start it again. Name servers need the same."
            )
        return self._services.zone_keys


@contextmanager
def _opening() -> Iterator[None]:
    """Keys that cannot be opened are not the caller's fault: control was given other seals than they were made with."""
    try:
        yield
    except InvalidInput as error:
        raise Conflict(error.message) from error


def _action(text: str) -> SigningAction:
    try:
        return SigningAction(text)
    except ValueError:
        known = ", ".join(each.value for each in SigningAction)
        raise InvalidInput(f"{text[:80]!r} is nothing that can be done: there are {known}.", field="do") from None
