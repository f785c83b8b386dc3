"""Routes about purges and receipts."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from cdn.control.auth import Caller
from cdn.control.content import json_response, read_json
from cdn.control.purges import Purges
from cdn.control.route import Call, page_limit
from cdn.control.schema import ReceiptView
from cdn.control.services import Services
from cdn.control.token import Verb
from cdn.errors import InvalidInput, NotFound
from cdn.fleet.receipt import Listed, ReceiptPage
from cdn.journal.journal import Trimmed
from cdn.journal.record import Record
from cdn.purge.request import PurgeRequest


class PurgesApi:
    """Purge, and ask how far a record has come."""

    def __init__(self, services: Services, purges: Purges) -> None:
        self._services = services
        self._purges = purges

    async def purge(self, call: Call) -> web.Response:
        services = self._services
        wait_s = services.wait_s(call)
        site = services.site_of(call)
        wanted = await read_json(call.request, PurgeRequest, services.settings.max_request_bytes)
        record = await self._purges.purge(site, wanted, call.caller.actor)
        return _answer(await services.receipt(record, wait_s))

    async def receipt(self, call: Call) -> web.Response:
        services = self._services
        wait_s = services.wait_s(call)
        page = _page(call.query)
        text = call.path["sequence"]
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise InvalidInput(f"A receipt is asked for by its sequence, a number, not {text!r}.", field="sequence")
        sequence = int(text)
        if not 1 <= sequence <= services.state.position.sequence:
            raise _no_record(sequence)
        records = await services.state.journal.read(sequence - 1, limit=1)
        if isinstance(records, Trimmed) or not records:
            raise NotFound(f"The record {sequence} is too old: it is no longer kept, and neither is its receipt.")
        if not self._may_see(call.caller, records[0]):
            raise _no_record(sequence)
        validates_from = await services.pointers.validates_from(records[0])
        return json_response(await services.receipt_of(records[0], wait_s, validates_from, page))

    def _may_see(self, caller: Caller, record: Record) -> bool:
        """When others deploy and purge is theirs to know (DESIGN I7)."""
        if caller.is_admin:
            return True
        site = self._services.catalog.site(getattr(record.change, "site_id", ""))
        return site is not None and caller.may(Verb.READ, site.name)


def _page(query: Mapping[str, str]) -> ReceiptPage | None:
    """Which lines are asked for; None: those that everybody gets. Raises InvalidInput."""
    if not query.keys() & {"list", "after", "limit"}:
        return None
    known = [each.value for each in Listed]
    listed = query.get("list", Listed.UNAPPLIED.value)
    if listed not in known:
        raise InvalidInput(f"{listed[:80]!r} cannot be listed; there are {' and '.join(known)}.", field="list")
    return ReceiptPage(Listed(listed), query.get("after", ""), page_limit(query))


def _no_record(sequence: int) -> NotFound:
    """In the same words whether there is none or the token may not see it."""
    return NotFound(f"There is no record {sequence} that this token may see.")


def _answer(receipt: ReceiptView) -> web.Response:
    return json_response(receipt, 200 if receipt.complete else 202)
