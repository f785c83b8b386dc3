"""Routes about takedowns."""

from __future__ import annotations

import msgspec
from aiohttp import web

from cdn.control.content import json_response, read_json
from cdn.control.route import Call
from cdn.control.schema import ReceiptOnly, ReceiptView, WallTime
from cdn.control.services import Services
from cdn.control.takedowns import Takedowns
from cdn.control.token import Verb
from cdn.errors import Forbidden, InvalidInput, NotFound
from cdn.journal.takedown_fold import EVERYWHERE
from cdn.sites.site import Site


class TakeDown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`url` of a file; or `digest`, of a `site` or of none: of every site. `everywhere`: of every site, what `url`
    answers now."""

    url: str | None = None
    digest: str | None = None
    site: str | None = None
    everywhere: bool = False
    reason: str = ""


class TakenDownView(msgspec.Struct, frozen=True):
    """`site` null: every site. `removed` objects have left the store already; what is left goes with the next sweep."""

    digest: str
    site: str | None
    path: str
    reason: str
    removed: int
    receipt: ReceiptView


class TakedownView(msgspec.Struct, frozen=True):
    digest: str
    site: str | None
    reason: str
    at: WallTime


class TakedownList(msgspec.Struct, frozen=True):
    takedowns: tuple[TakedownView, ...]


class TakedownsApi:
    """Take down, list, lift."""

    def __init__(self, services: Services, takedowns: Takedowns) -> None:
        self._services = services
        self._takedowns = takedowns

    async def take_down(self, call: Call) -> web.Response:
        services = self._services
        wait_s = services.wait_s(call)
        wanted = await read_json(call.request, TakeDown, services.settings.max_request_bytes)
        digest, site, path = await self._meant(call, wanted)
        done = await self._takedowns.take_down(digest, site, call.caller.actor, path=path, reason=wanted.reason)
        receipt = await services.receipt(done.record, wait_s)
        name = None if site is None else site.name
        return json_response(TakenDownView(digest, name, path, wanted.reason, done.removed, receipt), 201)

    async def list(self, call: Call) -> web.Response:
        views = []
        for one in self._services.takedowns.all():
            site = self._services.catalog.site(one.site_id)
            if one.site_id == EVERYWHERE:
                if call.caller.is_admin:
                    views.append(TakedownView(one.digest, None, one.reason, one.at))
            elif site is not None and call.caller.may(Verb.READ, site.name):
                views.append(TakedownView(one.digest, site.name, one.reason, one.at))
        return json_response(TakedownList(tuple(views)))

    async def lift(self, call: Call) -> web.Response:
        """Only administrators: whoever was told to take something down does not put it back."""
        wait_s = self._services.wait_s(call)
        name = call.query.get("site")
        site = None if name is None else self._services.site_named(name)
        record = await self._takedowns.lift(call.path["digest"], site, call.caller.actor)
        return json_response(ReceiptOnly(await self._services.receipt(record, wait_s)))

    async def _meant(self, call: Call, wanted: TakeDown) -> tuple[str, Site | None, str]:
        """The digest, whose, and where it is answered. Everything is refused before it is looked up (DESIGN I7)."""
        if (wanted.url is None) == (wanted.digest is None):
            raise InvalidInput("Give either url or digest.", field="url")
        if wanted.everywhere or (wanted.digest is not None and wanted.site is None):
            call.caller.require_admin()
        if wanted.digest is not None:
            if wanted.everywhere and wanted.site is not None:
                raise InvalidInput("Give site, or everywhere, not both.", field="site")
            return wanted.digest, None if wanted.site is None else self._site(call, wanted.site), ""
        if wanted.url is None or wanted.site is not None:
            raise InvalidInput("The url says which site is meant: leave site out.", field="site")
        if not call.caller.is_admin:
            self._require_own(call, wanted.url)
        found = await self._takedowns.find(wanted.url)
        return found.digest, None if wanted.everywhere else found.site, found.path

    def _site(self, call: Call, name: str) -> Site:
        call.caller.require(Verb.ADMIN, name)
        return self._services.site_named(name)

    def _require_own(self, call: Call, url: str) -> None:
        """In the same words whether somebody answers the URL or nobody does."""
        try:
            is_own = call.caller.may(Verb.ADMIN, self._takedowns.site_of(url).name)
        except NotFound:
            is_own = False
        if not is_own:
            raise Forbidden("This token does not have the scope admin for the site of this URL.")
