"""Routes about the table of places that name servers go by."""

from __future__ import annotations

import re

from aiohttp import web

from cdn.control.content import json_response, pieces
from cdn.control.geography_table import GeographyTable
from cdn.control.route import Call
from cdn.control.services import Services
from cdn.control.views import position_view
from cdn.control.zone_schema import GeographySetView, GeographyView
from cdn.errors import InvalidInput, NotFound, TooLarge, Unavailable, Unprocessable
from cdn.journal.record import GeographySet
from cdn.origin.store import DigestMismatch

MAX_NOTE_OCTETS = 1024

_DIGEST = re.compile(r"[0-9a-f]{64}")


class GeographyApi:
    """Control passes tables on as bytes: whoever uploads one has compiled and checked it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._table = GeographyTable(services.store, services.state, services.zones)
        self._is_taking = False

    async def show(self, call: Call) -> web.Response:
        present = self._table.present
        return json_response(GeographyView(present.digest, present.size_bytes, present.note))

    async def put(self, call: Call) -> web.Response:
        """The content streams into the store; it is recorded once it is there, whole and verified."""
        digest, note = _digest(call.query["digest"]), call.query.get("note", "")
        if len(note.encode()) > MAX_NOTE_OCTETS:
            raise InvalidInput(f"The note has more than {MAX_NOTE_OCTETS} octets.", field="note")
        settings, size_bytes = self._services.settings, call.request.content_length
        if not size_bytes:
            raise InvalidInput("Send the table with a Content-Length.")
        if size_bytes > settings.max_geography_bytes:
            raise TooLarge(f"A table has at most {settings.max_geography_bytes} bytes, not {size_bytes}.")
        if self._is_taking:
            raise Unavailable("Another table is being uploaded: try again when it is there.", retry_after_s=10)
        self._is_taking = True
        try:
            content = pieces(call.request, size_bytes, settings.patience)
            record = await self._table.replace(digest, size_bytes, note, content, call.caller.actor)
        except DigestMismatch as error:
            raise Unprocessable(error.message, field="digest", details=(digest,)) from error
        finally:
            self._is_taking = False
        return json_response(GeographySetView(digest, size_bytes, note, position_view(record.position)))

    async def reset(self, call: Call) -> web.Response:
        record = await self._table.reset(call.caller.actor)
        assert isinstance(record.change, GeographySet), "it is what was recorded"
        return json_response(GeographySetView("", 0, record.change.note, position_view(record.position)))

    async def fetch(self, call: Call) -> web.StreamResponse:
        """The table itself. What breaks off is shorter than announced; the name server compares the digest anyway."""
        digest = _digest(call.path["digest"])
        size_bytes = await self._table.size_bytes(digest)
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream", "Cache-Control": "no-store"})
        response.content_length = size_bytes
        await response.prepare(call.request)
        try:
            async for piece in self._table.pieces(digest, size_bytes):
                await response.write(piece)
        except (NotFound, Unavailable):
            response.force_close()  # the head is on its way: all that is left is to end before the length that it says
            if call.request.transport is not None:
                call.request.transport.close()
            return response
        await response.write_eof()
        return response


def _digest(text: str) -> str:
    if _DIGEST.fullmatch(text) is None:
        raise InvalidInput(f"{text[:80]!r} is not a SHA-256 in lower-case hex.", field="digest")
    return text
