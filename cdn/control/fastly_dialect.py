"""Fastly's API, as far as it purges. A service is a site, by its name or id; its surrogate keys are cache tags
(docs/dialects.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from cdn.control.auth import Caller
from cdn.control.content import json_response, read_content
from cdn.control.dialect import DialectRoute
from cdn.control.problem import problem_of
from cdn.control.purge_desk import RECEIPT_FIELD, PurgeDesk, faults_of, receipt_path
from cdn.control.schema import ReceiptView
from cdn.control.services import Services
from cdn.errors import NotFound, Unauthorized
from cdn.purge.fastly import (
    KEY_FIELD,
    KEYS_FIELD,
    SOFT_FIELD,
    is_soft,
    read_key_purge,
    read_keys_purge,
    read_url_purge,
)
from cdn.purge.request import PurgeRequest
from cdn.sites.site import Site

URL_ROOT = "/purge/"

MAX_DETAIL_CHARS = 4_000
"""All sentences of a refusal together: clients print them in one line."""

_MESSAGES: Mapping[int, str] = {
    400: "Bad request",
    401: "Provided credentials are missing or invalid",
    403: "You are not authorized to perform this action",
    404: "Record not found",
    413: "Bad request",
    429: "You have exceeded your rate limit",
}
"""What Fastly says in `msg`; ours is in `detail`."""


class FastlyDialect:
    """Purges by key, of everything and of one URL."""

    name = "fastly"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._desk = PurgeDesk(services)

    def routes(self) -> Sequence[DialectRoute]:
        """All paths of it."""
        service = "/service/{service}"
        return (
            DialectRoute("POST", f"{service}/purge_all", self._purge_all),
            DialectRoute("POST", f"{service}/purge", self._purge_keys),
            DialectRoute("POST", service + "/purge/{key:.+}", self._purge_key),
            DialectRoute("POST", URL_ROOT + "{url:.*}", self._purge_url),
            DialectRoute("*", "/service/{rest:.*}", self._nothing),
        )

    def refusal(self, error: Exception) -> web.Response:
        """`msg` in the vendor's words, `detail` in ours."""
        problem, fields = problem_of(error)
        detail = " ".join(faults_of(problem))
        message = _MESSAGES.get(problem.status, problem.title)
        response = json_response({"msg": message, "detail": detail[:MAX_DETAIL_CHARS]}, problem.status)
        response.headers.update(fields)
        return response

    async def _purge_all(self, request: web.Request) -> web.Response:
        """Always hard: what is not said of it would leave in use what somebody wanted gone."""
        caller, site = self._meant(request)
        return _ok(await self._desk.purge(caller, site, PurgeRequest(everything=True)))

    async def _purge_key(self, request: web.Request) -> web.Response:
        caller, site = self._meant(request)
        wanted = read_key_purge(request.match_info["key"], soft=is_soft(request.headers.get(SOFT_FIELD)))
        return _ok(await self._desk.purge(caller, site, wanted))

    async def _purge_keys(self, request: web.Request) -> web.Response:
        caller, site = self._meant(request)
        soft = is_soft(request.headers.get(SOFT_FIELD))
        raw = await read_content(request, self._services.settings.max_request_bytes)
        wanted = read_keys_purge(raw, " ".join(request.headers.getall(KEYS_FIELD, ())), soft=soft)
        receipt = await self._desk.purge(caller, site, wanted)
        return _response(receipt, dict.fromkeys(wanted.tags, str(receipt.position.sequence)))

    async def _purge_url(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        soft = is_soft(request.headers.get(SOFT_FIELD))
        text = request.raw_path.partition(URL_ROOT)[2]  # as it was sent: no escape in it is undone twice
        host, wanted = read_url_purge(text, soft=soft)
        return _ok(await self._desk.purge(caller, self._desk.site_of_host(caller, host), wanted))

    async def _nothing(self, request: web.Request) -> web.Response:
        raise NotFound(f"There is no {request.method} {request.path[:200]} here: docs/dialects.md lists what there is.")

    def _meant(self, request: web.Request) -> tuple[Caller, Site]:
        caller = self._caller(request)
        return caller, self._desk.site(caller, request.match_info["service"])

    def _caller(self, request: web.Request) -> Caller:
        token = request.headers.get(KEY_FIELD)
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        if token is None and scheme.lower() == "bearer":
            token = bearer
        if token is None:
            raise Unauthorized(f"This needs a token: send it in the field {KEY_FIELD}.")
        return self._desk.caller(token)


def _ok(receipt: ReceiptView) -> web.Response:
    return _response(receipt, {"status": "ok", "id": str(receipt.position.sequence)})


def _response(receipt: ReceiptView, document: Mapping[str, Any]) -> web.Response:
    response = json_response(document)
    response.headers[RECEIPT_FIELD] = receipt_path(receipt)
    return response
