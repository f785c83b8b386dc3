"""Cloudflare's API, as far as it purges: `/client/v4`. A zone is a site, by its name or id (docs/dialects.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from aiohttp import web

from cdn.control.auth import Caller
from cdn.control.cloudflare_zone import page_of, time_text, zone_view, zones_named
from cdn.control.content import json_response, read_content
from cdn.control.dialect import DialectRoute
from cdn.control.problem import problem_of
from cdn.control.purge_desk import RECEIPT_FIELD, PurgeDesk, faults_of, receipt_path
from cdn.control.schema import ReceiptView
from cdn.control.services import Services
from cdn.control.token import Verb
from cdn.errors import NotFound, Unauthorized
from cdn.purge.cloudflare import read_cloudflare_purge

ROOT = "/client/v4"

MAX_ERRORS = 100
"""Faults listed in one answer."""

_VALID = {"code": 10000, "message": "This API Token is valid and active", "type": None}

_CODES: Mapping[int, int] = {
    400: 1012,  # the request's content
    401: 10000,  # "Authentication error"
    403: 10000,
    404: 7003,  # "Could not route to ..., perhaps your object identifier is invalid?"
    413: 1012,
    429: 971,  # "Please wait and consider throttling your request speed"
}
"""Cloudflare's codes of what our statuses say."""

_FAULT = 10013


class CloudflareDialect:
    """Purge, and what clients ask before they purge."""

    name = "cloudflare"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._desk = PurgeDesk(services)

    def routes(self) -> Sequence[DialectRoute]:
        """All paths of it."""
        zone = ROOT + "/zones/{zone}"
        return (
            DialectRoute("POST", f"{zone}/purge_cache", self._purge),
            DialectRoute("DELETE", f"{zone}/purge_cache", self._purge),  # how it was called before 2018
            DialectRoute("POST", f"{zone}/invalidate_cache", self._invalidate),
            DialectRoute("GET", f"{ROOT}/zones", self._zones),
            DialectRoute("GET", zone, self._zone),
            DialectRoute("GET", f"{ROOT}/user/tokens/verify", self._verify),
            DialectRoute("GET", f"{ROOT}/user", self._user),
            DialectRoute("*", ROOT + "/{rest:.*}", self._nothing),
        )

    def refusal(self, error: Exception) -> web.Response:
        """The envelope with every fault."""
        problem, fields = problem_of(error)
        code = _CODES.get(problem.status, _FAULT)
        errors = [{"code": code, "message": sentence} for sentence in faults_of(problem)[:MAX_ERRORS]]
        response = json_response({"success": False, "errors": errors, "messages": [], "result": None}, problem.status)
        response.headers.update(fields)
        return response

    async def _purge(self, request: web.Request) -> web.Response:
        return await self._purged(request, soft=False)

    async def _invalidate(self, request: web.Request) -> web.Response:
        return await self._purged(request, soft=True)

    async def _purged(self, request: web.Request, *, soft: bool) -> web.Response:
        caller = self._caller(request)
        site = self._desk.site(caller, request.match_info["zone"])
        raw = await read_content(request, self._services.settings.max_request_bytes)
        wanted = read_cloudflare_purge(raw, self._desk.is_host_of(site), soft=soft)
        receipt = await self._desk.purge(caller, site, wanted)
        response = _success({"id": str(receipt.position.sequence)}, _told(receipt))
        response.headers[RECEIPT_FIELD] = receipt_path(receipt)
        return response

    async def _zones(self, request: web.Request) -> web.Response:
        caller, catalog = self._caller(request), self._services.catalog
        page, per_page = page_of(request.query)
        sites = sorted(
            (site for site in catalog.sites() if caller.may(Verb.READ, site.name)), key=lambda site: site.name
        )
        if name := request.query.get("name"):
            sites = zones_named(sites, catalog, name)
        if request.query.get("status", "active") != "active":
            sites = []
        shown = sites[(page - 1) * per_page : page * per_page]
        info = {
            "page": page,
            "per_page": per_page,
            "count": len(shown),
            "total_count": len(sites),
            "total_pages": ceil(len(sites) / per_page),
        }
        return _success([zone_view(site, catalog) for site in shown], result_info=info)

    async def _zone(self, request: web.Request) -> web.Response:
        site = self._desk.site(self._caller(request), request.match_info["zone"], Verb.READ)
        return _success(zone_view(site, self._services.catalog))

    async def _verify(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        token = self._services.tokens.get(caller.token_id)
        result = {"id": caller.token_id, "status": "active"}
        if token is not None and token.expires_at is not None:
            result["expires_on"] = time_text(token.expires_at)
        return _success(result, [_VALID])

    async def _user(self, request: web.Request) -> web.Response:
        """Who calls, as far as there are persons here: wrangler asks after a refusal, and shows what it hears last."""
        caller = self._caller(request)
        return _success({"id": caller.token_id, "email": f"{caller.actor}@{self._services.settings.zone}"})

    async def _nothing(self, request: web.Request) -> web.Response:
        raise NotFound(f"There is no {request.method} {request.path[:200]} here: docs/dialects.md lists what there is.")

    def _caller(self, request: web.Request) -> Caller:
        """By `Authorization: Bearer`, or by the older `X-Auth-Key`, whose `X-Auth-Email` chooses nothing here."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._desk.caller(token)
        if "X-Auth-Key" not in request.headers:
            raise Unauthorized("This needs a token: send it as `Authorization: Bearer TOKEN`, or in X-Auth-Key.")
        return self._desk.caller(request.headers["X-Auth-Key"])


def _success(
    result: Any, messages: Sequence[Mapping[str, Any]] = (), *, result_info: Mapping[str, int] | None = None
) -> web.Response:
    envelope = {"success": True, "errors": [], "messages": list(messages), "result": result}
    return json_response(envelope if result_info is None else {**envelope, "result_info": result_info})


def _told(receipt: ReceiptView) -> Sequence[Mapping[str, Any]]:
    """What the envelope says of a purge that some node has not applied yet: the vendor's own is never complete."""
    if receipt.complete:
        return ()
    sentence = f"Recorded; {receipt.counts.pending} nodes have not applied it yet: {receipt_path(receipt)} tells."
    return ({"code": 10000, "message": sentence},)
