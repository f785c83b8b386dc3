"""Routes about zones: import, list, show, remove."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from cdn.control.content import json_response, read_content
from cdn.control.route import Call
from cdn.control.services import Services
from cdn.control.views import position_view
from cdn.control.zone_names import check_beside, normalise_name
from cdn.control.zone_schema import ZoneContent, ZoneImported, ZoneList, ZoneRemovedView, ZoneView
from cdn.control.zone_text import zone_text
from cdn.control.zone_warnings import warnings_of
from cdn.errors import Conflict, InvalidInput, NotFound, TooLarge, Unavailable
from cdn.journal.record import MAX_RECORD_BYTES, Change, ZoneRemoved, ZoneSet
from cdn.journal.zone_fold import ImportedZone

MAX_ZONE_RECORD_BYTES = MAX_RECORD_BYTES - 1024
"""A zone is one record of the journal, so that no answer is ever from half of a change; the rest is what surrounds it
there. Some 10,000 names with an address."""

MAX_FILE_NAME = 256
"""What faults call a zone file."""


class ZonesApi:
    """Zones that name servers answer for beside the CDN's own."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reading = asyncio.Lock()  # a large file takes seconds, and the interpreter with it
        self._sizes: dict[str, tuple[int, int]] = {}  # by zone: the sequence of its record, and its size

    async def list(self, call: Call) -> web.Response:
        zones = self._services.zones.zones()
        return json_response(ZoneList((self._own_view(), *(self._view(zone) for zone in zones))))

    async def show(self, call: Call) -> web.Response:
        name = normalise_name(call.path["zone"], field="zone")
        if name == self._services.settings.zone:
            return json_response(ZoneContent(**msgspec.structs.asdict(self._own_view())))
        zone = self._zone(name)
        text = await asyncio.to_thread(zone_text, zone)
        return json_response(ZoneContent(**msgspec.structs.asdict(self._view(zone)), text=text))

    async def put(self, call: Call) -> web.Response:
        """The whole zone is replaced by one record, or nothing changes."""
        services = self._services
        name = normalise_name(call.path["zone"], field="zone")
        replaces = _sequence(call)
        change = await self._read(call, name)
        check_beside(name, change.rrsets, services.settings.zone)
        size_bytes = len(msgspec.json.encode(change))
        if size_bytes > MAX_ZONE_RECORD_BYTES:
            raise TooLarge(
                f"The zone {name} takes {size_bytes} bytes in the journal, the limit is {MAX_ZONE_RECORD_BYTES}: make "
                "a part of it a zone of its own, delegated from here."
            )
        was_there = False

        def decide() -> Change:
            nonlocal was_there
            was_there = services.zones.zone(name) is not None
            self._require_replaced(name, replaces)
            self._require_room(name, size_bytes)
            return change

        record = await services.state.append(f"zone/{name}", decide, call.caller.actor)
        zone = ImportedZone(name, change.rrsets, record.sequence, record.at)
        view = msgspec.structs.asdict(self._view(zone))
        answer = ZoneImported(
            **view,
            replaced=was_there,
            position=position_view(record.position),
            warnings=warnings_of(change, services.catalog),
        )
        return json_response(answer, 200 if was_there else 201)

    async def remove(self, call: Call) -> web.Response:
        services = self._services
        name = normalise_name(call.path["zone"], field="zone")

        def decide() -> Change:
            if name == services.settings.zone:
                raise Conflict(f"{name} is the CDN's own zone: its names are those of sites, and it stays.")
            self._zone(name)
            if services.zones.keys(name):
                raise Conflict(
                    f"{name} is signed: resolvers that know its DS record would take every other server's answers for "
                    f"forged. Remove the DS record from the zone above, then `cdn zone sign {name} --off`."
                )
            return ZoneRemoved(name)

        record = await services.state.append(f"zone/{name}", decide, call.caller.actor)
        return json_response(ZoneRemovedView(name, position_view(record.position)))

    async def _read(self, call: Call, name: str) -> ZoneSet:
        """The zone in the request's content. Raises InvalidInput, TooLarge, Unavailable."""
        services = self._services
        reader = services.zone_reader
        if reader is None:
            raise Unavailable("This control was put together without a reader of zone files.", retry_after_s=60)
        raw = await read_content(
            call.request, services.settings.max_zone_file_bytes, patience=services.settings.patience
        )
        file = call.query.get("file") or "the zone file"
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise InvalidInput(f"{file[:MAX_FILE_NAME]}, line {line}: the text is not UTF-8.", field="zone") from error
        async with self._reading:
            return await asyncio.to_thread(
                reader, text, file=file[:MAX_FILE_NAME], cdn_zone=services.settings.zone, name=name
            )

    def _zone(self, name: str) -> ImportedZone:
        zone = self._services.zones.zone(name)
        if zone is None:
            raise NotFound(f"There is no zone {name} here: cdn zone list shows those that there are.")
        return zone

    def _require_replaced(self, name: str, replaces: int | None) -> None:
        zone = self._services.zones.zone(name)
        present = 0 if zone is None else zone.sequence
        if replaces is not None and replaces != present:
            is_now = "there is none now" if zone is None else f"now it is that of record {present}"
            raise Conflict(f"The zone {name} is not that of record {replaces} any more, {is_now}: look at it again.")

    def _require_room(self, name: str, size_bytes: int) -> None:
        """Raises Conflict."""
        settings, others = self._services.settings, [z for z in self._services.zones.zones() if z.name != name]
        if len(others) >= settings.max_zones:
            raise Conflict(f"There are {settings.max_zones} zones, the limit: remove one first.")
        for gone in self._sizes.keys() - {zone.name for zone in others}:
            del self._sizes[gone]
        total_bytes = size_bytes + sum(map(self._size_bytes, others))
        if total_bytes > settings.max_zones_bytes:
            raise Conflict(
                f"All zones together would take {total_bytes} bytes, the limit is {settings.max_zones_bytes}: remove "
                "one first."
            )

    def _size_bytes(self, zone: ImportedZone) -> int:
        known = self._sizes.get(zone.name)
        if known is None or known[0] != zone.sequence:
            known = self._sizes[zone.name] = zone.sequence, len(msgspec.json.encode(ZoneSet(zone.name, zone.rrsets)))
        return known[1]

    def _view(self, zone: ImportedZone) -> ZoneView:
        return ZoneView(
            zone=zone.name,
            own=False,
            records=sum(len(each.rdatas) for each in zone.rrsets),
            signed=bool(self._services.zones.keys(zone.name)),
            sequence=zone.sequence,
            set_at=zone.set_at,
        )

    def _own_view(self) -> ZoneView:
        own = self._services.settings.zone
        return ZoneView(zone=own, own=True, records=0, signed=bool(self._services.zones.keys(own)))


def _sequence(call: Call) -> int | None:
    text = call.query.get("replaces")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidInput(f"replaces is the sequence of a record, or 0, not {text[:80]!r}.", field="replaces")
    return int(text)
